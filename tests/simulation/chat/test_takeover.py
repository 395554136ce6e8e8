"""Two processes over one store: what one leaves, the other goes on with; numbers are the matrix's.

The second one has no gateway of its own here: its readers are asked through the first one's store.
"""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.asgi import Answer
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.chat.records import Ask, Draft
from tokenyard.chat.responses import Permit
from tokenyard.chat.rules.resume import Cursor
from tokenyard.chat.stream_office import StreamOffice, make_stream_office
from tokenyard.ledger.ports import GroupBy
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import Conflict
from tokenyard.vocabulary.generation import SamplingParameters
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, DEFAULT_USER, Principal
from tokenyard.vocabulary.ids import ConversationId, ModelName, ResponseId
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason

PATH = "/v1/responses"
ASK: dict[str, Any] = {"model": MODEL, "input": "Hi", "stream": True}
CALLER = Principal(DEFAULT_USER, DEFAULT_PROJECT, None)
LEASE_SECONDS = ChatSettings().lease_seconds


@asynccontextmanager
async def second_process(yard: FakeYard) -> AsyncIterator[StreamOffice]:
    log = Log(io.StringIO(), yard.clock)
    async with TaskSupervisor(log.task_failed) as tasks:
        yield make_stream_office(
            ChatSettings(),
            store=yard.store.chat,
            threads=yard.store.threads,
            windows=yard.chat.windows,
            productions=yard.store.streams,
            logs=yard.store.streams,
            pool=yard.pool,
            ledger=yard.ledger,
            tasks=tasks,
            clock=yard.clock,
            randomness=SeededRandomness(2),
            metrics=GatewayMetrics(),
            log=log,
        )


async def bills(yard: FakeYard) -> list[tuple[int, int]]:
    totals = await yard.ledger.statements.totals(
        DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
    )
    return [(total.requests, total.usage.completion_tokens) for total in totals]


async def read_all(office: StreamOffice, id: ResponseId, cursor: Cursor | None) -> list[Any]:
    reading = await office.readings.open(CALLER, id, cursor)
    assert reading.stream is not None
    return [event async for batch in reading.stream.read(reading.start) for event in batch]


async def begin(yard: FakeYard) -> tuple[Any, Answer, ResponseId]:
    yard.upstream.script = Script(hold_after=2)
    call = yard.client.open("POST", PATH, json_body=ASK)
    first = await call.until(lambda answer: len(answer.data()) == 6)
    return call, first, ResponseId(first.headers["x-response-id"])


async def test_12_13_15_16_a_silent_producer_is_taken_over_and_writes_nothing_more() -> None:
    async with open_fake_yard() as yard, second_process(yard) as other:
        call, _, mine = await begin(yard)
        await yard.takeover.look()
        await other.takeover.look()
        await yard.clock.advance(LEASE_SECONDS - 0.1)
        await other.takeover.look()
        assert await bills(yard) == []
        # The first process beats no more: it was stopped, or is dead.
        yard.upstream.script = Script()
        await yard.clock.advance(0.2)
        await other.takeover.look()
        await yard.clock.advance(0.5)
        events = await read_all(other, mine, None)
        assert [event.sequence for event in events] == list(range(12))
        assert [event.epoch for event in events] == [1] * 6 + [2] * 6
        assert await bills(yard) == [(1, 4)]
        # It wakes up, and what it says is not heard.
        yard.upstream.go_on()
        await yard.clock.advance(0.5)
        whole = await call.finish()
        assert await read_all(other, mine, None) == events
        assert await bills(yard) == [(1, 4)]
        # Its own reader is told where it stands, and by then everything is there.
        last = whole.data()[-1]
        assert last["type"] in ("response.completed", "response.resync")
        assert last["response"]["output"][0]["content"][0]["text"] == "Hello, world."
        # No process saw all of it, so none says how fast it was.
        told = (await yard.client.call("GET", f"{PATH}/{mine}")).json()
        assert (told["status"], "timings" in told) == ("completed", False)


async def test_17_cancel_reaches_the_process_that_writes() -> None:
    async with open_fake_yard() as yard, second_process(yard) as other:
        call, _, mine = await begin(yard)
        await yard.takeover.look()
        async with TaskSupervisor(lambda name, error: None) as tasks:
            cancelling = tasks.spawn("cancel", other.responses.cancel(CALLER, mine))
            await yard.clock.advance(0.2)
            await yard.takeover.look()
            await yard.clock.advance(0.5)
            body = await cancelling
        assert body.status == "cancelled"
        assert (await call.finish()).data()[-1]["type"] == "response.incomplete"
        assert yard.upstream.aborted == [mine]
        again = await other.responses.cancel(CALLER, mine)
        assert (again.status, len(await bills(yard))) == ("cancelled", 1)


async def test_20_37_a_reader_elsewhere_follows_from_any_place() -> None:
    async with open_fake_yard() as yard, second_process(yard) as other:
        _, _, mine = await begin(yard)
        async with TaskSupervisor(lambda name, error: None) as tasks:
            readers = [
                tasks.spawn(f"reader {after}", read_all(other, mine, Cursor(after)))
                for after in (0, 3, 5)
            ]
            await yard.clock.advance(0.3)
            yard.upstream.go_on()
            await yard.clock.advance(1.0)
            for after, reader in zip((0, 3, 5), readers, strict=True):
                assert [event.sequence for event in await reader] == list(range(after + 1, 12))


async def test_a_conversation_that_another_process_answers_is_busy_here() -> None:
    async with open_fake_yard() as yard, second_process(yard) as other:
        made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
        yard.upstream.script = Script(hold_after=2)
        call = yard.client.open("POST", PATH, json_body={**ASK, "conversation": made})
        first = await call.until(lambda answer: len(answer.data()) == 6)
        asked = Ask(
            model=ModelName(MODEL),
            turns=(Draft(Role.USER, "And?"),),
            sampling=SamplingParameters(),
            conversation=ConversationId(made),
        )
        with pytest.raises(Conflict) as refused:
            await other.responses.create(CALLER, asked, await permit(yard))
        assert refused.value.reason is Reason.CONVERSATION_BUSY
        # Whoever looks sees who answers it, and can stop that from anywhere.
        active = await other.responses.active([ConversationId(made)])
        assert list(active.values()) == [first.headers["x-response-id"]]
        async with TaskSupervisor(lambda name, error: None) as tasks:
            stopping = tasks.spawn("stop", other.responses.stop_in(CALLER, ConversationId(made)))
            await yard.clock.advance(0.2)
            await yard.takeover.look()
            await yard.clock.advance(0.5)
            await stopping
        assert (await call.finish()).data()[-1]["response"]["status"] == "cancelled"
        yard.upstream.script = Script()
        stream = await other.responses.create(CALLER, asked, await permit(yard))
        await stream.ended()
        items = await yard.client.call("GET", f"/v1/conversations/{made}/items?order=asc")
        texts = [item["content"][0]["text"] for item in items.json()["data"]]
        assert texts == ["Hi", "Hello, ", "And?", "Hello, world."]


async def permit(yard: FakeYard) -> Permit:
    held = await yard.ledger.reserve(
        CALLER, ModelName(MODEL), prompt_tokens=9, completion_tokens_max=9
    )
    return Permit(held, lambda: None)
