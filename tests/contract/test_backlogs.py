"""Long logs, gaps and large events, over every place that keeps logs; numbers are the matrix's."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contract.conftest import Store
from contract.samples import AT
from contract.test_log_store import ID, MINE, RESPONSE, chunk, logs
from tokenyard.chat.log_ports import LogStore, Outcome
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.chat.streams import LiveStream, StreamRegistry, log_event
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log

__all__ = ["logs"]
BACKLOG = 20_000
A_CHUNK = 400


@asynccontextmanager
async def follow(store: LogStore, ring_events_max: int = 1_024) -> AsyncIterator[LiveStream]:
    """The log as a process sees it that does not write it."""
    clock = RealClock()
    settings = ChatSettings(ring_events_max=ring_events_max)
    async with TaskSupervisor(lambda name, error: None) as tasks:
        log = Log(io.StringIO(), clock)
        registry = StreamRegistry(store, settings, tasks=tasks, clock=clock, log=log)
        yield registry.follow(ID, epoch=1, following=0)


async def test_35_a_long_backlog_comes_in_portions_and_is_never_held_whole(
    store: Store, logs: LogStore
) -> None:
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    for first in range(0, BACKLOG, A_CHUNK):
        last = first + A_CHUNK == BACKLOG
        assert await logs.append([chunk(first, A_CHUNK, final=last)]) == [Outcome.KEPT]
    async with follow(logs) as stream:
        seen = 0
        async for batch in stream.read(0):
            assert len(batch) <= 500
            assert [event.sequence for event in batch] == list(range(seen, seen + len(batch)))
            seen += len(batch)
            held = stream.ring.following - stream.ring.first
            assert held <= 2 * 1_024 + A_CHUNK
            if seen == BACKLOG:
                break
        assert seen == BACKLOG


async def test_34_a_reader_is_never_led_across_a_gap(store: Store, logs: LogStore) -> None:
    """Whatever comes too early: it is told to start anew, and sees nothing out of order."""
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    assert await logs.append([chunk(0, 2)]) == [Outcome.KEPT]
    async with follow(logs) as stream:
        stream.publish(chunk(0, 2))
        reading = stream.read(0)
        assert [event.sequence for event in await anext(reading)] == [0, 1]
        stream.publish(chunk(5, 2))
        assert stream.lost
        assert [event async for event in reading] == []


async def test_25_an_event_of_megabytes_is_kept_whole(store: Store, logs: LogStore) -> None:
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    large = b'{"output":"' + b"x" * 2_000_000 + b'"}'
    one = Chunk(ID, 1, (log_event(ID, 1, 0, "t", large),), ())
    assert await logs.append(
        [
            one,
        ]
    ) == [Outcome.KEPT]
    assert await logs.append([chunk(1)]) == [Outcome.KEPT]
    assert list(await logs.read(ID, 0, 9)) == [one, chunk(1)]
