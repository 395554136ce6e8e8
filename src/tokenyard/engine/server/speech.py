"""One choice of a chat answer as its parts come in: words, thoughts and calls for the wire.

Does not know how parts are told from each other (`engine.rules.speech` does), nor how events are
framed.
"""

from collections.abc import Iterable, Sequence

from msgspec import UNSET

from tokenyard.engine.generation import Piece
from tokenyard.engine.rules.speech import CallArguments, CallBegun, Part, SpeechParser, Thought
from tokenyard.protocol.chat_completions import AnswerMessage, Delta
from tokenyard.protocol.tools import FunctionCall, FunctionCallDelta, ToolCall, ToolCallDelta


class ChoiceSpeech:
    """Follows one choice. call_ids: what the ids of its calls begin with."""

    def __init__(self, parser: SpeechParser, call_ids: str) -> None:
        self._parser = parser
        self._call_ids = call_ids
        self._words: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []
        self.thought_tokens = 0

    @property
    def called(self) -> bool:
        """Whether functions were called."""
        return self._parser.called

    def add(self, piece: Piece) -> Delta | None:
        """What a piece adds for the reader; None when that is nothing yet."""
        for text in piece.replayed:
            # Sent by another server: it only tells where we stand.
            self._push(text)
        if not self._parser.thinks:
            return self._delta(self._parser.push(piece.text))
        parts: list[Part] = []
        start = 0
        # One by one, to know which of them were thoughts.
        for length in piece.lengths:
            parts += self._push(piece.text[start : start + length])
            start += length
        return self._delta([*parts, *self._parser.push(piece.text[start:])])

    def finish(self) -> Delta | None:
        """What was held back; None when that is nothing."""
        return self._delta(self._parser.finish())

    def message(self) -> AnswerMessage:
        """All of it as the assistant's turn."""
        words = "".join(self._words)
        return AnswerMessage(
            content=None if self._calls and not words else words,
            tool_calls=self._calls or UNSET,
            reasoning_content="".join(self._thoughts) or UNSET,
        )

    def _push(self, text: str) -> Sequence[Part]:
        """The parts of one token's text."""
        thought = self._parser.thinking
        parts = self._parser.push(text)
        if thought or self._parser.thinking:
            self.thought_tokens += 1
        return parts

    def _delta(self, parts: Iterable[Part]) -> Delta | None:
        words: list[str] = []
        thoughts: list[str] = []
        calls: list[ToolCallDelta] = []
        for part in parts:
            if isinstance(part, CallBegun):
                calls.append(self._begin(part))
            elif isinstance(part, CallArguments):
                self._calls[part.index].function.arguments += part.text
                added = FunctionCallDelta(arguments=part.text)
                calls.append(ToolCallDelta(index=part.index, function=added))
            elif isinstance(part, Thought):
                thoughts.append(part.text)
            else:
                words.append(part.text)
        self._words += words
        self._thoughts += thoughts
        if not (words or thoughts or calls):
            return None
        return Delta(
            content="".join(words) if words else UNSET,
            reasoning_content="".join(thoughts) if thoughts else UNSET,
            tool_calls=calls or UNSET,
        )

    def _begin(self, part: CallBegun) -> ToolCallDelta:
        call = ToolCall(
            id=f"{self._call_ids}{part.index}", function=FunctionCall(name=part.name, arguments="")
        )
        self._calls.append(call)
        begun = FunctionCallDelta(name=part.name, arguments="")
        return ToolCallDelta(index=part.index, id=call.id, type="function", function=begun)
