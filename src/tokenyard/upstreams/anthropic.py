"""Anthropic's API, or a server that speaks its Messages API, made like ours.

Keeps the contract of `ports.Upstream`. What the two sides say is `messages_api`'s, the wire is
`http`'s; this module knows which path, which headers and which end a call has.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from tokenyard.protocol.models import Model
from tokenyard.protocol.sse import SseEvent, frame
from tokenyard.protocol.turns import write_messages
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.telemetry.tracing import NO_TRACING, Tracing
from tokenyard.upstreams.dialects import Counts, Tree, model_of, spell_usage
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.messages_api import (
    ChunkReader,
    read_answer,
    read_failure,
    spell_messages,
    spell_turns,
)
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Health
from tokenyard.upstreams.stopping import StoppableCalls
from tokenyard.vocabulary.errors import InvalidRequest, UpstreamFailed
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason

KIND = "anthropic"
_VERSION = "2023-06-01"
_IDLE_SECONDS = 2.0
# How its refusal of a prompt begins that the model cannot hold.
_TOO_LONG = "prompt is too long"


class _Listing(msgspec.Struct):
    data: list[Tree]


class _Counted(msgspec.Struct):
    input_tokens: int


class AnthropicUpstream:
    """One address. url: its root, without `/v1`. models: those to offer, none means all."""

    def __init__(
        self,
        url: str,
        settings: UpstreamSettings,
        *,
        clock: Clock,
        models: Sequence[str] = (),
        api_key: str | None = None,
        tracing: Tracing = NO_TRACING,
        connecting: Mapping[str, Any] | None = None,
    ) -> None:
        key = {"x-api-key": api_key} if api_key else {}
        self._http = HttpUpstream(
            url,
            settings,
            headers={"anthropic-version": _VERSION, **key},
            idle_seconds=_IDLE_SECONDS,
            connecting=connecting,
            tracing=tracing,
        )
        self.continues = False
        self._clock = clock
        self._offered = tuple(models)
        self._tokens_max = settings.answer_tokens_assumed
        self._listing_seconds = settings.listing_seconds
        self._calls = StoppableCalls()
        # What its list of models showed, and until when that holds: it has no call for its health.
        self._seen = (Health.LOADING, -1.0)

    async def health(self) -> Health:
        if self._clock.monotonic() >= self._seen[1]:
            status = await self._http.status("/v1/models")
            health = Health.READY if status == 200 else Health.DOWN
            self._seen = (health, self._clock.monotonic() + self._listing_seconds)
        return self._seen[0]

    async def models(self) -> list[Model]:
        listing = await self._http.fetch("/v1/models?limit=1000", _Listing)
        now = self._clock.now()
        found = {
            entry["id"]: model_of(
                {
                    "id": entry["id"],
                    "owned_by": KIND,
                    "context_window": entry.get("max_input_tokens"),
                },
                now,
            )
            for entry in listing.data
            if isinstance(entry.get("id"), str)
        }
        names = self._offered or tuple(found)
        return [found.get(name) or model_of({"id": name, "owned_by": KIND}, now) for name in names]

    async def stream(self, call: GenerationCall) -> AsyncGenerator[SseEvent, None]:
        sent = self._translate(call)
        reader = ChunkReader(self._clock.now())
        with self._calls.watch(call.request_id) as watched:
            try:
                async with aclosing(self._http.stream(sent)) as events:
                    while not watched.stopped:
                        event = await watched.run(anext(events, None))
                        if event is None:
                            break
                        for chunk in reader.read(_read(event.data)):
                            yield _event(chunk)
            except InvalidRequest as error:
                raise _explain(error) from error
        if watched.stopped:
            if not reader.begun:
                return
            for chunk in reader.stop():
                yield _event(chunk)
        yield _event({**reader.finish(), **_usage(reader.counts)})

    async def frames(self, call: GenerationCall) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.stream(call)) as events:
            async for event in events:
                yield frame(event.data)

    async def complete(self, call: GenerationCall) -> bytes:
        sent = self._translate(call)
        with self._calls.watch(call.request_id) as watched:
            try:
                body = await watched.run(self._http.complete(sent))
            except InvalidRequest as error:
                raise _explain(error) from error
        if body is None:
            message = {"role": "assistant", "content": ""}
            choice = {"index": 0, "finish_reason": "abort", "message": message}
            cut: Tree = {"id": call.request_id, "choices": [choice]}
            return msgspec.json.encode({**cut, **_usage(Counts(0, 0, 0))})
        answer, counts = read_answer(_read(body), self._clock.now())
        return msgspec.json.encode({**answer, **_usage(counts)})

    async def count_tokens(self, model: str, turns: Sequence[Message]) -> int | None:
        asked = {"model": model, **spell_turns(write_messages(turns))}
        return (await self._http.fetch("/v1/messages/count_tokens", _Counted, asked)).input_tokens

    async def tokenize(self, model: str, prompt: str | Sequence[Message]) -> list[int] | None:
        return None

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str | None:
        return None

    async def load(self) -> Load | None:
        return None

    async def abort(self, request_id: str) -> None:
        self._calls.stop(request_id)

    async def close(self) -> None:
        await self._http.close()

    def _translate(self, call: GenerationCall) -> GenerationCall:
        if call.path is not GenerationPath.CHAT:
            raise InvalidRequest(
                "This model answers chat completions only.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param="model",
            )
        tree = msgspec.json.decode(call.body)
        if call.own_seed:
            del tree["seed"]
        body = spell_messages(tree, self._tokens_max)
        return replace(call, path=GenerationPath.MESSAGES, body=msgspec.json.encode(body))


def _read(data: bytes) -> Tree:
    try:
        tree: Any = msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise UpstreamFailed("The model server sent something unreadable.") from error
    if not isinstance(tree, dict):
        raise UpstreamFailed("The model server sent something that is no object.")
    if tree.get("type") == "error":
        raise read_failure(tree.get("error"))
    return tree


def _explain(error: InvalidRequest) -> InvalidRequest:
    """The refusal of a prompt that is too long, by the name that it has here."""
    if not error.message.lower().startswith(_TOO_LONG):
        return error
    return InvalidRequest(error.message, reason=Reason.CONTEXT_LENGTH_EXCEEDED, param="messages")


def _event(chunk: Tree) -> SseEvent:
    return SseEvent(msgspec.json.encode(chunk))


def _usage(counts: Counts) -> Tree:
    return {"usage": spell_usage(counts)}
