"""A request that is repeated with its Idempotency-Key gets the first answer, and one bill."""

import asyncio
from typing import Any

import pytest

from support.yards import MODEL, FakeYard
from tokenyard.ledger.ports import GroupBy
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
CASES = {
    CHAT: ASK,
    "/v1/completions": {"model": MODEL, "prompt": "Hi", "max_tokens": 9},
    "/v1/responses": {"model": MODEL, "input": "Hi"},
}
KEY = {"idempotency-key": "key-1"}


async def bills(yard: FakeYard) -> int:
    totals = await yard.ledger.statements.totals(
        DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
    )
    return sum(total.requests for total in totals)


@pytest.mark.parametrize("path", CASES)
@pytest.mark.parametrize("stream", [False, True])
async def test_05_repeated_request_is_answered_once(
    yard: FakeYard, path: str, stream: bool
) -> None:
    asked = {**CASES[path], "stream": stream}
    first = await yard.client.call("POST", path, json_body=asked, headers=KEY)
    assert first.status == 200
    again = await yard.client.call("POST", path, json_body=asked, headers=KEY)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert len(yard.upstream.calls) == await bills(yard) == 1
    other = await yard.client.call("POST", path, json_body={**asked, "seed": 4}, headers=KEY)
    assert (other.status, other.error["code"]) == (400, "idempotency_key_reused")


async def test_04_05_a_cut_stream_goes_on_and_both_readers_get_all_of_it(yard: FakeYard) -> None:
    """Chat Completions, which would stop with its reader, is the server's under a key."""
    yard.upstream.script = Script(hold_after=2)
    asked = {**ASK, "stream": True}
    first = yard.client.open("POST", CHAT, json_body=asked, headers=KEY)
    await first.until(lambda answer: len(answer.data()) >= 2)
    second = yard.client.open("POST", CHAT, json_body=asked, headers=KEY)
    await second.until(lambda answer: len(answer.data()) >= 2)
    await first.leave()
    assert not yard.upstream.aborted
    yard.upstream.go_on()
    whole = await second.finish()
    text = "".join(
        choice["delta"].get("content", "") for one in whole.data() for choice in one["choices"]
    )
    assert text == "Hello, world."
    third = await yard.client.call("POST", CHAT, json_body=asked, headers=KEY)
    assert third.body == whole.body
    assert len(yard.upstream.calls) == await bills(yard) == 1


async def test_a_failure_is_told_to_all_and_can_be_tried_again(yard: FakeYard) -> None:
    yard.upstream.script = Script(broken=UpstreamFailed("It died."))
    failed = await yard.client.call("POST", CHAT, json_body=ASK, headers=KEY)
    assert failed.status == 502
    yard.upstream.script = Script()
    assert (await yard.client.call("POST", CHAT, json_body=ASK, headers=KEY)).status == 200
    assert await bills(yard) == 1


async def test_keys_hold_for_a_project_and_have_a_form(yard: FakeYard) -> None:
    for key in ("", "x" * 256, "a b"):
        wrong = await yard.client.call(
            "POST", CHAT, json_body=ASK, headers={"idempotency-key": key}
        )
        assert wrong.status == 400
    stranger = await yard.stranger.call("POST", CHAT, json_body=ASK, headers=KEY)
    assert stranger.status == 401
    await yard.store.replays.claim(DEFAULT_PROJECT, "key-1", "x", now=0, until=1e12)
    busy = await yard.client.call("POST", CHAT, json_body=ASK, headers=KEY)
    assert (busy.status, busy.error["code"]) == (400, "idempotency_key_reused")


# Every operation that costs money, now or when its work runs.
COSTLY = {
    "createChatCompletion",
    "createCompletion",
    "createEmbedding",
    "createResponse",
    "createBatch",
    "compactConversation",
    "submitJob",
    "retryJob",
}


async def test_every_post_that_costs_money_takes_a_key(yard: FakeYard) -> None:
    replayed = {one.name for one in yard.gateway.operations if one.replays}
    assert replayed == COSTLY
    paths = yard.gateway.document["paths"]
    for operation in yard.gateway.operations:
        told = paths[operation.path][operation.method.lower()].get("parameters", [])
        named = any(one["name"].lower() == "idempotency-key" for one in told)
        assert named is operation.replays, operation.name


async def test_a_job_that_is_submitted_twice_is_one_job(yard: FakeYard) -> None:
    job = {"name": "j", "command": ["true"], "roles": [{"gpus": 1}]}
    first, second = await asyncio.gather(
        *(yard.client.call("POST", "/api/jobs", json_body=job, headers=KEY) for _ in range(2))
    )
    assert first.status == second.status == 200, first.body
    assert first.body == second.body
    listed = (await yard.client.call("GET", "/api/jobs")).json()["data"]
    assert len(listed) == 1


async def test_a_conversation_that_is_compacted_twice_is_billed_once(yard: FakeYard) -> None:
    turn = {"type": "message", "role": "user", "content": "Hi"}
    made = await yard.client.call(
        "POST",
        "/v1/conversations",
        json_body={"items": [turn, {**turn, "role": "assistant"}, turn]},
    )
    path = f"/api/conversations/{made.json()['id']}/compact"
    asked = {"model": MODEL, "keep_questions": 0}
    first = await yard.client.call("POST", path, json_body=asked, headers=KEY)
    assert first.status == 200, first.body
    again = await yard.client.call("POST", path, json_body=asked, headers=KEY)
    assert again.body == first.body
    assert await bills(yard) == 1
