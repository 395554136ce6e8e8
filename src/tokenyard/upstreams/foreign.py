"""A model server of another make: llama.cpp, vLLM or any that speaks OpenAI's API, made like ours.

Keeps the contract of `ports.Upstream` where the server does not: one event with the usage at the
end, an end with counts for a call that is aborted, refusals in our words. The wire itself is
`http`'s, and what each server says is `dialects`'.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, assert_never

import msgspec

from tokenyard.protocol.models import Model, SamplingDefaults
from tokenyard.protocol.sse import SseEvent, data_of, frame
from tokenyard.protocol.turns import write_messages
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.telemetry.tracing import NO_TRACING, Tracing
from tokenyard.upstreams.dialects import (
    Counts,
    Dialect,
    Tree,
    count_texts,
    has_text,
    is_ours,
    last_event,
    mend_answer,
    mend_event,
    model_of,
    spell_usage,
    take_counts,
    translate,
)
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Health
from tokenyard.upstreams.stopping import Left, StoppableCalls
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason

# uvicorn and llama.cpp close a connection that was idle for 5 s.
_IDLE_SECONDS = 2.0
# What a server without a route for its health may answer.
_NO_HEALTH = frozenset({400, 401, 403, 404, 405, 501})


class _Spelled(msgspec.Struct):
    prompt: str


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Text(msgspec.Struct):
    content: str


class _Listing(msgspec.Struct):
    data: list[Tree]


class ForeignUpstream:
    """One server.

    url: its root, without `/v1`. models: those to offer, none means all that it lists. defaults:
    how its model draws where a request is silent, if that is known better than by the server.
    """

    def __init__(
        self,
        url: str,
        settings: UpstreamSettings,
        *,
        dialect: Dialect,
        clock: Clock,
        models: Sequence[str] = (),
        defaults: SamplingDefaults | None = None,
        api_key: str | None = None,
        tracing: Tracing = NO_TRACING,
        connecting: Mapping[str, Any] | None = None,
    ) -> None:
        self._http = HttpUpstream(
            url,
            settings,
            api_key=api_key,
            idle_seconds=_IDLE_SECONDS,
            connecting=connecting,
            tracing=tracing,
        )
        # Their servers do not go on from given tokens.
        self.continues = False
        self._dialect = dialect
        self._clock = clock
        self._offered = tuple(models)
        self._defaults = defaults
        self._listing_seconds = settings.listing_seconds
        self._calls = StoppableCalls()
        # Set once it has shown that it has no /health: its answer then, and until when that holds.
        self._listed: tuple[Health, float] | None = None

    async def health(self) -> Health:
        if self._listed is None:
            status = await self._http.status("/health")
            if status not in _NO_HEALTH:
                return _health(status)
        elif self._clock.monotonic() < self._listed[1]:
            return self._listed[0]
        health = _health(await self._http.status("/v1/models"))
        self._listed = (health, self._clock.monotonic() + self._listing_seconds)
        return health

    async def models(self) -> list[Model]:
        listing = await self._http.fetch("/v1/models", _Listing)
        now = self._clock.now()
        found = {
            entry["id"]: model_of(entry, now)
            for entry in listing.data
            if isinstance(entry.get("id"), str)
        }
        # A name that the operator gave is offered, listed or not: servers also know short names.
        names = self._offered or tuple(found)
        offered = [found.get(name) or model_of({"id": name}, now) for name in names]
        if self._defaults is not None:
            for model in offered:
                model.sampling_defaults = self._defaults
        return offered

    async def stream(self, call: GenerationCall) -> AsyncGenerator[SseEvent, None]:
        async with aclosing(self.frames(call)) as blocks:
            async for block in blocks:
                for data in data_of(block):
                    yield SseEvent(data)

    async def frames(self, call: GenerationCall) -> AsyncGenerator[bytes, None]:
        sent = self._translate(call)
        last = b""
        counts: Counts | None = None
        pieces = 0
        with self._calls.watch(call.request_id) as watched, suppress(Left):
            async with aclosing(self._http.frames(sent, watched)) as blocks:
                async for block in blocks:
                    if watched.stopped:
                        break
                    last = block
                    if is_ours(block):
                        pieces += count_texts(block)
                        yield block
                        continue
                    for data in data_of(block):
                        tree = _read(data)
                        counts = take_counts(tree) or counts
                        if tree.get("choices"):
                            mend_event(tree)
                            pieces += has_text(tree)
                            yield frame(msgspec.json.encode(tree))
        if not last:
            return
        tree = _read(data_of(last)[-1])
        take_counts(tree)
        if watched.stopped:
            yield frame(msgspec.json.encode(last_event(tree, call.path)))
            # A server that told nothing on the way: each text was a token or more.
            counts = counts or Counts(0, pieces, 0)
        if counts is not None:
            yield frame(msgspec.json.encode({**tree, "choices": [], **_usage(counts)}))

    async def complete(self, call: GenerationCall) -> bytes:
        sent = self._translate(call)
        with self._calls.watch(call.request_id) as watched:
            body = await watched.run(self._http.complete(sent))
        if body is None:
            return _cut_short(call)
        tree = _read(body)
        counts = take_counts(tree)
        mend_answer(tree)
        return msgspec.json.encode({**tree, **(_usage(counts) if counts else {})})

    async def count_tokens(self, model: str, turns: Sequence[Message]) -> int | None:
        """vLLM counts as we do; llama.cpp spells the prompt first; OpenAI's API cannot tell."""
        if self._dialect is Dialect.VLLM:
            return await self._http.count_tokens(model, turns)
        tokens = await self.tokenize(model, turns)
        return None if tokens is None else len(tokens)

    async def tokenize(self, model: str, prompt: str | Sequence[Message]) -> list[int] | None:
        match self._dialect:
            case Dialect.VLLM:
                return await self._http.tokenize(model, prompt)
            case Dialect.LLAMACPP:
                if not isinstance(prompt, str):
                    asked = {"messages": write_messages(prompt)}
                    spelled = await self._http.fetch("/apply-template", _Spelled, asked)
                    prompt = spelled.prompt
                told = {"content": prompt, "add_special": True, "parse_special": True}
                return (await self._http.fetch("/tokenize", _Tokens, told)).tokens
            case Dialect.OPENAI | Dialect.PLATFORM:
                return None
            case _:
                assert_never(self._dialect)

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str | None:
        match self._dialect:
            case Dialect.VLLM:
                return await self._http.detokenize(model, tokens)
            case Dialect.LLAMACPP:
                told = {"tokens": list(tokens)}
                return (await self._http.fetch("/detokenize", _Text, told)).content
            case Dialect.OPENAI | Dialect.PLATFORM:
                return None
            case _:
                assert_never(self._dialect)

    async def load(self) -> Load | None:
        return await self._http.load()

    async def abort(self, request_id: str) -> None:
        # A closed connection is the one sign that they all understand.
        self._calls.stop(request_id)

    async def close(self) -> None:
        await self._http.close()

    def _translate(self, call: GenerationCall) -> GenerationCall:
        defaults = self._defaults or SamplingDefaults()
        body = translate(call, self._dialect, defaults)
        return call if body is call.body else replace(call, body=body)


def _health(status: int | None) -> Health:
    if status == 200:
        return Health.READY
    return Health.LOADING if status == 503 else Health.DOWN


def _usage(counts: Counts) -> Tree:
    return {"usage": spell_usage(counts)}


def _read(data: bytes) -> Tree:
    """An answer or event as a tree; raises UpstreamFailed for an error in its place."""
    try:
        tree: Any = msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise UpstreamFailed("The model server sent something unreadable.") from error
    if not isinstance(tree, dict):
        raise UpstreamFailed("The model server sent something that is no object.")
    told = tree.get("error")
    if told is not None:
        message = told.get("message") if isinstance(told, dict) else told
        raise UpstreamFailed(str(message), reason=Reason.GENERATION_FAILED)
    return tree


def _cut_short(call: GenerationCall) -> bytes:
    """A whole answer that nobody waits for any more; what it cost the server was not told."""
    text = call.path is GenerationPath.TEXT
    said: Tree = {"text": ""} if text else {"message": {"role": "assistant", "content": ""}}
    choice = {"index": 0, "finish_reason": "abort", **said}
    return msgspec.json.encode(
        {"id": call.request_id, "choices": [choice], **_usage(Counts(0, 0, 0))}
    )
