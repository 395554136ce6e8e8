"""Seeded runs of one gateway with readers that come, go and come back, stops, faults and deletions.

Each run is one seed; a failure prints it. Time is simulated; what is random is only the order and
the choice of events.
"""

import asyncio
import random
from typing import Any

import pytest

from support.asgi import Answer
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.ledger.ports import GroupBy
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

SEEDS = range(60)
FINAL = ("response.completed", "response.incomplete", "response.failed")


class Reader:
    """A tab: reads, is cut at random places, and goes on strictly after what it has seen."""

    def __init__(self, yard: FakeYard, response: str, chance: random.Random) -> None:
        self._yard = yard
        self._target = f"/v1/responses/{response}?stream=true"
        self._chance = chance
        self.seen: list[dict[str, Any]] = []

    async def read_to_the_end(self) -> None:
        for _ in range(60):
            after = f"&starting_after={len(self.seen) - 1}" if self.seen else ""
            call = self._yard.client.open("GET", self._target + after)
            patience = self._chance.randint(1, 6)
            before = len(self.seen)

            def enough(answer: Answer, patience: int = patience) -> bool:
                return answer.finished or len(answer.events()) >= patience

            answer = await call.until(enough)
            if not answer.finished:
                answer = await call.leave()
            if answer.status == 204:
                return
            assert answer.status == 200, answer
            self.seen += answer.data()
            assert [event["sequence_number"] for event in self.seen] == list(
                range(len(self.seen))
            ), "an event was lost, doubled or out of order"
            if self.seen and self.seen[-1]["type"] in FINAL:
                return
            assert len(self.seen) >= before
        raise AssertionError("the reader never came to the end")

    def text(self) -> str:
        return "".join(event.get("delta", "") for event in self.seen)


async def run(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [chance.choice(["a", "é", "🙂", "\n", '"usage":', " word"]) for _ in range(12)]
    async with open_fake_yard() as yard:
        breaks = chance.random() < 0.25
        yard.upstream.script = Script(
            pieces=pieces,
            hold_after=chance.choice([None, chance.randrange(12)]),
            broken=UpstreamFailed("It died.") if breaks else None,
            break_after=chance.randrange(12),
        )
        asked = {"model": MODEL, "input": "Go.", "stream": True}
        first = yard.client.open("POST", "/v1/responses", json_body=asked)
        opened = await first.until(lambda answer: bool(answer.body))
        response = opened.headers["x-response-id"]
        readers = [Reader(yard, response, chance) for _ in range(chance.randint(1, 5))]
        reading = [asyncio.ensure_future(reader.read_to_the_end()) for reader in readers]
        if chance.random() < 0.5:
            await first.leave()
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        cancelled = chance.random() < 0.4
        if cancelled:
            await yard.client.call("POST", f"/v1/responses/{response}/cancel")
        yard.upstream.go_on()
        await asyncio.gather(*reading)
        await first.finish()

        kept = (await yard.client.call("GET", f"/v1/responses/{response}")).json()
        text = "".join(item["content"][0]["text"] for item in kept["output"])
        for reader in readers:
            assert reader.text() == text
            assert reader.seen == readers[0].seen
        assert "".join(pieces).startswith(text)
        if kept["status"] == "completed":
            assert text == "".join(pieces)
        assert kept["status"] in ("completed", "cancelled", "failed")
        totals = await yard.ledger.statements.totals(
            DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
        )
        assert [total.requests for total in totals] in ([], [1])
        if totals:
            assert totals[0].usage.completion_tokens == kept["usage"]["output_tokens"]
        if kept["status"] == "completed":
            assert totals[0].usage.completion_tokens == len(pieces)
        last = readers[0].seen[-1]["response"]
        assert last["status"] == kept["status"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_reader_sees_one_text_and_it_is_billed_once(seed: int) -> None:
    await run(seed)
