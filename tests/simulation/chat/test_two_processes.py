"""Seeded runs of two processes over one log: one freezes or hands over, its model server breaks,
and readers of both come, are cut and come back.

Each run is one seed; a failure prints it. Time is simulated.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from simulation.chat.test_takeover import ASK, CALLER, PATH, bills, second_process
from support.yards import FakeYard, open_fake_yard
from tokenyard.chat.rules.resume import Cursor
from tokenyard.chat.rules.stream_log import LoggedEvent
from tokenyard.chat.stream_office import StreamOffice
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.ids import ResponseId

SEEDS = range(40)
LETTERS = ["a", "é", "🙂", "\n", '"usage":', " word"]


@dataclass(slots=True)
class Tab:
    """A reader at one of the processes, which always says what it has seen last."""

    office: StreamOffice
    seen: list[LoggedEvent] = field(default_factory=list)

    async def look(self, yard: FakeYard, response: ResponseId, seconds: float) -> None:
        last = self.seen[-1] if self.seen else None
        cursor = None if last is None else Cursor(last.sequence, last.epoch)
        reading = await self.office.readings.open(CALLER, response, cursor)
        # Nothing is lost here, so that nobody has to start anew.
        assert reading.picture is None
        stream = reading.stream
        if stream is None:
            return

        async def read() -> None:
            async for batch in stream.read(reading.start):
                self.seen += batch

        async with TaskSupervisor(lambda name, error: None) as tasks:
            reader = tasks.spawn("tab", read())
            await yard.clock.advance(seconds)
            reader.cancel()


async def run(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [chance.choice(LETTERS) for _ in range(chance.randint(1, 14))]
    async with open_fake_yard() as yard, second_process(yard) as other:
        yard.upstream.script = Script(pieces=pieces, hold_after=chance.randrange(len(pieces)))
        call = yard.client.open("POST", PATH, json_body=ASK)
        first = await call.until(lambda answer: bool(answer.body))
        response = ResponseId(first.headers["x-response-id"])
        tabs = [Tab(other) for _ in range(chance.randint(1, 3))]
        await _happen(yard, other, response, tabs, pieces, chance)
        yard.upstream.script = Script(pieces=pieces)
        yard.upstream.go_on()
        for _ in range(12):
            # The first process may be frozen for good; the second one lives.
            await other.takeover.look()
            await yard.clock.advance(0.5)
        told = (await call.finish()).data()
        text = await _check(yard, other, response, tabs, pieces)
        # Who asked reads at the first process, which may have lost the log on the way.
        last = told[-1]["response"]
        assert "".join(part["text"] for item in last["output"] for part in item["content"]) == text


async def _happen(
    yard: FakeYard,
    other: StreamOffice,
    response: ResponseId,
    tabs: list[Tab],
    pieces: list[str],
    chance: random.Random,
) -> None:
    frozen = False
    for _ in range(chance.randint(3, 12)):
        match chance.choice(["beat", "beat", "read", "read", "wait", "freeze", "break", "leave"]):
            case "beat":
                if not frozen:
                    await yard.takeover.look()
                await other.takeover.look()
            case "read":
                await chance.choice(tabs).look(yard, response, chance.uniform(0.0, 0.4))
            case "wait":
                await yard.clock.advance(chance.uniform(0.1, 2.5))
            case "freeze":
                frozen = True
            case "break":
                broken = UpstreamFailed("It died.") if chance.random() < 0.5 else None
                yard.upstream.script = Script(
                    pieces=pieces, broken=broken, break_after=chance.randrange(len(pieces))
                )
                yard.upstream.go_on()
            case "leave":
                if chance.random() < 0.3:
                    await yard.responses.drain(0.0)


async def _check(
    yard: FakeYard,
    other: StreamOffice,
    response: ResponseId,
    tabs: list[Tab],
    pieces: list[str],
) -> str:
    kept: Any = await other.responses.result(CALLER, response)
    assert kept.status in ("completed", "failed"), kept.status
    text = "".join(part.text for item in kept.output for part in item.content)
    assert "".join(pieces).startswith(text)
    if kept.status == "completed":
        assert text == "".join(pieces)
    late = Tab(other)
    for tab in [*tabs, late]:
        await tab.look(yard, response, 0.5)
        assert [event.sequence for event in tab.seen] == list(range(len(tab.seen)))
        epochs = [event.epoch for event in tab.seen]
        assert epochs == sorted(epochs)
    assert all(tab.seen == late.seen for tab in tabs), "tabs differ"
    assert late.seen[-1].type in ("response.completed", "response.failed")
    told = await bills(yard)
    assert told == ([] if kept.usage is None else [(1, kept.usage.output_tokens)]) or not text
    if kept.status == "completed":
        assert told == [(1, len(pieces))]
    return text


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_processes_write_one_answer_whatever_happens(seed: int) -> None:
    await run(seed)
