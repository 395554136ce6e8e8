"""Pieces of a request's generations as OpenAI's answers: whole, and as a stream of events.

Does not know where pieces come from or how bytes are sent.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from tokenyard.engine.generation import GenerationGroup, Piece, Progress
from tokenyard.engine.rules.drawing import TokenReport
from tokenyard.engine.rules.speech import SpeechParser
from tokenyard.engine.server.speech import ChoiceSpeech
from tokenyard.protocol import sse
from tokenyard.protocol.chat_completions import (
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatFinish,
    ChunkChoice,
    Completion,
    Delta,
    PromptProgress,
    TextChoice,
    Timings,
    UsageBody,
)
from tokenyard.protocol.logprobs import (
    ChatLogprobs,
    LikelyToken,
    PromptLogprob,
    PromptLogprobs,
    TextLogprobs,
    TokenLogprob,
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
    # What the prompt's tokens were likely to be, as vLLM tells it.
    prompt_logprobs: bool = False
    # The prompt's tokens and text, to be repeated in front of an answer (`echo`); None: not at all.
    echoed: tuple[Sequence[int], str] | None = None
    # Whether the echo has log probabilities as the answer does.
    echo_logprobs: bool = False

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

    def progress(self, choice: int, progress: PromptProgress) -> msgspec.Struct:
        """The event that tells how far the prompt has been read."""
        ...

    def take(self, choice: int, piece: Piece) -> None:
        """Hear of a piece of an answer that does not stream, before `whole` is asked for."""
        ...

    def text(self, choice: int, piece: Piece) -> msgspec.Struct | None:
        """The event that adds some text to a choice; None when there is nothing to show yet."""
        ...

    def closing(self, choice: int, last: Piece, ends: Sequence[Piece]) -> list[msgspec.Struct]:
        """Events after the last text of a choice. `ends`: of all choices if it is the last one."""
        ...


class ChatForm:
    """Chat Completions. parse: makes what tells words, thoughts and calls apart."""

    def __init__(
        self, head: AnswerHead, spell: Spell, tells: Telling, parse: Callable[[], SpeechParser]
    ) -> None:
        self._head = head
        self._spell = spell
        self.tells = tells
        self._parse = parse
        self._speeches: dict[int, ChoiceSpeech] = {}
        # OpenAI: with `include_usage` every chunk but the last has a null usage.
        self._no_usage: UnsetType | None = None if tells.usage else UNSET

    def whole(self, answers: Sequence[Piece]) -> msgspec.Struct:
        choices = [
            ChatChoice(
                index=index,
                message=self._finished(index).message(),
                finish_reason=self._finish(index, answer),
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
            usage=_usage(answers, self._thought_tokens),
            timings=_timings(answers),
            prompt_logprobs=prompt_logprobs(answers[0], self.tells, self._spell),
        )

    def opening(self, choice: int) -> list[msgspec.Struct]:
        return [self._chunk(choice, Delta(role="assistant", content=""))]

    def progress(self, choice: int, progress: PromptProgress) -> msgspec.Struct:
        chunk = self._chunk(choice, Delta())
        chunk.prompt_progress = progress
        return chunk

    def take(self, choice: int, piece: Piece) -> None:
        self._speech(choice).add(piece)

    def text(self, choice: int, piece: Piece) -> msgspec.Struct | None:
        delta = self._speech(choice).add(piece)
        if delta is None and not piece.reports and not self.tells.token_ids:
            return None
        chunk = self._chunk(choice, delta or Delta(content=""))
        chunk.choices[0].logprobs = self._logprobs(piece.reports)
        chunk.choices[0].token_ids = self.tells.ids(piece)
        return chunk

    def closing(self, choice: int, last: Piece, ends: Sequence[Piece]) -> list[msgspec.Struct]:
        rest = self._speech(choice).finish()
        held: list[msgspec.Struct] = [] if rest is None else [self._chunk(choice, rest)]
        end = self._chunk(choice, Delta(), self._finish(choice, last))
        if not ends:
            return [*held, end]
        if not self.tells.usage:
            end.timings = _timings(ends)
            return [*held, end]
        tail = ChatCompletionChunk(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[],
            usage=_usage(ends, self._thought_tokens),
            timings=_timings(ends),
        )
        return [*held, end, tail]

    def _speech(self, choice: int) -> ChoiceSpeech:
        if choice not in self._speeches:
            calls = f"call_{self._head.id.rpartition('_')[2]}_{choice}_"
            self._speeches[choice] = ChoiceSpeech(self._parse(), calls)
        return self._speeches[choice]

    def _finished(self, choice: int) -> ChoiceSpeech:
        speech = self._speech(choice)
        speech.finish()
        return speech

    def _finish(self, choice: int, last: Piece) -> ChatFinish:
        told = _wire_finish(last)
        return "tool_calls" if told == "stop" and self._speech(choice).called else told

    @property
    def _thought_tokens(self) -> int:
        return sum(speech.thought_tokens for speech in self._speeches.values())

    def _chunk(
        self, choice: int, delta: Delta, finish: ChatFinish | None = None
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
        # Choices whose prompt has been repeated.
        self._echoed: set[int] = set()

    def whole(self, answers: Sequence[Piece]) -> msgspec.Struct:
        choices = [
            self._choice(index, answer, _wire_finish(answer))
            for index, answer in enumerate(answers)
        ]
        return self._completion(choices, _usage(answers), _timings(answers))

    def opening(self, choice: int) -> list[msgspec.Struct]:
        return []

    def progress(self, choice: int, progress: PromptProgress) -> msgspec.Struct:
        event = self._completion(
            [TextChoice(index=choice, text="", finish_reason=None)], self._no_usage
        )
        event.prompt_progress = progress
        return event

    def take(self, choice: int, piece: Piece) -> None:
        """The whole answer is made of the whole pieces."""

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
        text, reports = piece.text, list[TokenReport | int](piece.reports)
        if self.tells.echoed is not None and index not in self._echoed:
            self._echoed.add(index)
            prompt, spelled = self.tells.echoed
            text = spelled + text
            if self.tells.echo_logprobs:
                reports = [prompt[0], *piece.prompt, *reports]
        choice = TextChoice(
            index=index,
            text=text,
            finish_reason=finish,
            token_ids=self.tells.ids(piece),
            prompt_logprobs=prompt_logprobs(piece, self.tells, self._spell),
        )
        if reports:
            choice.logprobs = self._logprobs(index, reports)
        return choice

    def _logprobs(self, choice: int, reports: Sequence[TokenReport | int]) -> TextLogprobs:
        """A token without a report, the first of a prompt, stands for itself."""
        tokens = [self._spell(one if isinstance(one, int) else one.token)[0] for one in reports]
        offset = self._offsets.get(choice, 0)
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token)
        self._offsets[choice] = offset
        return TextLogprobs(
            tokens=tokens,
            token_logprobs=[
                None if isinstance(one, int) else _finite(one.logprob) for one in reports
            ],
            top_logprobs=[
                None
                if isinstance(one, int)
                else {self._spell(token)[0]: _finite(logprob) for token, logprob in one.top}
                for one in reports
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
        form.take(choice, piece)
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
        if piece.progress is not None:
            events.append(form.progress(choice, _progress(piece.progress)))
        if _says(piece, form.tells):
            event = form.text(choice, piece)
            events += [] if event is None else [event]
        if piece.finish is not None:
            over = [ends[one] for one in sorted(ends)] if len(ends) == group.size else []
            events += form.closing(choice, piece, over)
        yield b"".join(sse.frame(msgspec.json.encode(event)) for event in events)
    yield sse.DONE


def _says(piece: Piece, tells: Telling) -> bool:
    """Whether a piece of a stream has a part that an event is due for."""
    if piece.text or piece.replayed or piece.reports or (piece.tokens and tells.token_ids):
        return True
    return piece.finish is not None and (tells.echoed is not None or bool(piece.prompt))


def prompt_logprobs(piece: Piece, tells: Telling, spell: Spell) -> PromptLogprobs | UnsetType:
    """The reports on a prompt as vLLM tells them: of each place the likeliest and the token."""
    if not tells.prompt_logprobs or not piece.prompt:
        return UNSET
    places: PromptLogprobs = [None]
    for report in piece.prompt:
        told = {
            str(token): PromptLogprob(
                logprob=_finite(logprob), rank=rank, decoded_token=spell(token)[0]
            )
            for rank, (token, logprob) in enumerate(report.top, start=1)
        }
        own = PromptLogprob(
            logprob=_finite(report.logprob), rank=report.rank, decoded_token=spell(report.token)[0]
        )
        places.append({str(report.token): own} | told)
    return places


def _progress(progress: Progress) -> PromptProgress:
    return PromptProgress(
        total=progress.total,
        cache=progress.cached,
        processed=progress.processed,
        time_ms=_milliseconds(progress.seconds),
        place=progress.place or UNSET,
    )


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


def _usage(ends: Sequence[Piece], thought_tokens: int = 0) -> UsageBody:
    """The prompt counts once, as it is sent once; the answers count all."""
    counts = [end.usage or Usage(0, 0) for end in ends]
    return UsageBody.of(
        Usage(
            prompt_tokens=counts[0].prompt_tokens,
            completion_tokens=sum(count.completion_tokens for count in counts),
            cached_tokens=counts[0].cached_tokens,
            reasoning_tokens=thought_tokens,
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
