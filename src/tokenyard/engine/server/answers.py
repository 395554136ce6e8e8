"""Pieces of a generation as OpenAI's answers: whole, and as a stream of events.

Does not know where pieces come from or how bytes are sent.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from tokenyard.engine.generation import Generation, Piece
from tokenyard.protocol import sse
from tokenyard.protocol.chat_completions import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    Completion,
    Delta,
    TextChoice,
    Timings,
    UsageBody,
)
from tokenyard.vocabulary.errors import Unavailable
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.reasons import Reason

WireFinish = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What all parts of one answer repeat."""

    id: str
    created: int
    model: str


class AnswerForm(Protocol):
    """How one kind of completion is written: `ChatForm` and `TextForm`."""

    def whole(self, text: str, last: Piece) -> msgspec.Struct:
        """The answer to a request that does not stream."""
        ...

    def opening(self) -> list[msgspec.Struct]:
        """Events before the first text."""
        ...

    def text(self, text: str) -> msgspec.Struct:
        """The event that adds some text."""
        ...

    def closing(self, last: Piece) -> list[msgspec.Struct]:
        """Events after the last text."""
        ...


class ChatForm:
    """Chat Completions."""

    def __init__(self, head: AnswerHead, *, with_usage: bool) -> None:
        self._head = head
        self._with_usage = with_usage
        # OpenAI: with `include_usage` every chunk but the last has a null usage.
        self._no_usage: UnsetType | None = None if with_usage else UNSET

    def whole(self, text: str, last: Piece) -> msgspec.Struct:
        choice = ChatChoice(
            index=0, message=AnswerMessage(content=text), finish_reason=_wire_finish(last)
        )
        return ChatCompletion(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[choice],
            usage=_usage(last),
            timings=_timings(last),
        )

    def opening(self) -> list[msgspec.Struct]:
        return [self._chunk(Delta(role="assistant", content=""))]

    def text(self, text: str) -> msgspec.Struct:
        return self._chunk(Delta(content=text))

    def closing(self, last: Piece) -> list[msgspec.Struct]:
        end = self._chunk(Delta(), _wire_finish(last))
        if not self._with_usage:
            end.timings = _timings(last)
            return [end]
        tail = ChatCompletionChunk(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[],
            usage=_usage(last),
            timings=_timings(last),
        )
        return [end, tail]

    def _chunk(self, delta: Delta, finish: WireFinish | None = None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[ChunkChoice(index=0, delta=delta, finish_reason=finish)],
            usage=self._no_usage,
        )


class TextForm:
    """The older Completions."""

    def __init__(self, head: AnswerHead, *, with_usage: bool) -> None:
        self._head = head
        self._with_usage = with_usage
        self._no_usage: UnsetType | None = None if with_usage else UNSET

    def whole(self, text: str, last: Piece) -> msgspec.Struct:
        return self._completion(
            [TextChoice(index=0, text=text, finish_reason=_wire_finish(last))],
            _usage(last),
            _timings(last),
        )

    def opening(self) -> list[msgspec.Struct]:
        return []

    def text(self, text: str) -> msgspec.Struct:
        return self._completion(
            [TextChoice(index=0, text=text, finish_reason=None)], self._no_usage
        )

    def closing(self, last: Piece) -> list[msgspec.Struct]:
        choice = TextChoice(index=0, text="", finish_reason=_wire_finish(last))
        if not self._with_usage:
            return [self._completion([choice], UNSET, _timings(last))]
        return [
            self._completion([choice], None),
            self._completion([], _usage(last), _timings(last)),
        ]

    def _completion(
        self,
        choices: list[TextChoice],
        usage: UsageBody | UnsetType | None,
        timings: Timings | UnsetType = UNSET,
    ) -> Completion:
        return Completion(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=choices,
            usage=usage,
            timings=timings,
        )


async def collect(generation: Generation, form: AnswerForm) -> bytes:
    """The whole answer as JSON; raises what ended the generation early."""
    texts = []
    async for piece in generation:
        texts.append(piece.text)
        last = piece
    _check_complete(generation, last)
    return msgspec.json.encode(form.whole("".join(texts), last))


async def stream(generation: Generation, form: AnswerForm) -> AsyncGenerator[bytes, None]:
    """The answer as framed events, one for each piece; raises what ended the generation early.

    Nothing is yielded before the first piece, so an early failure can still have a status.
    """
    opened = False
    async for piece in generation:
        if piece.finish is not None:
            _check_complete(generation, piece)
        events = [] if opened else form.opening()
        opened = True
        if piece.text:
            events.append(form.text(piece.text))
        if piece.finish is not None:
            events += form.closing(piece)
        yield b"".join(sse.frame(msgspec.json.encode(event)) for event in events)
    yield sse.DONE


def _check_complete(generation: Generation, last: Piece) -> None:
    if last.finish is FinishReason.ABORT and not generation.cut_short:
        raise Unavailable(
            "The model server stopped before the answer was complete.",
            reason=Reason.SHUTTING_DOWN,
            retry_after_seconds=1,
        )


def _wire_finish(last: Piece) -> WireFinish:
    if last.finish is FinishReason.ABORT:
        return "abort"
    return "length" if last.finish is FinishReason.LENGTH else "stop"


def _usage(last: Piece) -> UsageBody:
    return UsageBody.of(last.usage or Usage(0, 0))


def _timings(last: Piece) -> Timings:
    return Timings(
        queue_ms=round(last.queue_seconds * 1000, 3),
        first_token_ms=round(last.first_token_seconds * 1000, 3),
        total_ms=round(last.total_seconds * 1000, 3),
    )
