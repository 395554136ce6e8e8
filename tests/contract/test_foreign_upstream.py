"""What llama.cpp, vLLM and others say, as ours: counts, ends, refusals, health, keys, redirects."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from support.spec import validator
from tokenyard.gateway.server import bind, serve
from tokenyard.protocol.models import SamplingDefaults
from tokenyard.protocol.sse import DONE, frame
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.settings import GatewaySettings, UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.upstreams.dialects import Dialect
from tokenyard.upstreams.foreign import ForeignUpstream
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Health
from tokenyard.vocabulary.errors import (
    InvalidRequest,
    LimitReached,
    TokenyardError,
    UpstreamFailed,
)
from tokenyard.vocabulary.reasons import Reason

Tree = dict[str, Any]
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "m", "object": "chat.completion.chunk"}
WORDS = ("Hello", "!", " I")


@dataclass
class Server:
    """What to answer, and what was asked. Routes that are not given do not exist."""

    events: Sequence[Tree] = ()
    answer: Tree | None = None
    status: int = 200
    health: int | None = 200
    models: Sequence[Tree] = ()
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Tree, dict[str, str]]] = field(default_factory=list)

    def app(self) -> Starlette:
        async def generate(request: Request) -> Response:
            body = await request.json()
            self.asked.append((request.url.path, body, dict(request.headers)))
            if self.status != 200 or not body.get("stream"):
                return JSONResponse(self.answer, self.status, self.headers)

            async def frames() -> AsyncIterator[bytes]:
                for event in self.events:
                    yield frame(json.dumps(event).encode())
                yield DONE

            return StreamingResponse(frames(), media_type="text/event-stream")

        async def health(request: Request) -> Response:
            self.asked.append((request.url.path, {}, dict(request.headers)))
            return Response(status_code=self.health or 404, headers=self.headers)

        async def models(request: Request) -> Response:
            self.asked.append((request.url.path, {}, dict(request.headers)))
            return JSONResponse({"object": "list", "data": list(self.models)}, self.status)

        return Starlette(
            routes=[
                Route("/v1/chat/completions", generate, methods=["POST"]),
                Route("/v1/completions", generate, methods=["POST"]),
                Route("/v1/models", models),
                *([Route("/health", health)] if self.health is not None else []),
            ]
        )


@asynccontextmanager
async def foreign(
    server: Server, dialect: Dialect = Dialect.LLAMACPP, **options: Any
) -> AsyncIterator[ForeignUpstream]:
    settings = GatewaySettings(port=0)
    options.setdefault("clock", SimulatedClock())
    async with (
        TaskSupervisor(lambda *_: None) as tasks,
        serve(server.app(), bind(settings), settings, tasks) as serving,
    ):
        upstream = ForeignUpstream(serving.url, UpstreamSettings(), dialect=dialect, **options)
        try:
            yield upstream
        finally:
            await upstream.close()


def chat(**body: Any) -> GenerationCall:
    data = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}
    return GenerationCall(GenerationPath.CHAT, json.dumps(data).encode(), "req_1")


def text(**body: Any) -> GenerationCall:
    data = {"model": "m", "prompt": "Once", **body}
    return GenerationCall(GenerationPath.TEXT, json.dumps(data).encode(), "req_1")


async def events_of(upstream: ForeignUpstream, call: GenerationCall) -> list[Tree]:
    return [json.loads(event.data) async for event in upstream.stream(call)]


def timings(said: int) -> Tree:
    return {"cache_n": 24, "prompt_n": 9, "prompt_ms": 1.5, "predicted_n": said}


def llamacpp_chat() -> list[Tree]:
    """A stream as llama.cpp sends it when it is asked for its timings with each token."""
    first = {"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": None}}
    rest = [
        {
            "choices": [{"index": 0, "finish_reason": None, "delta": {"content": word}}],
            **HEAD,
            "timings": timings(number),
        }
        for number, word in enumerate(WORDS, 1)
    ]
    usage = {"completion_tokens": 3, "prompt_tokens": 33, "total_tokens": 36}
    return [
        {"choices": [first], **HEAD},
        *rest,
        {"choices": [{"index": 0, "finish_reason": "length", "delta": {}}], **HEAD},
        {
            "choices": [],
            **HEAD,
            "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 24}},
            "timings": timings(3),
        },
    ]


def counted(event: Tree) -> tuple[int, int, int]:
    usage = event["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return usage["prompt_tokens"], usage["completion_tokens"], cached


async def test_a_stream_of_llamacpp_becomes_ours() -> None:
    async with foreign(Server(llamacpp_chat())) as upstream:
        events = await events_of(upstream, chat(stream=True))
    for event in events:
        validator("chat.stream").validate(event)
        assert "timings" not in event
    assert events[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert (events[-1]["choices"], counted(events[-1])) == ([], (33, 3, 24))
    assert not [event for event in events[:-1] if event.get("usage")]


async def test_an_aborted_stream_of_llamacpp_is_counted_to_the_token() -> None:
    async with foreign(Server(llamacpp_chat())) as upstream:
        events: list[Tree] = []
        async for event in upstream.stream(chat(stream=True)):
            events.append(json.loads(event.data))
            if len(events) == 3:
                await upstream.abort("req_1")
    said = [event["choices"][0]["delta"].get("content") for event in events[1:-2]]
    assert events[-2]["choices"][0]["finish_reason"] == "abort"
    assert said == ["Hello", "!"]
    assert counted(events[-1]) == (33, 2, 24)


async def test_the_last_event_of_a_text_stream_is_not_swallowed_with_its_usage() -> None:
    head = {**HEAD, "object": "text_completion"}
    sent: list[Tree] = [
        {"choices": [{"index": 0, "text": "-", "logprobs": None, "finish_reason": None}], **head},
        {
            "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}],
            **head,
            "usage": {"completion_tokens": 1, "prompt_tokens": 2, "total_tokens": 3},
        },
    ]
    async with foreign(Server(sent)) as upstream:
        events = await events_of(upstream, text(stream=True))
    assert [event["choices"][0]["finish_reason"] for event in events[:2]] == [None, "stop"]
    assert "usage" not in events[1]
    assert (events[2]["choices"], counted(events[2])) == ([], (2, 1, 0))


async def test_counts_that_vllm_sends_with_every_event_are_told_once() -> None:
    def usage(said: int) -> Tree:
        return {"prompt_tokens": 5, "completion_tokens": said, "total_tokens": 5 + said}

    sent = [
        {"choices": [{"index": 0, "delta": {"content": word}}], **HEAD, "usage": usage(number)}
        for number, word in enumerate(WORDS, 1)
    ]
    server = Server(sent)
    async with foreign(server, Dialect.VLLM) as upstream:
        events = await events_of(
            upstream, chat(stream=True, stream_options={"include_usage": True})
        )
    assert [("usage" in event) for event in events] == [False, False, False, True]
    assert counted(events[-1]) == (5, 3, 0)
    options = server.asked[0][1]["stream_options"]
    assert options == {"include_usage": True, "continuous_usage_stats": True}


async def test_a_whole_answer_becomes_ours() -> None:
    message = {"role": "assistant", "content": "Hello"}
    answer = {
        "choices": [{"finish_reason": "stop", "index": 0, "message": message}],
        "created": 1,
        "model": "m",
        "system_fingerprint": "b0",
        "object": "chat.completion",
        "usage": {"completion_tokens": 2, "prompt_tokens": 33, "total_tokens": 35},
        "id": "chatcmpl-2",
        "timings": timings(2),
    }
    async with foreign(Server(answer=answer)) as upstream:
        body = json.loads(await upstream.complete(chat()))
    validator("chat").validate(body)
    assert counted(body) == (33, 2, 0)
    assert "timings" not in body


async def test_what_llamacpp_leaves_to_its_own_defaults_is_told() -> None:
    server = Server(answer={"choices": []})
    async with foreign(server) as upstream:
        await upstream.complete(chat(stop=None, seed=-1))
        await upstream.complete(chat(temperature=0.0, top_k=5, seed=2**63 - 1))
    first, second = (asked for _, asked, _ in server.asked)
    assert (first["temperature"], first["top_p"]) == (1.0, 1.0)
    assert (first["top_k"], first["min_p"]) == (0, 0.0)
    assert "stop" not in first
    assert "timings_per_token" not in first
    assert (second["temperature"], second["top_k"]) == (0.0, 5)
    # 2^32 - 1 would mean "any seed" to it, and so would anything larger.
    assert all(0 <= asked["seed"] < 2**32 - 1 for asked in (first, second))


async def test_what_a_model_s_makers_recommend_is_told_and_listed() -> None:
    server = Server(answer={"choices": []}, models=MODELS[:1])
    makers = SamplingDefaults(temperature=0.2, top_p=0.9)
    async with foreign(server, defaults=makers) as upstream:
        (model,) = await upstream.models()
        await upstream.complete(chat())
    assert model.defaults() == makers
    assert (server.asked[-1][1]["temperature"], server.asked[-1][1]["top_p"]) == (0.2, 0.9)


async def test_other_servers_get_the_request_as_it_came() -> None:
    server = Server(answer={"choices": []})
    async with foreign(server, Dialect.OPENAI) as upstream:
        await upstream.complete(chat(seed=2**40, stop=None))
    assert server.asked[0][1] == json.loads(chat(seed=2**40, stop=None).body)


async def test_openai_itself_gets_its_own_words_for_a_length() -> None:
    server = Server(answer={"choices": []})
    thought = {"role": "assistant", "content": "a", "reasoning_content": "b"}
    asked = chat(max_tokens=5, top_k=0, priority=3, temperature=0.5, messages=[thought])
    async with foreign(server, Dialect.PLATFORM) as upstream:
        await upstream.complete(asked)
        await upstream.complete(chat(max_tokens=5, max_completion_tokens=7))
        with pytest.raises(InvalidRequest, match="OpenAI's API does not support") as caught:
            await upstream.complete(chat(top_k=5))
    assert caught.value.param == "top_k"
    first, second = (body for _, body, _ in server.asked)
    assert first == {
        "model": "m",
        "messages": [{"role": "assistant", "content": "a"}],
        "temperature": 0.5,
        "max_completion_tokens": 5,
    }
    assert second["max_completion_tokens"] == 7


async def test_reasoning_tokens_and_unknown_counts_are_kept() -> None:
    told = {
        "prompt_tokens": 5,
        "completion_tokens": 9,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 6, "accepted_prediction_tokens": 1},
        "queue_time": 0.5,
    }
    server = Server(answer={"choices": [], "usage": told})
    async with foreign(server, Dialect.PLATFORM) as upstream:
        body = json.loads(await upstream.complete(chat()))
    assert body["usage"] == told


@pytest.mark.parametrize(
    ("call", "param"),
    [
        (chat(n=2), "n"),
        (text(n=2), "n"),
        (text(best_of=2), "best_of"),
        (text(echo=True), "echo"),
        (text(suffix="x"), "suffix"),
        (text(logprobs=2), "logprobs"),
    ],
)
async def test_what_llamacpp_would_ignore_is_refused_by_name(
    call: GenerationCall, param: str
) -> None:
    server = Server(llamacpp_chat(), answer={"choices": []})
    async with foreign(server) as upstream:
        for ask in (upstream.complete(call), events_of(upstream, call)):
            with pytest.raises(InvalidRequest) as caught:
                await ask
            assert caught.value.reason is Reason.UNSUPPORTED_PARAMETER
            assert caught.value.param == param
    assert not server.asked


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason", "words"),
    [
        (
            400,
            {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}},
            InvalidRequest,
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "too long",
        ),
        (
            400,
            {"error": {"code": 400, "message": "no", "type": "invalid_request_error"}},
            InvalidRequest,
            Reason.INVALID_VALUE,
            "no",
        ),
        (
            400,
            {"object": "error", "message": "old vLLM", "code": 400},
            InvalidRequest,
            Reason.INVALID_VALUE,
            "old vLLM",
        ),
        (400, {"error": "a word"}, InvalidRequest, Reason.INVALID_VALUE, "a word"),
        (
            429,
            {"error": {"message": "slowly", "code": "rate_limit_exceeded"}},
            LimitReached,
            Reason.RATE_LIMIT_REQUESTS,
            "slowly",
        ),
        (
            401,
            {"error": {"message": "Incorrect API key provided: sk-secret"}},
            UpstreamFailed,
            Reason.UPSTREAM_FAILED,
            "refused the key",
        ),
        (
            500,
            {"error": {"code": 500, "message": "broke", "type": "server_error"}},
            UpstreamFailed,
            Reason.UPSTREAM_FAILED,
            "broke",
        ),
        (502, ["html"], UpstreamFailed, Reason.UPSTREAM_FAILED, "without an explanation"),
    ],
)
async def test_refusals_become_ours(
    status: int, body: Any, kind: type[TokenyardError], reason: Reason, words: str
) -> None:
    async with foreign(Server(answer=body, status=status)) as upstream:
        for ask in (upstream.complete(chat()), events_of(upstream, chat(stream=True))):
            with pytest.raises(kind, match=words) as caught:
                await ask
            assert caught.value.reason is reason
            assert "sk-secret" not in caught.value.message


async def test_an_error_inside_a_stream_or_answer_is_never_taken_for_one() -> None:
    error = {"error": {"code": 500, "message": "Context size has been exceeded."}}
    async with foreign(Server([*llamacpp_chat()[:2], error], answer=error)) as upstream:
        for ask in (events_of(upstream, chat(stream=True)), upstream.complete(chat())):
            with pytest.raises(UpstreamFailed, match="Context size") as caught:
                await ask
            assert caught.value.reason is Reason.GENERATION_FAILED


MODELS: list[Tree] = [
    {"id": "a", "created": 7, "owned_by": "llamacpp", "meta": {"n_ctx": 8192}},
    {"id": "b", "max_model_len": 4096},
    {"id": "c", "context_length": 0},
    {"name": "no id"},
]


async def test_lists_of_models_are_read_whatever_they_leave_out() -> None:
    async with foreign(Server(models=MODELS)) as upstream:
        models = {model.id: model for model in await upstream.models()}
    assert list(models) == ["a", "b", "c"]
    assert (models["a"].context_window, models["a"].created) == (8192, 7)
    assert models["b"].context_window == 4096
    assert not isinstance(models["c"].context_window, int)
    assert models["c"].owned_by == "unknown"


async def test_only_the_models_of_the_settings_are_offered() -> None:
    async with foreign(Server(models=MODELS), models=("b", "alias")) as upstream:
        models = await upstream.models()
    assert [model.id for model in models] == ["b", "alias"]
    assert models[0].context_window == 4096


@pytest.mark.parametrize(
    ("status", "health"),
    [(200, Health.READY), (503, Health.LOADING), (500, Health.DOWN), (302, Health.DOWN)],
)
async def test_health(status: int, health: Health) -> None:
    server = Server(health=status, headers={"location": "/v1/models"})
    async with foreign(server) as upstream:
        assert await upstream.health() is health
    assert [path for path, _, _ in server.asked] == ["/health"], "a redirect was followed"


async def test_a_server_without_health_is_asked_for_its_models_now_and_then() -> None:
    clock, server = SimulatedClock(), Server(health=None)
    async with foreign(server, Dialect.OPENAI, clock=clock, api_key="k") as upstream:
        for _ in range(3):
            assert await upstream.health() is Health.READY
        assert [path for path, _, _ in server.asked] == ["/v1/models"]
        server.status = 401
        await clock.advance(UpstreamSettings().listing_seconds)
        assert await upstream.health() is Health.DOWN
    assert len(server.asked) == 2
    assert server.asked[0][2]["authorization"] == "Bearer k"
