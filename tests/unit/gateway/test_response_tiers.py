"""A response's `service_tier`: its price, its place in the queue, who is refused first."""

import json
from typing import Any

import pytest

from support.spec import validator
from support.yards import MODEL, open_fake_yard
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.settings import Settings
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.load import Load

PATH = "/v1/responses"
ASK: dict[str, Any] = {"model": MODEL, "input": "Hi"}
PRICED = Settings(
    ledger=LedgerSettings(
        prices=(PriceSettings(model=MODEL, input="2", cached_input="2", output="2"),)
    )
)


@pytest.mark.parametrize(
    ("asked", "served", "factor", "place"),
    [
        ("flex", "flex", 0.5, 50),
        ("priority", "priority", 2, None),
        ("auto", "default", 1, None),
        (None, "default", 1, None),
    ],
)
async def test_has_its_price_and_is_told(
    asked: str | None, served: str, factor: float, place: int | None
) -> None:
    async with open_fake_yard(PRICED) as yard:
        body = (
            await yard.client.call("POST", PATH, json_body={**ASK, "service_tier": asked})
        ).json()
        (call,) = yard.upstream.calls
        (row,) = yard.store.state.books.usage.values()
    validator("response").validate(body)
    tokens = body["usage"]["total_tokens"]
    assert (body["service_tier"], body["cost"]["nanos"]) == (served, tokens * 2000 * factor)
    assert row.tier == served
    assert json.loads(call.body).get("priority") == place


async def test_holds_in_the_process_that_goes_on_with_it() -> None:
    async with open_fake_yard(PRICED) as yard:
        yard.upstream.script = Script(hold_after=2)
        asked = {**ASK, "service_tier": "flex", "stream": True}
        call = yard.client.open("POST", PATH, json_body=asked)
        await call.until(lambda answer: len(answer.data()) == 6)
        await yard.responses.drain(0.01)
        yard.upstream.script = Script()
        assert await yard.takeover.adopt_all() == 1
        await yard.clock.advance(1)
        last = (await call.finish()).data()[-1]["response"]
        (row,) = yard.store.state.books.usage.values()
        first, second = [json.loads(one.body) for one in yard.upstream.calls]
    assert (last["service_tier"], row.tier) == ("flex", "flex")
    assert last["cost"]["nanos"] == last["usage"]["total_tokens"] * 1000
    assert first["priority"] == second["priority"] == 50


async def test_flex_is_refused_first_and_priority_last() -> None:
    refused = []
    async with open_fake_yard() as yard:
        for waiting in (40, 70, 100):
            (member,) = yard.pool.members()
            member.load = Load(running=8, waiting=waiting, kv_share=0.0, first_token_seconds=0.0)
            told = {
                tier: await yard.client.call("POST", PATH, json_body={**ASK, "service_tier": tier})
                for tier in ("flex", "default", "priority")
            }
            refused.append([tier for tier, answer in told.items() if answer.status == 503])
    assert refused == [["flex"], ["flex", "default"], ["flex", "default", "priority"]]
