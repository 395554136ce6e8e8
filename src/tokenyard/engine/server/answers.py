"""Pieces of a request's generations as OpenAI's answers: whole, and as a stream of events.

Does not know where pieces come from or how bytes are sent.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from tokenyard.engine.generation import GenerationGroup, Piece
from tokenyard.engine.rules.drawing import TokenReport
from tokenyard.protocol import sse
from tokenyard.protocol.chat_completions import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatLogprobs,
    ChunkChoice,
    Completion,
    Delta,
    LikelyToken,
    TextChoice,
    TextLogprobs,
    Timings,
    TokenLogprob,
    UsageBody,
)
from tokenyard.vocabulary.errors import Unavailable
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.reasons import Reason

WireFinish = Literal["stop", "length", "abort"]
# Text and bytes of a token.
Spell = Callable[[int], tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What all parts of one answer repeat."""

    id: str
    created: int
    model: str


@dataclass(frozen=True, slots=True)
class Telling:
    """What the caller wants to hear beside the text. usage: at the end of a stream."""

    usage: bool = False
    token_ids: bool = False

    def ids(self, piece: Piece) -> list[int] | UnsetType:
        return list(piece.tokens) if self.token_ids else UNSET


class AnswerForm(Protocol):
    """How one kind of completion is written: `ChatForm` and `TextForm`."""

    tells: Telling

    def whole(self, answers: Sequence[Piece]) -> msgspec.Struct:
        """The answer to a request that does not stream, of one whole piece for each choice."""
        ...

    def opening(self, choice: int) -> list[msgspec.Struct]:
        """Events before the first text of a choice."""
        ...

    def text(self, choice: int, piece: Piece) -> msgspec.Struct:
        """The event that adds some text to a choice."""
        ...

    def closing(self, choice: int, last: Piece, ends: Sequence[Piece]) -> list[msgspec.Struct]:
        """Events after the last text of a choice. `ends`: of all choices if it is the last one."""
        ...


class ChatForm:
    """Chat Completions."""

    def __init__(self, head: AnswerHead, spell: Spell, tells: Telling) -> None:
        self._head = head
        self._spell = spell
        self.tells = tells
        # OpenAI: with `include_usage` every chunk but the last has a null usage.
        self._no_usage: UnsetType | None = None if tells.usage else UNSET

    def whole(self, answers: Sequence[Piece]) -> msgspec.Struct:
        choices = [
            ChatChoice(
                index=index,
                message=AnswerMessage(content=answer.text),
                finish_reason=_wire_finish(answer),
                logprobs=self._logprobs(answer.reports),
                token_ids=self.tells.ids(answer),
            )
            for index, answer in enumerate(answers)
        ]
        return ChatCompletion(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=choices,
            usage=_usage(answers),
            timings=_timings(answers),
        )

    def opening(self, choice: int) -> list[msgspec.Struct]:
        return [self._chunk(choice, Delta(role="assistant", content=""))]

    def text(self, choice: int, piece: Piece) -> msgspec.Struct:
        chunk = self._chunk(choice, Delta(content=piece.text))
        chunk.choices[0].logprobs = self._logprobs(piece.reports)
        chunk.choices[0].token_ids = self.tells.ids(piece)
        return chunk

    def closing(self, choice: int, last: Piece, ends: Sequence[Piece]) -> list[msgspec.Struct]:
        end = self._chunk(choice, Delta(), _wire_finish(last))
        if not ends:
            return [end]
        if not self.tells.usage:
            end.timings = _timings(ends)
            return [end]
        tail = ChatCompletionChunk(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[],
            usage=_usage(ends),
            timings=_timings(ends),
        )
        return [end, tail]

    def _chunk(
        self, choice: int, delta: Delta, finish: WireFinish | None = None
    ) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[ChunkChoice(index=choice, delta=delta, finish_reason=finish)],
            usage=self._no_usage,
        )

    def _logprobs(self, reports: Iterable[TokenReport]) -> ChatLogprobs | None:
        content = []
        for report in reports:
            drawn = self._likely(report.token, report.logprob)
            top = [self._likely(token, logprob) for token, logprob in report.top]
            content.append(
                TokenLogprob(
                    token=drawn.token, logprob=drawn.logprob, bytes=drawn.bytes, top_logprobs=top
                )
            )
        return ChatLogprobs(content=content) if content else None

    def _likely(self, token: int, logprob: float) -> LikelyToken:
        text, data = self._spell(token)
        return LikelyToken(token=text, logprob=_finite(logprob), bytes=list(data))


class TextForm:
    """The older Completions."""

    def __init__(self, head: AnswerHead, spell: Spell, tells: Telling) -> None:
        self._head = head
        self._spell = spell
        self.tells = tells
        self._no_usage: UnsetType | None = None if tells.usage else UNSET
        # Characters of each choice that have been reported.
        self._offsets: dict[int, int] = {}

    def whole(self, answers: Sequence[Piece]) -> msgspec.Struct:
        choices = [
            self._choice(index, answer, _wire_finish(answer))
            for index, answer in enumerate(answers)
        ]
        return self._completion(choices, _usage(answers), _timings(answers))

    def opening(self, choice: int) -> list[msgspec.Struct]:
        return []

    def text(self, choice: int, piece: Piece) -> msgspec.Struct:
        return self._completion([self._choice(choice, piece, None)], self._no_usage)

    def closing(self, choice: int, last: Piece, ends: Sequence[Piece]) -> list[msgspec.Struct]:
        end = TextChoice(index=choice, text="", finish_reason=_wire_finish(last))
        if not ends:
            return [self._completion([end], self._no_usage)]
        if not self.tells.usage:
            return [self._completion([end], UNSET, _timings(ends))]
        return [
            self._completion([end], None),
            self._completion([], _usage(ends), _timings(ends)),
        ]

    def _choice(self, index: int, piece: Piece, finish: WireFinish | None) -> TextChoice:
        choice = TextChoice(
            index=index, text=piece.text, finish_reason=finish, token_ids=self.tells.ids(piece)
        )
        if piece.reports:
            choice.logprobs = self._logprobs(index, piece.reports)
        return choice

    def _logprobs(self, choice: int, reports: Sequence[TokenReport]) -> TextLogprobs:
        tokens = [self._spell(report.token)[0] for report in reports]
        offset = self._offsets.get(choice, 0)
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token)
        self._offsets[choice] = offset
        return TextLogprobs(
            tokens=tokens,
            token_logprobs=[_finite(report.logprob) for report in reports],
            top_logprobs=[
                {self._spell(token)[0]: _finite(logprob) for token, logprob in report.top}
                for report in reports
            ],
            text_offset=offsets,
        )

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


async def collect(group: GenerationGroup, form: AnswerForm) -> bytes:
    """The whole answer as JSON; raises what ended a generation early."""
    wholes: dict[int, Piece] = {}
    async for choice, piece in group:
        before = wholes.get(choice)
        wholes[choice] = piece if before is None else before.then(piece)
    answers = [wholes[choice] for choice in sorted(wholes)]
    for answer in answers:
        _check_complete(group, answer)
    return msgspec.json.encode(form.whole(answers))


async def stream(group: GenerationGroup, form: AnswerForm) -> AsyncGenerator[bytes, None]:
    """The answer as framed events, one for each piece; raises what ended a generation early.

    Nothing is yielded before the first piece, so an early failure can still have a status.
    """
    ends: dict[int, Piece] = {}
    opened: set[int] = set()
    async for choice, piece in group:
        events: list[msgspec.Struct] = []
        if piece.finish is not None:
            _check_complete(group, piece)
            ends[choice] = piece
        if choice not in opened:
            opened.add(choice)
            events += form.opening(choice)
        if piece.text or piece.reports or (piece.tokens and form.tells.token_ids):
            events.append(form.text(choice, piece))
        if piece.finish is not None:
            over = [ends[one] for one in sorted(ends)] if len(ends) == group.size else []
            events += form.closing(choice, piece, over)
        yield b"".join(sse.frame(msgspec.json.encode(event)) for event in events)
    yield sse.DONE


def _check_complete(group: GenerationGroup, last: Piece) -> None:
    if last.finish is FinishReason.ABORT and not group.cut_short:
        raise Unavailable(
            "The model server stopped before the answer was complete.",
            reason=Reason.SHUTTING_DOWN,
            retry_after_seconds=1,
        )


def _wire_finish(last: Piece) -> WireFinish:
    if last.finish is FinishReason.ABORT:
        return "abort"
    return "length" if last.finish is FinishReason.LENGTH else "stop"


def _usage(ends: Sequence[Piece]) -> UsageBody:
    """The prompt counts once, as it is sent once; the answers count all."""
    counts = [end.usage or Usage(0, 0) for end in ends]
    return UsageBody.of(
        Usage(
            prompt_tokens=counts[0].prompt_tokens,
            completion_tokens=sum(count.completion_tokens for count in counts),
            cached_tokens=counts[0].cached_tokens,
        )
    )


def _timings(ends: Sequence[Piece]) -> Timings:
    return Timings(
        queue_ms=_milliseconds(ends[0].queue_seconds),
        first_token_ms=_milliseconds(min(end.first_token_seconds for end in ends)),
        total_ms=_milliseconds(max(end.total_seconds for end in ends)),
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI writes -9999 for what cannot be."""
    return max(logprob, -9999.0)
