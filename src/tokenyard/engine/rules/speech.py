"""What an answer's text consists of: thoughts, words, and calls of functions.

Models write all three as one text, each family with marks of its own. The text arrives in pieces;
what could be the beginning of a mark is held back until the next piece decides it, and nothing is
lost: a call that cannot be read, or of a function that nobody offered, stays words. Does not know
tokens, grammars or the wire.
Source of the marks: the chat templates of Qwen 2.5 and 3 (Hermes) and of Llama 3.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

THOUGHT_OPENS, THOUGHT_CLOSES = "<think>", "</think>"
CALL_OPENS, CALL_CLOSES = "<tool_call>", "</tool_call>"


class CallStyle(StrEnum):
    """How a family writes calls. tagged: JSON between tags. bare: JSON in place of all words."""

    TAGGED = "tagged"
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class Thought:
    """Text that the model writes for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """Text for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call of a function; its arguments follow."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the JSON text of a call's arguments."""

    index: int
    text: str


Part = Thought | Words | CallBegun | CallArguments

_HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*"(?P<name>(?:[^"\\]|\\.)*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)


class SpeechParser:
    """Follows one answer. style: None when no calls are to be looked for.

    offered: names of functions that may be called. thinks: whether thoughts are marked.
    opened: whether the prompt has opened a thought already.
    """

    def __init__(
        self,
        *,
        style: CallStyle | None = None,
        offered: Collection[str] = (),
        thinks: bool = False,
        opened: bool = False,
    ) -> None:
        self.thinks = thinks
        self._style = style
        self._offered = offered
        self._held = ""
        self._calls = 0
        self._arguments = _Arguments()
        self._state: Callable[[bool], Iterator[Part] | None] = self._words
        if style is CallStyle.BARE:
            self._state = self._first_word
        self._after_thought = self._next = self._state
        self._thought_begun = False
        if thinks:
            self._state = self._thought if opened else self._first

    @property
    def thinking(self) -> bool:
        """Whether the text stands inside a thought."""
        return self._state == self._thought

    @property
    def called(self) -> bool:
        """Whether there was a call."""
        return self._calls > 0

    def push(self, text: str) -> list[Part]:
        """What is certain with this piece of text."""
        self._held += text
        return list(self._run(ended=False))

    def finish(self) -> list[Part]:
        """What was held back, now that no more text will come."""
        return list(self._run(ended=True))

    def _run(self, *, ended: bool) -> Iterator[Part]:
        """Let states work until one wants more text: it says so by giving None."""
        while (parts := self._state(ended)) is not None:
            yield from parts

    def _first(self, ended: bool) -> Iterator[Part] | None:
        """At the start of an answer, which may begin with a thought."""
        begun = self._held.lstrip()
        if not ended and begun != THOUGHT_OPENS and THOUGHT_OPENS.startswith(begun):
            return None
        if begun.startswith(THOUGHT_OPENS):
            self._held = begun[len(THOUGHT_OPENS) :]
            self._state = self._thought
        else:
            self._state = self._after_thought
        return iter(())

    def _thought(self, ended: bool) -> Iterator[Part] | None:
        if not self._thought_begun:
            self._held = self._held.lstrip("\n")
            self._thought_begun = bool(self._held)
        text, closed = self._until(THOUGHT_CLOSES, ended)
        shown = text.rstrip("\n")
        if closed:
            self._next = self._after_thought
            self._state = self._blank
        elif not ended:
            # Line ends may be the last ones before the mark.
            self._held = text[len(shown) :] + self._held
        return iter((Thought(shown),)) if shown else (iter(()) if closed else None)

    def _blank(self, ended: bool) -> Iterator[Part] | None:
        """Line ends after a thought or a call belong to nobody."""
        self._held = self._held.lstrip("\n; " if self._style is CallStyle.BARE else "\n")
        if not self._held:
            return None
        self._state = self._next
        return iter(())

    def _first_word(self, ended: bool) -> Iterator[Part] | None:
        """Where words would begin, in a style in which a call stands in their place."""
        if not self._held.strip() and not ended:
            return None
        self._state = self._call if self._held.lstrip().startswith("{") else self._only_words
        return iter(())

    def _words(self, ended: bool) -> Iterator[Part] | None:
        if self._style is None:
            return self._only_words(ended)
        text, opened = self._until(CALL_OPENS, ended)
        if opened:
            self._state = self._call
        return iter((Words(text),)) if text else (iter(()) if opened else None)

    def _only_words(self, ended: bool) -> Iterator[Part] | None:
        text, self._held = self._held, ""
        return iter((Words(text),)) if text else None

    def _call(self, ended: bool) -> Iterator[Part] | None:
        """Inside a call, before its arguments."""
        head = _HEAD.match(self._held)
        if head is not None and (name := _read_name(head["name"])) in self._offered:
            self._held = self._held[head.end() :]
            self._arguments = _Arguments()
            self._state = self._in_arguments
            self._calls += 1
            return iter((CallBegun(self._calls - 1, name),))
        if self._style is CallStyle.TAGGED and CALL_CLOSES in self._held:
            text, _, self._held = self._held.partition(CALL_CLOSES)
            self._state, self._next = self._blank, self._words
            return self._whole_calls(text, f"{CALL_OPENS}{text}{CALL_CLOSES}")
        if not ended or not self._held:
            return None
        text, self._held = self._held, ""
        unread = text if self._style is CallStyle.BARE else CALL_OPENS + text
        return self._whole_calls(text, unread)

    def _in_arguments(self, ended: bool) -> Iterator[Part] | None:
        taken = self._arguments.measure(self._held)
        text, self._held = self._held[:taken], self._held[taken:]
        if self._arguments.complete:
            self._state = self._after_call
        elif not text:
            return None
        return iter((CallArguments(self._calls - 1, text),))

    def _after_call(self, ended: bool) -> Iterator[Part] | None:
        """The rest of the call's own object, and its closing tag."""
        tagged = self._style is CallStyle.TAGGED
        _, closed = self._until(CALL_CLOSES if tagged else "}", ended)
        if not closed:
            return None
        self._state, self._next = self._blank, self._words if tagged else self._first_word
        return iter(())

    def _whole_calls(self, text: str, unread: str) -> Iterator[Part]:
        """Calls that came in another order or as a list; the text itself when they are none."""
        calls = _read_calls(text)
        if not calls or any(name not in self._offered for name, _ in calls):
            yield Words(unread)
            return
        for name, arguments in calls:
            yield CallBegun(self._calls, name)
            yield CallArguments(self._calls, arguments)
            self._calls += 1

    def _until(self, mark: str, ended: bool) -> tuple[str, bool]:
        """Text up to a mark, and whether it is there; its possible beginning stays held."""
        before, found, after = self._held.partition(mark)
        if found:
            self._held = after
            return before, True
        keep = 0 if ended else _open_length(self._held, mark)
        text, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return text, False


class _Arguments:
    """Finds the end of one JSON object that arrives in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self.complete = False

    def measure(self, text: str) -> int:
        """How many letters of the text belong to the object."""
        for place, letter in enumerate(text, start=1):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped = letter == "\\"
                self._quoted = letter != '"'
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.complete = True
                    return place
        return len(text)


def _open_length(text: str, mark: str) -> int:
    """Length of the longest end of `text` with which the mark begins."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if mark.startswith(text[-size:])), 0)


def _read_name(quoted: str) -> str:
    try:
        return str(json.loads(f'"{quoted}"'))
    except ValueError:
        return quoted


def _read_calls(text: str) -> list[tuple[str, str]]:
    """Names and arguments; none when the text is not one call or a list of calls."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return []
    calls = []
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict):
            return []
        arguments = one.get("arguments", one.get("parameters", {}))
        if isinstance(arguments, str):
            # Some models write the object as a text of its own.
            calls.append((str(one.get("name")), arguments))
        else:
            calls.append((str(one.get("name")), json.dumps(arguments, ensure_ascii=False)))
    return calls
