"""A model server that says what it is told: for tests, demonstrations and the page without a model.

It keeps the same contract as a real one, its faults included: it can be loading, break off
half-way, refuse, or wait at a chosen place until it is let go.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tokenyard.protocol.chat_completions import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    Delta,
    PromptProgress,
    Timings,
    UsageBody,
)
from tokenyard.protocol.embeddings import Embedding, EmbeddingList, EmbeddingUsage
from tokenyard.protocol.models import Model
from tokenyard.protocol.sse import SseEvent, frame
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Health
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.messages import Message

Finish = Literal["stop", "content_filter", "abort", "tool_calls"]
_ID = "chatcmpl-scripted"


class _Asked(msgspec.Struct):
    """What of a request changes the script."""

    return_token_ids: bool | None = None
    return_progress: bool | None = None
    continue_token_ids: list[int] | None = None


@dataclass(slots=True)
class Script:
    """What to say: each piece counts as one token. A piece is text, or a thought or call as it is
    sent.

    refuse: raise this before the first event. break_after: raise `broken` after that many pieces.
    hold_after: wait for `ScriptedUpstream.go_on()` after that many pieces. queue_ms: what it says
    of the time for which the request waited, if anything.
    """

    pieces: Sequence[str | Delta] = ("Hello", ", ", "world", ".")
    progress: Sequence[PromptProgress] = ()
    prompt_tokens: int = 7
    cached_tokens: int = 0
    refuse: TokenyardError | None = None
    broken: TokenyardError | None = None
    break_after: int = 0
    hold_after: int | None = None
    finish: Finish = "stop"
    queue_ms: float | None = None


class ScriptedUpstream:
    """Serves one model from a script; `calls` and `aborted` tell what it was asked."""

    def __init__(self, model: str = "scripted", script: Script | None = None) -> None:
        self.model = model
        # Each piece is one token, whose id is its number.
        self.continues = True
        self.script = script or Script()
        self.reported_health = Health.READY
        self.reported_load: Load | None = None
        self.calls: list[GenerationCall] = []
        self.aborted: list[str] = []
        self.closed = False
        self._gate = asyncio.Event()

    def go_on(self) -> None:
        """Open the gate of `hold_after`."""
        self._gate.set()

    async def health(self) -> Health:
        return self.reported_health

    async def models(self) -> list[Model]:
        return [Model(id=self.model, created=0, owned_by="tokenyard", context_window=8192)]

    async def stream(self, call: GenerationCall) -> AsyncIterator[SseEvent]:
        asked = msgspec.json.decode(call.body, type=_Asked)
        said = len(asked.continue_token_ids or ())
        for progress in self.script.progress if asked.return_progress else ():
            chunk = self._chunk([])
            chunk.prompt_progress = progress
            yield _event(chunk)
        async for piece in self._speak(call, said):
            choice = _choice(_delta(piece))
            if asked.return_token_ids:
                choice.token_ids = [said]
            said += 1
            yield _event(self._chunk([choice]))
        reason: Finish = "tool_calls" if self._calls() else self.script.finish
        if said < len(self.script.pieces):
            reason = "abort"
        yield _event(self._chunk([_choice(Delta(), reason)]))
        end = self._chunk([], UsageBody.of(self._usage(said)))
        if self.script.queue_ms is not None:
            end.timings = Timings(queue_ms=self.script.queue_ms, first_token_ms=0.0, total_ms=0.0)
        yield _event(end)

    async def frames(self, call: GenerationCall) -> AsyncIterator[bytes]:
        async for event in self.stream(call):
            yield frame(event.data)

    async def complete(self, call: GenerationCall) -> bytes:
        if call.path is GenerationPath.EMBEDDINGS:
            return await self._embed(call)
        pieces = [piece async for piece in self._speak(call)]
        text = "".join(_delta(piece).content or "" for piece in pieces)
        choice = ChatChoice(index=0, message=AnswerMessage(content=text), finish_reason="stop")
        usage = UsageBody.of(self._usage(len(pieces)))
        return msgspec.json.encode(
            ChatCompletion(id=_ID, created=0, model=self.model, choices=[choice], usage=usage)
        )

    async def count_tokens(self, model: str, turns: Sequence[Message]) -> int | None:
        """A token for each word, and two for each turn."""
        return sum(2 + len(turn.content.split()) for turn in turns)

    async def tokenize(self, model: str, prompt: str | Sequence[Message]) -> list[int] | None:
        """Each character is a token."""
        turns = prompt if isinstance(prompt, str) else "".join(turn.content for turn in prompt)
        return [ord(character) for character in turns]

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str | None:
        return "".join(chr(token) for token in tokens if token < 0x110000)

    async def load(self) -> Load | None:
        return self.reported_load

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)
        self._gate.set()

    async def close(self) -> None:
        self.closed = True

    async def _embed(self, call: GenerationCall) -> bytes:
        self.calls.append(call)
        if self.script.refuse is not None:
            raise self.script.refuse
        count = self.script.prompt_tokens
        return msgspec.json.encode(
            EmbeddingList(
                data=[Embedding(embedding=[1.0, 0.0], index=0)],
                model=self.model,
                usage=EmbeddingUsage(prompt_tokens=count, total_tokens=count),
            )
        )

    def _calls(self) -> bool:
        return any(_delta(piece).tool_calls for piece in self.script.pieces)

    async def _speak(self, call: GenerationCall, start: int = 0) -> AsyncIterator[str | Delta]:
        self.calls.append(call)
        script = self.script
        if script.refuse is not None:
            raise script.refuse
        for number, piece in enumerate(script.pieces[start:], start=start):
            if number == script.hold_after:
                await self._gate.wait()
            if call.request_id in self.aborted:
                return
            if script.broken is not None and number == script.break_after:
                raise script.broken
            await asyncio.sleep(0)
            yield piece

    def _usage(self, said: int) -> Usage:
        script = self.script
        thought = sum(bool(_delta(piece).reasoning_content) for piece in script.pieces[:said])
        return Usage(script.prompt_tokens, said, script.cached_tokens, thought)

    def _chunk(
        self, choices: list[ChunkChoice], usage: UsageBody | None = None
    ) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(id=_ID, created=0, model=self.model, choices=choices)
        if usage is not None:
            chunk.usage = usage
        return chunk


def _delta(piece: str | Delta) -> Delta:
    return Delta(content=piece) if isinstance(piece, str) else piece


def _choice(delta: Delta, finish: Finish | None = None) -> ChunkChoice:
    return ChunkChoice(index=0, delta=delta, finish_reason=finish)


def _event(chunk: ChatCompletionChunk) -> SseEvent:
    return SseEvent(msgspec.json.encode(chunk))
