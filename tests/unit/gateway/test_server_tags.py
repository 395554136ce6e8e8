"""Which model servers a request may go to: tags of servers, keys, aliases and requests."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.keys import command_line
from tokenyard.gateway.rules.permissions import may_hand_out
from tokenyard.jobs.batches.records import Batch, held_to
from tokenyard.jobs.batches.rules.states import BatchStatus
from tokenyard.upstreams.scripted import Script, ScriptedUpstream
from tokenyard.vocabulary.errors import Unavailable
from tokenyard.vocabulary.identity import DEFAULT_PROJECT
from tokenyard.vocabulary.ids import BatchId, FileId, KeyId
from tokenyard.vocabulary.reasons import Reason

KEYS = "/api/organisation/projects/proj_default/api_keys"
CHAT = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "Hi"}]
EU, GOLD = {"x-server-tags": "eu"}, {"x-server-tags": "eu, gold"}


@pytest.fixture
async def yard() -> AsyncIterator[FakeYard]:
    """Beside the server without tags, one in `eu`, and one there that is `gold`."""
    async with open_fake_yard() as built:
        for name, tags in (("plain-eu", {"eu"}), ("gold-eu", {"eu", "gold"})):
            server = ScriptedUpstream(MODEL, Script(pieces=(name,)))
            built.pool.expect(name, frozenset({MODEL}), tags=frozenset(tags), weight=1)
            await built.pool.attach(name, server)
        await built.clock.advance(1)
        yield built


async def served(yard: FakeYard, key: str, **headers: str) -> str:
    body = {"model": MODEL, "messages": TURNS}
    sent = {"authorization": f"Bearer {key}", **headers}
    answer = await yard.stranger.call("POST", CHAT, json_body=body, headers=sent)
    if answer.status != 200:
        return str(answer.error["code"])
    return str(answer.json()["choices"][0]["message"]["content"])


async def make_key(yard: FakeYard, *tags: str) -> Any:
    made = await yard.client.call("POST", KEYS, json_body={"name": "k", "server_tags": [*tags]})
    assert made.status == 200, made.body
    return made.json()


async def test_a_request_names_the_servers_it_may_go_to(yard: FakeYard) -> None:
    seen = {await served(yard, yard.key, **EU) for _ in range(6)}
    assert seen <= {"plain-eu", "gold-eu"}
    assert await served(yard, yard.key, **GOLD) == "gold-eu"
    assert await served(yard, yard.key, **{"x-server-tags": "us"}) == "tags_unserved"
    assert await served(yard, yard.key, **{"x-server-tags": "EU!"}) == "invalid_value"


async def test_a_key_is_held_to_its_servers_everywhere(yard: FakeYard) -> None:
    key = await make_key(yard, "eu", "gold")
    assert key["server_tags"] == ["eu", "gold"]
    secret = key["value"]
    assert await served(yard, secret) == "gold-eu"
    # What a request adds never takes away what the key says.
    assert await served(yard, secret, **EU) == "gold-eu"
    headers = {"authorization": f"Bearer {secret}"}
    asked = {"model": MODEL, "input": "Hi", "stream": True}
    told = await yard.stranger.call("POST", "/v1/responses", json_body=asked, headers=headers)
    assert told.data()[-1]["response"]["output"][0]["content"][0]["text"] == "gold-eu"
    text = {"model": MODEL, "prompt": "Hi"}
    answer = await yard.stranger.call("POST", "/v1/completions", json_body=text, headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == "gold-eu"


def test_a_key_that_is_held_to_servers_makes_no_other_key() -> None:
    """The new one would not be held to them."""
    free = command_line(DEFAULT_PROJECT)
    key = replace(free, key=KeyId("key_1"))
    assert may_hand_out(key, ("inference",))
    assert not may_hand_out(replace(key, server_tags=frozenset({"eu"})), ("inference",))


async def test_a_key_gets_and_loses_its_tags(yard: FakeYard) -> None:
    key = await make_key(yard)
    for tags, expected in ((["gold"], "gold-eu"), (["us"], "tags_unserved")):
        changed = await yard.client.call(
            "POST", f"{KEYS}/{key['id']}", json_body={"server_tags": tags}
        )
        assert changed.json()["server_tags"] == tags
        assert await served(yard, key["value"]) == expected
    await yard.client.call("POST", f"{KEYS}/{key['id']}", json_body={"name": "other"})
    assert await served(yard, key["value"]) == "tags_unserved"
    await yard.client.call("POST", f"{KEYS}/{key['id']}", json_body={"server_tags": []})
    assert await served(yard, key["value"]) != "tags_unserved"


async def test_an_alias_leads_to_servers_with_its_tags(yard: FakeYard) -> None:
    route = {"name": "gold", "targets": [{"model": MODEL, "weight": 1}], "tags": ["gold"]}
    made = await yard.client.call("POST", "/api/model-routes", json_body=route)
    assert made.json()["tags"] == ["gold"]
    for path, body in (
        (CHAT, {"model": "gold", "messages": TURNS}),
        ("/v1/responses", {"model": "gold", "input": "Hi"}),
    ):
        answer = await yard.client.call("POST", path, json_body=body)
        assert b"gold-eu" in answer.body


async def test_no_other_server_is_tried_without_the_tags(yard: FakeYard) -> None:
    member = next(one for one in yard.pool.members() if one.name == "gold-eu")
    assert isinstance(member.upstream, ScriptedUpstream)
    member.upstream.script = Script(refuse=Unavailable("gone", reason=Reason.UPSTREAM_UNAVAILABLE))
    assert await served(yard, yard.key, **GOLD) == "upstream_unavailable"
    assert not yard.upstream.calls


async def test_tags_are_listed(yard: FakeYard) -> None:
    listed = (await yard.client.call("GET", "/api/upstreams")).json()["data"]
    assert {one["name"]: one["tags"] for one in listed} == {
        "one": [],
        "plain-eu": ["eu"],
        "gold-eu": ["eu", "gold"],
    }


def test_a_batch_is_held_to_the_tags_of_its_key() -> None:
    caller = replace(command_line(DEFAULT_PROJECT), server_tags=frozenset({"eu"}))
    batch = Batch(
        id=BatchId("batch_1"),
        project=caller.project,
        user=caller.user,
        key=caller.key,
        endpoint=CHAT,
        input_file=FileId("file_1"),
        status=BatchStatus.VALIDATING,
        created_at=0.0,
        expires_at=1.0,
        output_seconds=1,
        **held_to(caller),
    )
    assert batch.caller.server_tags == {"eu"}
