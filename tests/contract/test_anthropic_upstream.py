"""Anthropic's Messages API as ours: turns, tools, events, counts, ends, refusals, health.

The server is a script; what it says was written after the public API reference.
"""

import asyncio
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
from support.yards import open_fake_yard
from tokenyard.gateway.server import bind, serve
from tokenyard.protocol.sse import frame
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.settings import GatewaySettings, Settings, UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.upstreams.anthropic import AnthropicUpstream
from tokenyard.upstreams.ports import GenerationCall, GenerationPath, Health
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

Tree = dict[str, Any]
QUESTION = {"role": "user", "content": "Hi"}
USAGE = {"input_tokens": 9, "cache_read_input_tokens": 24, "cache_creation_input_tokens": 7}


@dataclass
class Server:
    """What to answer, and what was asked."""

    events: Sequence[Tree] = ()
    answer: Tree | None = None
    status: int = 200
    models: Sequence[Tree] = ()
    asked: list[tuple[str, Tree, dict[str, str]]] = field(default_factory=list)

    def app(self) -> Starlette:
        async def messages(request: Request) -> Response:
            body = await request.json()
            self.asked.append((request.url.path, body, dict(request.headers)))
            if self.status != 200 or not body.get("stream"):
                return JSONResponse(self.answer, self.status)

            async def frames() -> AsyncIterator[bytes]:
                for event in self.events:
                    yield frame(json.dumps(event).encode(), event=event["type"])

            return StreamingResponse(frames(), media_type="text/event-stream")

        async def models(request: Request) -> Response:
            self.asked.append((request.url.path, {}, dict(request.headers)))
            return JSONResponse({"data": list(self.models), "has_more": False}, self.status)

        async def count(request: Request) -> Response:
            self.asked.append((request.url.path, await request.json(), dict(request.headers)))
            return JSONResponse({"input_tokens": 17})

        return Starlette(
            routes=[
                Route("/v1/messages", messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", count, methods=["POST"]),
                Route("/v1/models", models),
            ]
        )


@asynccontextmanager
async def anthropic(server: Server, **options: Any) -> AsyncIterator[AnthropicUpstream]:
    settings = GatewaySettings(port=0)
    options.setdefault("clock", SimulatedClock())
    async with (
        TaskSupervisor(lambda *_: None) as tasks,
        serve(server.app(), bind(settings), settings, tasks) as serving,
    ):
        upstream = AnthropicUpstream(serving.url, UpstreamSettings(), **options)
        try:
            yield upstream
        finally:
            await upstream.close()


def chat(**body: Any) -> GenerationCall:
    data = {"model": "claude", "messages": [QUESTION], **body}
    return GenerationCall(GenerationPath.CHAT, json.dumps(data).encode(), "req_1")


async def events_of(upstream: AnthropicUpstream, call: GenerationCall) -> list[Tree]:
    return [json.loads(event.data) async for event in upstream.stream(call)]


async def ask(server: Server, call: GenerationCall) -> Tree:
    """The body that the server gets for a call."""
    async with anthropic(server) as upstream:
        await upstream.complete(call)
    return server.asked[-1][1]


def opening(**usage: int) -> Tree:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1"}
    return {
        "type": "message_start",
        "message": {**message, "content": [], "stop_reason": None, "usage": {**USAGE, **usage}},
    }


def begin(place: int, **block: Any) -> Tree:
    return {"type": "content_block_start", "index": place, "content_block": block}


def add(place: int, kind: str, **delta: str) -> Tree:
    return {"type": "content_block_delta", "index": place, "delta": {"type": kind, **delta}}


def closing(reason: str, output: int) -> list[Tree]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output}},
        {"type": "message_stop"},
    ]


SAID = [
    opening(output_tokens=1),
    {"type": "ping"},
    begin(0, type="thinking", thinking="", signature=""),
    add(0, "thinking_delta", thinking="Hm."),
    add(0, "signature_delta", signature="abc"),
    {"type": "content_block_stop", "index": 0},
    begin(1, type="text", text=""),
    add(1, "text_delta", text="Hello"),
    add(1, "text_delta", text=" there"),
    {"type": "content_block_stop", "index": 1},
]
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-1",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {**USAGE, "output_tokens": 3},
}


def deltas(events: Sequence[Tree]) -> list[Tree]:
    return [choice["delta"] for event in events for choice in event["choices"]]


async def test_a_stream_becomes_ours() -> None:
    async with anthropic(Server([*SAID, *closing("max_tokens", 12)])) as upstream:
        events = await events_of(upstream, chat(stream=True))
    for event in events:
        validator("chat.stream").validate(event)
        assert (event["id"], event["model"]) == ("msg_1", "claude-1")
    assert deltas(events) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"content": "Hello"},
        {"content": " there"},
        {},
    ]
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["choices"] == []
    usage = events[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (9 + 24 + 7, 12)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 24
    assert usage["cache_creation_input_tokens"] == 7


async def test_calls_of_tools_become_ours() -> None:
    sent = [
        opening(),
        begin(0, type="text", text=""),
        add(0, "text_delta", text="Look:"),
        begin(1, type="tool_use", id="toolu_1", name="find", input={}),
        add(1, "input_json_delta", partial_json='{"a"'),
        add(1, "input_json_delta", partial_json=": 1}"),
        begin(2, type="tool_use", id="toolu_2", name="find", input={}),
        *closing("tool_use", 30),
    ]
    async with anthropic(Server(sent)) as upstream:
        events = await events_of(upstream, chat(stream=True))
    for event in events:
        validator("chat.stream").validate(event)
    calls = [call for delta in deltas(events) for call in delta.get("tool_calls", ())]
    assert calls[0] == {
        "index": 0,
        "id": "toolu_1",
        "type": "function",
        "function": {"name": "find", "arguments": ""},
    }
    said = [call["function"]["arguments"] for call in calls if call["index"] == 0]
    assert "".join(said) == '{"a": 1}'
    assert [call["id"] for call in calls if call["index"] == 1] == ["toolu_2"]
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_whole_answer_becomes_ours() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
        {"type": "text", "text": "Look:"},
        {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"a": 1}},
    ]
    answer = {**ANSWER, "content": blocks, "stop_reason": "tool_use"}
    async with anthropic(Server(answer=answer)) as upstream:
        body = json.loads(await upstream.complete(chat()))
    validator("chat").validate(body)
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == (
        "Look:",
        "Hm.",
    )
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (40, 3)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
    ],
)
async def test_reasons_to_stop_become_ours(theirs: str, ours: str) -> None:
    async with anthropic(Server(answer={**ANSWER, "stop_reason": theirs})) as upstream:
        body = json.loads(await upstream.complete(chat()))
    validator("chat").validate(body)
    assert body["choices"][0]["finish_reason"] == ours


async def test_a_conversation_is_told_with_its_tools() -> None:
    function = {"name": "find", "description": "Finds.", "parameters": {"type": "object"}}
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"a":1}'}}
    server = Server(answer=ANSWER)
    body = await ask(
        server,
        chat(
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Find"}]},
                {"role": "user", "content": "it."},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": "So?"},
            ],
            max_completion_tokens=50,
            tools=[{"type": "function", "function": function}],
            tool_choice="required",
            parallel_tool_calls=False,
            stop="END",
            temperature=0.5,
            top_p=1.0,
            user="somebody",
        ),
    )
    assert body == {
        "model": "claude",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Find"}, {"type": "text", "text": "it."}],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "find", "input": {"a": 1}}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "text", "text": "42"}],
                    },
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
        "tools": [{"name": "find", "description": "Finds.", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "metadata": {"user_id": "somebody"},
    }


async def test_what_asks_for_nothing_is_left_out() -> None:
    """Newer models refuse `temperature` beside `top_p`; our chat always sends both."""
    body = await ask(
        Server(answer=ANSWER),
        chat(temperature=1.0, top_p=1.0, n=1, logprobs=False, seed=None, service_tier="flex"),
    )
    assert set(body) == {"model", "max_tokens", "messages"}
    assert body["max_tokens"] == UpstreamSettings().answer_tokens_assumed


async def test_a_form_of_the_answer_is_told() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = await ask(Server(answer=ANSWER), chat(response_format=form))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("told", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 7}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"something_new": 1}, "something_new"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type"),
    ],
)
async def test_what_it_cannot_say_is_refused_by_name(told: Tree, param: str) -> None:
    server = Server(answer=ANSWER)
    async with anthropic(server) as upstream:
        for ask_it in (upstream.complete(chat(**told)), events_of(upstream, chat(**told))):
            with pytest.raises(InvalidRequest) as caught:
                await ask_it
            assert caught.value.reason is Reason.UNSUPPORTED_PARAMETER
            assert caught.value.param == param
    assert not server.asked


async def test_only_chat_completions_are_answered() -> None:
    async with anthropic(Server(answer=ANSWER)) as upstream:
        with pytest.raises(InvalidRequest, match="chat completions only"):
            await upstream.complete(GenerationCall(GenerationPath.TEXT, b"{}", "req_1"))


@pytest.mark.parametrize(
    ("status", "type", "message", "kind", "reason"),
    [
        (400, "invalid_request_error", "no", InvalidRequest, Reason.INVALID_VALUE),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 9 tokens > 8 maximum",
            InvalidRequest,
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        (401, "authentication_error", "bad sk-secret", UpstreamFailed, Reason.UPSTREAM_FAILED),
        (403, "permission_error", "bad sk-secret", UpstreamFailed, Reason.UPSTREAM_FAILED),
        (404, "not_found_error", "no model", NotFound, Reason.NOT_FOUND),
        (429, "rate_limit_error", "slowly", LimitReached, Reason.RATE_LIMIT_REQUESTS),
        (500, "api_error", "broke", UpstreamFailed, Reason.UPSTREAM_FAILED),
        (529, "overloaded_error", "busy", Unavailable, Reason.SYSTEM_OVERLOADED),
    ],
)
async def test_refusals_become_ours(
    status: int, type: str, message: str, kind: type[TokenyardError], reason: Reason
) -> None:
    body = {"type": "error", "error": {"type": type, "message": message}}
    async with anthropic(Server(answer=body, status=status)) as upstream:
        for ask_it in (upstream.complete(chat()), events_of(upstream, chat(stream=True))):
            with pytest.raises(kind) as caught:
                await ask_it
            assert caught.value.reason is reason
            assert "sk-secret" not in caught.value.message


@pytest.mark.parametrize(
    ("type", "kind"), [("overloaded_error", Unavailable), ("api_error", UpstreamFailed)]
)
async def test_an_error_inside_a_stream_ends_it(type: str, kind: type[TokenyardError]) -> None:
    """Before the first piece nothing has been yielded, so that another server can be asked."""
    error = {"type": "error", "error": {"type": type, "message": "busy"}}
    for before, seen in ((SAID[:2], 0), (SAID, 4)):
        async with anthropic(Server([*before, error])) as upstream:
            stream = upstream.stream(chat(stream=True))
            for _ in range(seen):
                await anext(stream)
            with pytest.raises(kind, match="busy"):
                await anext(stream)


async def test_a_stream_without_its_last_event_is_broken() -> None:
    async with anthropic(Server([*SAID, closing("end_turn", 3)[0]])) as upstream:
        with pytest.raises(UpstreamFailed, match="half-way"):
            await events_of(upstream, chat(stream=True))


async def test_a_stream_that_is_stopped_tells_what_was_said() -> None:
    async with anthropic(Server([*SAID, *closing("end_turn", 12)])) as upstream:
        events: list[Tree] = []
        async for event in upstream.stream(chat(stream=True)):
            events.append(json.loads(event.data))
            if len(events) == 3:
                await upstream.abort("req_1")
    assert events[-2]["choices"][0]["finish_reason"] == "abort"
    usage = events[-1]["usage"]
    # Two pieces, each a token or more, and a prompt that was told at the beginning.
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (40, 2)


async def test_health_models_key_and_counts() -> None:
    listed: list[Tree] = [
        {"id": "claude-1", "type": "model", "max_input_tokens": 200_000},
        {"id": "claude-2"},
    ]
    server = Server(models=listed)
    clock = SimulatedClock()
    async with anthropic(server, api_key="k", clock=clock) as upstream:
        assert await upstream.health() is Health.READY
        assert await upstream.health() is Health.READY
        assert len(server.asked) == 1
        models = await upstream.models()
        assert [model.id for model in models] == ["claude-1", "claude-2"]
        assert (models[0].window(), models[0].owned_by) == (200_000, "anthropic")
        turns = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi")]
        assert await upstream.count_tokens("claude-1", turns) == 17
        server.status = 401
        await clock.advance(UpstreamSettings().listing_seconds)
        assert await upstream.health() is Health.DOWN
    headers = server.asked[0][2]
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("k", "2023-06-01")
    assert "authorization" not in headers
    counted = server.asked[2][1]
    assert counted["system"] == [{"type": "text", "text": "Be brief."}]


async def test_a_gateway_passes_it_on_and_bills_it() -> None:
    """A chat completion and a response, streamed, from the request to the books."""
    prices = (PriceSettings(model="*", input="1", cached_input="0.1", output="5"),)
    settings = Settings(ledger=LedgerSettings(prices=prices))
    server = Server([*SAID, *closing("end_turn", 12)], models=[{"id": "claude-1"}])
    async with anthropic(server) as upstream, open_fake_yard(settings) as yard:
        yard.pool.expect("far", frozenset({"claude-1"}))
        await yard.pool.attach("far", upstream)
        while not any(model.id == "claude-1" for model in yard.pool.models()):
            await asyncio.sleep(0.01)
            await yard.clock.advance(0.2)
        asked = {
            "model": "claude-1",
            "messages": [QUESTION],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        answer = await yard.client.call("POST", "/v1/chat/completions", json_body=asked)
        events = answer.data()
        said = "".join(delta.get("content", "") for delta in deltas(events))
        assert said == "Hello there"
        # 16 at 1, 24 from its cache at 0.1 and 12 at 5 for a million.
        cost = 16 * 1000 + 24 * 100 + 12 * 5000
        assert events[-1]["cost"]["nanos"] == cost
        # A seed is drawn for every response, which nobody asked for; one that is asked is refused.
        told = {"model": "claude-1", "input": "Hi", "instructions": "Be brief."}
        seeded = {**told, "seed": 7}
        refused = (await yard.client.call("POST", "/v1/responses", json_body=seeded)).json()
        assert (refused["status"], refused["error"]["reason"]) == (
            "failed",
            "unsupported_parameter",
        )
        body = (await yard.client.call("POST", "/v1/responses", json_body=told)).json()
        assert body["status"] == "completed", body["error"]
        assert body["output"][-1]["content"][0]["text"] == "Hello there"
        assert (body["usage"]["input_tokens"], body["cost"]["nanos"]) == (40, cost)
        assert server.asked[-1][1]["system"] == [{"type": "text", "text": "Be brief."}]
        rows = [*yard.store.state.books.usage.values()]
        assert [(row.upstream, row.cost.nanos) for row in rows] == [("far", cost), ("", cost)]
