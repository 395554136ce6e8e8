"""One contract for model servers: the scripted one, and the same script behind real HTTP.

`foreign` is the adapter for servers of other makes, which are not told of an abort but hung up on.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tokenyard.gateway.server import bind, serve
from tokenyard.protocol.errors import error_response
from tokenyard.protocol.models import ModelList
from tokenyard.protocol.sse import DONE, data_of, frame
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.settings import GatewaySettings, UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.upstreams.dialects import Dialect
from tokenyard.upstreams.foreign import ForeignUpstream
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Health, Upstream
from tokenyard.upstreams.scripted import Script, ScriptedUpstream
from tokenyard.vocabulary.errors import (
    InvalidRequest,
    LimitReached,
    NotFound,
    TokenyardError,
    Unavailable,
    UpstreamFailed,
)
from tokenyard.vocabulary.messages import Message, Role
from tokenyard.vocabulary.reasons import Reason

CALL = GenerationCall(GenerationPath.CHAT, b'{"model":"scripted","stream":true}', "req_1")
SETTINGS = UpstreamSettings(
    connect_seconds=2, first_token_seconds=5, between_tokens_seconds=5, health_seconds=1
)


def serve_script(script: ScriptedUpstream) -> Starlette:
    """The script as an HTTP server, as our engine would speak."""

    async def health(request: Request) -> Response:
        state = await script.health()
        if state is Health.DOWN:
            return Response(status_code=500)
        return Response(status_code=200 if state is Health.READY else 503)

    async def models(request: Request) -> Response:
        return Response(msgspec.json.encode(ModelList(data=await script.models())))

    async def chat(request: Request) -> Response:
        call = GenerationCall(
            GenerationPath.CHAT, await request.body(), request.headers["x-request-id"]
        )
        try:
            if not json.loads(call.body).get("stream"):
                return Response(await script.complete(call), media_type="application/json")
            events = script.stream(call)
            first = await anext(events)
        except TokenyardError as error:
            status, body, headers = error_response(error)
            return Response(msgspec.json.encode(body), status, headers)

        async def frames() -> AsyncIterator[bytes]:
            yield frame(first.data)
            async for event in events:
                yield frame(event.data)
            yield DONE

        return StreamingResponse(frames(), media_type="text/event-stream")

    async def tokenize(request: Request) -> Response:
        asked = await request.json()
        turns = [Message(Role(one["role"]), one["content"]) for one in asked["messages"]]
        count = await script.count_tokens(asked["model"], turns)
        return Response(msgspec.json.encode({"count": count, "tokens": [1, 2]}))

    async def abort(request: Request) -> Response:
        await script.abort((await request.json())["request_id"])
        return Response(b"{}")

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/tokenize", tokenize, methods=["POST"]),
            Route("/v1/abort", abort, methods=["POST"]),
        ]
    )


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    settings = GatewaySettings(port=0)
    async with (
        TaskSupervisor(lambda *_: None) as tasks,
        serve(app, bind(settings), settings, tasks) as served,
    ):
        yield served.url


Pair = tuple[Upstream, ScriptedUpstream]


def connect(kind: str, url: str, settings: UpstreamSettings) -> HttpUpstream | ForeignUpstream:
    if kind == "http":
        return HttpUpstream(url, settings)
    return ForeignUpstream(url, settings, dialect=Dialect.OPENAI, clock=RealClock())


@pytest.fixture(params=["scripted", "http", "foreign"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """The server under test, and the script that it follows."""
    script = ScriptedUpstream()
    async with AsyncExitStack() as stack:
        if request.param == "scripted":
            yield script, script
            return
        url = await stack.enter_async_context(serving(serve_script(script)))
        upstream = connect(request.param, url, SETTINGS)
        stack.push_async_callback(upstream.close)
        yield upstream, script


async def text_of(
    upstream: Upstream, seen: Callable[[int], None] = lambda count: None, *, lenient: bool = False
) -> str:
    """lenient: events of a server that breaks may lack everything."""
    pieces: list[str] = []
    async for event in upstream.stream(CALL):
        for choice in json.loads(event.data).get("choices", [] if lenient else None):
            if content := choice["delta"].get("content"):
                pieces.append(content)
                seen(len(pieces))
    return "".join(pieces)


async def frames_of(upstream: Upstream) -> bytes:
    return b"".join([block async for block in upstream.frames(CALL)])


async def test_health_follows_the_server(pair: Pair) -> None:
    upstream, script = pair
    for state in Health:
        script.reported_health = state
        assert await upstream.health() is state


async def test_models_keep_their_window(pair: Pair) -> None:
    (model,) = await pair[0].models()
    assert (model.id, model.context_window) == ("scripted", 8192)


async def test_tokens_of_a_prompt_are_counted_where_the_server_can(pair: Pair) -> None:
    upstream, _ = pair
    count = await upstream.count_tokens("scripted", [Message(Role.USER, "one two")])
    assert count == (None if isinstance(upstream, ForeignUpstream) else 4)


async def test_stream_ends_with_the_usage_and_without_done(pair: Pair) -> None:
    events = [json.loads(event.data) async for event in pair[0].stream(CALL)]
    assert events[-1]["usage"]["completion_tokens"] == 4
    assert await text_of(pair[0]) == "Hello, world."


async def test_frames_are_the_events_of_the_stream(pair: Pair) -> None:
    events = [event.data async for event in pair[0].stream(CALL)]
    blocks = [block async for block in pair[0].frames(CALL)]
    assert [data for block in blocks for data in data_of(block)] == events
    assert b"".join(blocks) == b"".join(map(frame, events))


async def test_whole_answer(pair: Pair) -> None:
    call = GenerationCall(GenerationPath.CHAT, b'{"model":"scripted"}', "req_2")
    body = json.loads(await pair[0].complete(call))
    assert body["choices"][0]["message"]["content"] == "Hello, world."


@pytest.mark.parametrize(
    "refusal",
    [
        InvalidRequest("Too long.", reason=Reason.CONTEXT_LENGTH_EXCEEDED, param="messages"),
        NotFound("No such model.", reason=Reason.MODEL_NOT_FOUND, param="model"),
        LimitReached("Slowly.", reason=Reason.RATE_LIMIT_REQUESTS, retry_after_seconds=3),
        Unavailable("Full.", reason=Reason.QUEUE_FULL, retry_after_seconds=7),
    ],
)
async def test_refusal_keeps_kind_reason_field_and_wait(
    pair: Pair, refusal: TokenyardError
) -> None:
    upstream, script = pair
    script.script = Script(refuse=refusal)
    for ask in (text_of(upstream), frames_of(upstream), upstream.complete(CALL)):
        with pytest.raises(type(refusal)) as caught:
            await ask
        error = caught.value
        assert (error.message, error.reason) == (refusal.message, refusal.reason)
        assert (error.param, error.retry_after_seconds) == (
            refusal.param,
            refusal.retry_after_seconds,
        )


async def test_abort_ends_the_stream_with_what_was_counted(pair: Pair) -> None:
    upstream, script = pair
    script.script = Script(hold_after=2)
    events = []
    async for event in upstream.stream(CALL):
        events.append(json.loads(event.data))
        if len(events) == 2:
            await upstream.abort(CALL.request_id)
    choices = [choice for event in events for choice in event["choices"]]
    said = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
    assert "".join(said) in {"Hello", "Hello, "}
    assert choices[-1]["finish_reason"] == "abort"
    assert events[-1]["usage"]["completion_tokens"] == len(said)


async def test_abort_ends_the_frames_with_what_was_counted(pair: Pair) -> None:
    upstream, script = pair
    script.script = Script(hold_after=2)
    events: list[dict[str, Any]] = []
    async for block in upstream.frames(CALL):
        told = [json.loads(data) for data in data_of(block)]
        if len(events) < 2 <= len(events) + len(told):
            await upstream.abort(CALL.request_id)
        events += told
    choices = [choice for event in events for choice in event["choices"]]
    said = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
    assert choices[-1]["finish_reason"] == "abort"
    assert events[-1]["usage"]["completion_tokens"] == len(said)


async def test_abort_of_a_whole_answer_ends_it(pair: Pair) -> None:
    upstream, script = pair
    script.script = Script(hold_after=2)
    call = GenerationCall(GenerationPath.CHAT, b'{"model":"scripted"}', "req_3")
    async with TaskSupervisor(lambda *_: None) as tasks, asyncio.timeout(20):
        answering = tasks.spawn("answer", upstream.complete(call))
        while not script.calls:
            await asyncio.sleep(0.01)
        await upstream.abort(call.request_id)
        body = json.loads(await answering)
    assert body["usage"]["completion_tokens"] <= 2


async def test_abort_of_nothing_is_quiet(pair: Pair) -> None:
    await pair[0].abort("req_unknown")


Answerer = Callable[[asyncio.StreamWriter], None]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@asynccontextmanager
async def raw_server(
    answer: bytes, *, hang: bool = False, kind: str = "http"
) -> AsyncIterator[Upstream]:
    """A server that says exactly these bytes to whatever it is asked, and hangs up (or hangs)."""
    let_go = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hang:
            await let_go.wait()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    quick = UpstreamSettings(
        connect_seconds=0.5, first_token_seconds=0.2, between_tokens_seconds=0.2
    )
    upstream = connect(kind, f"http://127.0.0.1:{port}", quick)
    try:
        yield upstream
    finally:
        let_go.set()
        await upstream.close()
        server.close()


FAULTS = {
    "hangs up at once": (b"", False, Reason.UPSTREAM_UNAVAILABLE),
    "cut inside a chunk": (HEAD + b"20\r\ndata: {", False, Reason.UPSTREAM_FAILED),
    "cut between events": (HEAD + chunk(frame(b"{}")), False, Reason.UPSTREAM_FAILED),
    "ends without [DONE]": (
        HEAD + chunk(frame(b"{}")) + b"0\r\n\r\n", False, Reason.UPSTREAM_FAILED,
    ),
    "no stream": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        False,
        Reason.UPSTREAM_FAILED,
    ),
    "not HTTP": (b"220 smtp ready\r\n", False, Reason.UPSTREAM_UNAVAILABLE),
    "error without words": (
        b"HTTP/1.1 500 Oh\r\ncontent-length: 5\r\n\r\nsorry", False, Reason.UPSTREAM_FAILED,
    ),
    "redirect": (
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        False,
        Reason.UPSTREAM_FAILED,
    ),
    "silent from the start": (b"", True, Reason.UPSTREAM_TIMEOUT),
    "silent half-way": (HEAD + chunk(frame(b"{}")), True, Reason.UPSTREAM_TIMEOUT),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["http", "foreign"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_fault_is_named_and_never_taken_for_the_end(fault: str, kind: str) -> None:
    answer, hang, reason = FAULTS[fault]
    async with raw_server(answer, hang=hang, kind=kind) as upstream:
        for ask in (text_of(upstream, lenient=True), frames_of(upstream)):
            with pytest.raises((UpstreamFailed, Unavailable)) as caught:
                await ask
            assert caught.value.reason is reason


@pytest.mark.parametrize("data", [b"{{{", b"{}{}", b'{"choices":[{', b"[]", b"x"])
async def test_garbage_of_another_make_is_not_passed_on(data: bytes) -> None:
    answer = HEAD + chunk(frame(data)) + chunk(DONE)
    async with raw_server(answer, hang=True, kind="foreign") as upstream:
        with pytest.raises(UpstreamFailed, match="sent something"):
            await frames_of(upstream)


@pytest.mark.parametrize("kind", ["http", "foreign"])
async def test_nobody_there(kind: str) -> None:
    upstream = connect(kind, "http://127.0.0.1:1", SETTINGS)
    try:
        assert await upstream.health() is Health.DOWN
        with pytest.raises(Unavailable):
            await text_of(upstream)
        with pytest.raises(UpstreamFailed):
            await upstream.models()
    finally:
        await upstream.close()
