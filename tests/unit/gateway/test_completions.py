"""Chat Completions through the whole gateway, over a scripted model server."""

import json
from typing import Any

import pytest

from support.spec import validator
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.ledger.ports import GroupBy
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.settings import GatewaySettings, Settings
from tokenyard.upstreams.ports import Health
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import InvalidRequest, UpstreamFailed
from tokenyard.vocabulary.identity import DEFAULT_PROJECT
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.reasons import Reason

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**ASK, "stream": True}


async def billed(yard: FakeYard) -> tuple[int, int, int]:
    """Requests, prompt and completion tokens in the ledger."""
    totals = await yard.ledger.statements.totals(
        DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
    )
    if not totals:
        return (0, 0, 0)
    (total,) = totals
    return (total.requests, total.usage.prompt_tokens, total.usage.completion_tokens)


async def test_whole_answer_is_billed_once_by_the_servers_count(yard: FakeYard) -> None:
    answer = await yard.client.call("POST", PATH, json_body=ASK)
    assert answer.status == 200
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "Hello, world."
    assert body["usage"]["total_tokens"] == 11
    assert body["cost"] == {"nanos": 0, "currency": "USD"}
    assert await billed(yard) == (1, 7, 4)
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-ratelimit-remaining-requests"] == "59"


async def test_cost_follows_the_price_book() -> None:
    prices = (PriceSettings(model=MODEL, input="2", cached_input="0.5", output="10"),)
    settings = Settings(ledger=LedgerSettings(prices=prices))
    async with open_fake_yard(settings) as yard:
        yard.upstream.script = Script(prompt_tokens=10, cached_tokens=4)
        body = (await yard.client.call("POST", PATH, json_body=ASK)).json()
    # 6 at $2, 4 at $0.50 and 4 at $10 per million.
    assert body["cost"]["nanos"] == 6 * 2000 + 4 * 500 + 4 * 10_000


@pytest.mark.parametrize(
    ("asked", "served", "factor"),
    [("flex", "flex", 0.5), ("priority", "priority", 2), ("auto", "default", 1)],
)
async def test_a_service_tier_has_its_price_and_is_told(
    asked: str, served: str, factor: float
) -> None:
    prices = (PriceSettings(model=MODEL, input="2", cached_input="2", output="2"),)
    async with open_fake_yard(Settings(ledger=LedgerSettings(prices=prices))) as yard:
        told = {"service_tier": asked}
        body = (await yard.client.call("POST", PATH, json_body={**ASK, **told})).json()
        streamed = {**STREAM, **told, "stream_options": {"include_usage": True}}
        events = (await yard.client.call("POST", PATH, json_body=streamed)).data()
        sent = [json.loads(call.body) for call in yard.upstream.calls]
        rows = [*yard.store.state.books.usage.values()]
    validator("chat").validate(body)
    assert (body["service_tier"], body["cost"]["nanos"]) == (served, 11 * 2000 * factor)
    for event in events:
        validator("chat.stream").validate(event)
        assert event["service_tier"] == served
    assert events[-1]["cost"]["nanos"] == 11 * 2000 * factor
    assert [row.tier for row in rows] == [served, served]
    # Flex waits behind the others at the model server.
    assert [one.get("priority") for one in sent] == ([50, 50] if asked == "flex" else [None, None])


async def test_a_service_tier_that_we_do_not_have_is_refused_by_name(yard: FakeYard) -> None:
    answer = await yard.client.call("POST", PATH, json_body={**ASK, "service_tier": "scale"})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "service_tier")


async def test_flex_is_refused_first_and_priority_last(yard: FakeYard) -> None:
    refused = []
    for waiting in (40, 70, 100):
        (member,) = yard.pool.members()
        member.load = Load(running=8, waiting=waiting, kv_share=0.0, first_token_seconds=0.0)
        told = {
            tier: (await yard.client.call("POST", PATH, json_body={**ASK, "service_tier": tier}))
            for tier in ("flex", "default", "priority")
        }
        refused.append([tier for tier, answer in told.items() if answer.status == 503])
    assert refused == [["flex"], ["flex", "default"], ["flex", "default", "priority"]]


async def test_stream_forwards_events_and_hides_the_usage_unless_asked(yard: FakeYard) -> None:
    answer = await yard.client.call("POST", PATH, json_body=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.body.endswith(b"data: [DONE]\n\n")
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in answer.data()]
    assert "".join(pieces) == "Hello, world."
    assert not any("usage" in chunk for chunk in answer.data())
    assert await billed(yard) == (1, 7, 4)


async def test_stream_tells_usage_and_cost_when_asked(yard: FakeYard) -> None:
    asked = {**STREAM, "stream_options": {"include_usage": True}}
    last = (await yard.client.call("POST", PATH, json_body=asked)).data()[-1]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 4
    assert last["cost"]["currency"] == "USD"


async def test_upstream_gets_the_request_as_it_came_but_for_the_usage(yard: FakeYard) -> None:
    await yard.client.call("POST", PATH, json_body={**STREAM, "seed": 7, "top_k": 5})
    sent = json.loads(yard.upstream.calls[0].body)
    assert sent == {**STREAM, "seed": 7, "top_k": 5, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("streamed", [True, False])
async def test_leaving_client_stops_the_server_and_pays_for_what_was_made(
    yard: FakeYard, streamed: bool
) -> None:
    yard.upstream.script = Script(hold_after=2)
    call = yard.client.open("POST", PATH, json_body=STREAM if streamed else ASK)
    if streamed:
        await call.until(lambda answer: len(answer.data()) == 2)
    else:
        await yard.clock.settle()
    answer = await call.leave()
    assert answer.finished is False
    assert len(yard.upstream.aborted) == 1
    assert await billed(yard) == (1, 7, 2)


async def test_server_that_breaks_ends_the_stream_with_an_error_event(yard: FakeYard) -> None:
    yard.upstream.script = Script(broken=UpstreamFailed("It died."), break_after=3)
    answer = await yard.client.call("POST", PATH, json_body=STREAM)
    assert answer.status == 200
    assert answer.data()[-1]["error"]["message"] == "It died."
    assert answer.body.endswith(b"data: [DONE]\n\n")
    requests, _, completion = await billed(yard)
    assert (requests, completion) == (1, 2)


async def test_refusal_of_the_server_keeps_its_status_field_and_reason(yard: FakeYard) -> None:
    yard.upstream.script = Script(
        refuse=InvalidRequest("Too long.", reason=Reason.CONTEXT_LENGTH_EXCEEDED, param="messages")
    )
    for asked in (ASK, STREAM):
        answer = await yard.client.call("POST", PATH, json_body=asked)
        assert answer.status == 400
        assert answer.error["code"] == "context_length_exceeded"
        assert answer.error["param"] == "messages"
    assert await billed(yard) == (0, 0, 0)


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": 3}, "temperature", "invalid_value"),
    ({"temperature": "hot"}, "temperature", "invalid_value"),
    ({"top_p": 0}, "top_p", "invalid_value"),
    ({"top_k": -1}, "top_k", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_value"),
    ({"seed": 2**64}, "seed", "invalid_value"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
    ({"stop": ""}, "stop", "invalid_value"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "invalid_value"),
    ({"model": ""}, "model", "invalid_value"),
    ({"stream": "yes"}, "stream", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"wisdom": 11}, "wisdom", "unknown_parameter"),
    ({"priority": 1}, "priority", "unknown_parameter"),
]


@pytest.mark.parametrize(("change", "param", "code"), BAD_FIELDS)
async def test_bad_field_is_named(
    yard: FakeYard, change: dict[str, Any], param: str, code: str
) -> None:
    answer = await yard.client.call("POST", PATH, json_body={**ASK, **change})
    assert answer.status == 400
    assert answer.error["param"] == param
    assert answer.error["code"] == code
    assert param.rpartition(".")[2] in answer.error["message"]
    assert not yard.upstream.calls


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 50_000])
async def test_body_that_is_no_json_object_is_refused(yard: FakeYard, body: bytes) -> None:
    answer = await yard.client.call("POST", PATH, body=body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("announced", [True, False])
async def test_body_over_the_limit_is_413(announced: bool) -> None:
    async with open_fake_yard(Settings(gateway=GatewaySettings(body_bytes_max=100))) as yard:
        body = json.dumps({**ASK, "user": "x" * 200}).encode()
        headers = {"content-length": str(len(body)) if announced else "0"}
        answer = await yard.client.call("POST", PATH, body=body, headers=headers)
    assert answer.status == 413
    assert answer.error["code"] == "body_too_large"


async def test_unknown_model_is_404(yard: FakeYard) -> None:
    answer = await yard.client.call("POST", PATH, json_body={**ASK, "model": "gpt-9"})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("health", "code"),
    [(Health.LOADING, "model_loading"), (Health.DOWN, "upstream_unavailable")],
)
async def test_model_that_cannot_answer_yet_is_503_with_a_wait(
    yard: FakeYard, health: Health, code: str
) -> None:
    yard.upstream.reported_health = health
    await yard.clock.advance(2)
    answer = await yard.client.call("POST", PATH, json_body=ASK)
    assert (answer.status, answer.error["code"]) == (503, code)
    assert answer.headers["retry-after"] == "2"
    ready = await yard.stranger.call("GET", "/health/ready")
    assert ready.status == 503


async def test_heartbeats_fill_a_silence(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=1)
    async with open_fake_yard(Settings(gateway=GatewaySettings(heartbeat_seconds=0.01))) as quick:
        quick.upstream.script = Script(hold_after=1)
        call = quick.client.open("POST", PATH, json_body=STREAM)
        answer = await call.until(lambda answer: b": keep-alive\n" in answer.body)
        quick.upstream.go_on()
        answer = await call.finish()
    assert (
        "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in answer.data())
        == "Hello, world."
    )


async def test_stopped_completion_ends_with_what_it_used(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    asked = {**STREAM, "stream_options": {"include_usage": True}}
    call = yard.client.open("POST", PATH, json_body=asked)
    first = await call.until(lambda answer: len(answer.data()) == 2)
    target = f"/api/requests/{first.headers['x-request-id']}/stop"
    assert (await yard.stranger.call("POST", target)).status == 401
    assert (await yard.client.call("POST", target)).json() == {"stopped": True}
    answer = await call.finish()
    assert answer.finished
    assert answer.data()[-2]["choices"][0]["finish_reason"] == "abort"
    assert answer.data()[-1]["usage"]["completion_tokens"] == 2
    assert "cost" in answer.data()[-1]
    assert await billed(yard) == (1, 7, 2)
    again = await yard.client.call("POST", target)
    assert (again.status, again.error["code"]) == (404, "not_found")


async def test_several_answers_are_reserved_for_together() -> None:
    prices = (PriceSettings(model="*", input="0", cached_input="0", output="1"),)
    ledger = LedgerSettings(prices=prices, monthly_budget="0.0001")
    async with open_fake_yard(Settings(ledger=ledger)) as yard:
        asked = {**ASK, "max_tokens": 60}
        assert (await yard.client.call("POST", PATH, json_body=asked)).status == 200
        denied = await yard.client.call("POST", PATH, json_body={**asked, "n": 2})
        assert (denied.status, denied.error["code"]) == (429, "insufficient_quota")


async def test_embeddings_pass_through_and_are_billed_for_what_was_read(yard: FakeYard) -> None:
    body = {"model": MODEL, "input": ["one", "two"]}
    answer = await yard.client.call("POST", "/v1/embeddings", json_body=body)
    assert answer.status == 200
    assert answer.json()["data"][0]["embedding"] == [1.0, 0.0]
    assert answer.json()["cost"]["nanos"] == 0
    (row,) = yard.store.state.books.usage.values()
    assert (row.usage.prompt_tokens, row.usage.completion_tokens) == (7, 0)
    assert row.upstream == "one"
    mixed = await yard.client.call(
        "POST", "/v1/embeddings", json_body={"model": MODEL, "input": ["one", 2]}
    )
    assert (mixed.status, mixed.error["param"]) == (400, "input")
