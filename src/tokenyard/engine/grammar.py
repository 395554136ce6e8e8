"""Answers in a form: which tokens may come next so that the text fits a schema, regex or grammar.

Decides what a form means and how large one may be; a form that cannot be kept is refused before
anything is generated. The automata are the llguidance library's (MIT), which computes the allowed
tokens of one step in well under a millisecond. Does not know logits or requests.
"""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import InvalidRequest, StartError

# Without this the automata may take blanks at will, and a small model writes blanks for ever.
JSON_OPTIONS: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
_SYMBOLS_MAX = 100_000


class FormKind(StrEnum):
    """Ways to say which texts are allowed."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    LARK = "grammar"


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer has to look like. source: JSON text of the schema, regex, or Lark grammar."""

    kind: FormKind
    source: str
    # The field of the request to blame.
    param: str


def any_json_object(param: str) -> Form:
    """Any JSON object."""
    return Form(FormKind.JSON_SCHEMA, '{"type":"object"}', param)


def one_of(choices: list[str], param: str) -> Form:
    """One of some texts, exactly."""
    rules = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
    return Form(FormKind.LARK, f"start: {rules}", param)


class Matcher:
    """Where one answer stands in its form. Used from one thread."""

    def __init__(self, automaton: LLMatcher) -> None:
        self._automaton = automaton

    def allowed(self) -> bytes:
        """One bit for each token, lowest first: those that may come next, ends included."""
        mask: bytes = self._automaton.compute_bitmask()
        return mask

    def accept(self, token: int) -> bool:
        """Go on by a token; False when the automaton broke off, at one of its limits."""
        self._automaton.consume_token(token)
        return not self._automaton.is_error()

    @property
    def complete(self) -> bool:
        """Whether nothing but an end can follow."""
        return bool(self._automaton.is_stopped())


class Grammar:
    """A form, ready to be followed by any number of answers."""

    def __init__(self, automaton: LLMatcher) -> None:
        self._automaton = automaton

    def start(self) -> Matcher:
        return Matcher(self._automaton.deep_copy())


class GrammarCompiler:
    """Turns forms into grammars and keeps the newest ones. Safe to use from several threads.

    bytes_max: longest form. kept_max: grammars that are kept.
    """

    def __init__(self, tokenizer: Tokenizer, *, bytes_max: int, kept_max: int) -> None:
        self._tokenizer = tokenizer
        self._bytes_max = bytes_max
        self._kept_max = kept_max
        self._lock = threading.Lock()
        self._tokens: LLTokenizer | None = None
        self._kept: OrderedDict[tuple[FormKind, str], Grammar] = OrderedDict()

    def compile(self, form: Form) -> Grammar:
        """May take a second for a large form: call it beside the event loop.

        Raises InvalidRequest when the form is too large, broken, or asks for what we cannot keep.
        """
        if len(form.source.encode()) > self._bytes_max:
            raise InvalidRequest(
                f"'{form.param}' is longer than {self._bytes_max} bytes.", param=form.param
            )
        key = (form.kind, form.source)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            if self._tokens is None:
                self._tokens = _read_tokens(self._tokenizer)
        limits = LLParserLimits(max_grammar_size=_SYMBOLS_MAX)
        automaton = LLMatcher(self._tokens, _source(form), log_level=0, limits=limits)
        if automaton.is_error():
            raise InvalidRequest(
                f"'{form.param}' cannot be kept: {automaton.get_error()[:500]}", param=form.param
            )
        grammar = Grammar(automaton)
        with self._lock:
            self._kept[key] = grammar
            while len(self._kept) > self._kept_max:
                self._kept.popitem(last=False)
        return grammar


def _source(form: Form) -> str:
    """The form in the library's words."""
    try:
        if form.kind is FormKind.JSON_SCHEMA:
            return str(LLMatcher.grammar_from_json_schema(form.source, overrides=JSON_OPTIONS))
        if form.kind is FormKind.REGEX:
            return str(LLMatcher.grammar_from_regex(form.source))
        return str(LLMatcher.grammar_from_lark(form.source))
    except ValueError as error:
        raise InvalidRequest(f"'{form.param}' cannot be read: {error}.", param=form.param) from None


class _Vocabulary:
    """The tokenizer in the shape that the library asks for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        numbers = range(tokenizer.vocabulary_size)
        self.tokens = [tokenizer.token_bytes(number) for number in numbers]
        self.special_token_ids = [number for number in numbers if not self.tokens[number]]
        for number in self.special_token_ids:
            self.tokens[number] = tokenizer.token_text(number).encode()
        self.bos_token_id = tokenizer.bos_id
        self.eos_token_id = min(tokenizer.end_ids)

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", errors="replace"), specials=False)


def _read_tokens(tokenizer: Tokenizer) -> LLTokenizer:
    if not tokenizer.end_ids:
        raise StartError("The model has no end token, so an answer in a form could never end.")
    return LLTokenizer(
        TokenizerWrapper(_Vocabulary(tokenizer)),
        n_vocab=tokenizer.vocabulary_size,
        eos_token=sorted(tokenizer.end_ids),
    )
