"""One answer as text: tokens in, what may be shown out, and the moment at which it is complete.

Joins the detokenizer, the stop texts, the form and the limits of one request. Does not know other
requests, steps or readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenyard.engine.detokenizer import Detokenizer
from tokenyard.engine.generation import GenerationRequest
from tokenyard.engine.rules.drawing import ban_next, pack_tokens
from tokenyard.engine.rules.stopping import StopScanner, decide_finish
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest
from tokenyard.vocabulary.generation import FinishReason
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Written:
    """What one token did. shown: False for a token that ended the answer without a text."""

    text: str
    finish: FinishReason | None
    shown: bool = True


class AnswerWriter:
    """Follows one answer from its first token to its last."""

    def __init__(self, tokenizer: Tokenizer, request: GenerationRequest) -> None:
        sampling = request.sampling
        ends = frozenset() if sampling.ignore_eos else tokenizer.end_ids
        self._end_ids = ends.union(sampling.stop_token_ids)
        self._tokens_min = sampling.min_tokens
        self._tokens_max = request.tokens_max
        self._detokenizer = Detokenizer(tokenizer, specials=sampling.shows_specials)
        self._stops = StopScanner(sampling.stop, shows=sampling.shows_stop)
        self._bad = _read_bad_words(tokenizer, sampling.bad_words)
        self._answer: list[int] = []
        self._allowed = None
        if sampling.allowed_tokens is not None:
            self._allowed = pack_tokens(sampling.allowed_tokens, tokenizer.vocabulary_size)
        self._matcher = None if request.grammar is None else request.grammar.start()
        self.generated = 0
        # What each token that was generated elsewhere added.
        self.replayed: tuple[str, ...] = ()

    def allowed(self) -> bytes | None:
        """A bit for each token that may come next; None when any may."""
        return self._allowed if self._matcher is None else self._matcher.allowed()

    def banned(self) -> tuple[int, ...]:
        """Tokens that would complete a bad word."""
        return ban_next(self._bad, self._answer) if self._bad else ()

    @property
    def formed(self) -> bool:
        """Whether the answer is held to a form."""
        return self._matcher is not None

    def push(self, token: int) -> Written:
        """Take the next token; raises InternalFailure when the form cannot be followed further."""
        self.generated += 1
        if self._bad:
            self._answer.append(token)
        finish = decide_finish(
            token, self.generated, end_ids=self._end_ids, tokens_max=self._tokens_max
        )
        if finish is FinishReason.STOP:
            return Written(self._rest(""), finish, shown=False)
        if self._follow(token):
            finish = FinishReason.STOP
        text, stopped = self._detokenizer.push(token), False
        if self.generated > self._tokens_min:
            text, stopped = self._stops.push(text)
        if stopped:
            return Written(text, FinishReason.STOP)
        if finish is None:
            return Written(text, None)
        return Written(self._rest(text), finish)

    def replay(self, tokens: Sequence[int]) -> FinishReason | None:
        """Take tokens whose text has been sent already; how the answer ended, if it did.

        Raises InvalidRequest when they are not the beginning of an answer to this request.
        """
        texts: list[str] = []
        for place, token in enumerate(tokens, start=1):
            try:
                written = self.push(token)
            except InternalFailure:
                raise _not_ours("do not have the form that is asked for") from None
            texts.append(written.text)
            finish = written.finish
            if finish is not None:
                if place < len(tokens):
                    raise _not_ours("go on after the answer's end")
                break
        else:
            finish = None
        self.replayed = tuple(texts)
        return finish

    def _follow(self, token: int) -> bool:
        """Whether the form is complete with this token."""
        if self._matcher is None:
            return False
        if not self._matcher.accept(token):
            raise InternalFailure(
                "The form of the answer is too complex to follow.",
                reason=Reason.GENERATION_FAILED,
            )
        return self._matcher.complete

    def _rest(self, text: str) -> str:
        """The text with what was held back: an open character, the start of a stop text."""
        more, stopped = self._stops.push(self._detokenizer.finish())
        return text + more + ("" if stopped else self._stops.finish())


def _read_bad_words(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Each word as it is spelled at the start of a text and after a blank."""
    found = (
        tuple(tokenizer.encode(start + word, specials=False))
        for word in words
        for start in ("", " ")
    )
    return tuple(dict.fromkeys(one for one in found if one))


def _not_ours(what: str) -> InvalidRequest:
    return InvalidRequest(f"The tokens to continue {what}.", param="continue_token_ids")
