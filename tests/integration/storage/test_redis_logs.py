"""Logs in a real Valkey that is killed while an answer is written; numbers are the matrix's."""

import asyncio
import io
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.valkey_server import ValkeyServer, run_valkey
from tokenyard.chat.log_writer import LogWriter, Pen
from tokenyard.chat.rules.stream_log import Ring
from tokenyard.chat.streams import LiveStream
from tokenyard.protocol.response_events import OutputTextDelta
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory_streams import MemoryStreamStore, StreamState
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.streams import RedisLogStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.ids import ResponseId

ID = ResponseId("resp_" + "a" * 24)


@asynccontextmanager
async def open_pen(server: ValkeyServer) -> AsyncIterator[tuple[Pen, RedisLogStore]]:
    clock = RealClock()
    async with (
        TaskSupervisor(lambda name, error: None) as tasks,
        open_redis(StorageSettings(redis_url=server.url)) as connection,
    ):
        endings = MemoryStreamStore(StreamState(), lambda response: None)
        logs = RedisLogStore(connection, endings, clock=clock, kept_seconds=60)
        writer = LogWriter(
            logs,
            tasks=tasks,
            clock=clock,
            metrics=GatewayMetrics(),
            log=Log(io.StringIO(), clock),
            events_max=1_000,
        )
        stream = LiveStream(ID, logs, Ring(100), 1, lambda stream: None)
        yield writer.pen(stream, epoch=1), logs


@pytest.mark.parametrize("durable", [True, False])
async def test_24_a_restart_loses_no_event_with_and_without_its_data(durable: bool) -> None:
    with run_valkey(durable=durable) as server:
        async with open_pen(server) as (pen, logs):
            for number in range(5):
                pen.write(OutputTextDelta(item_id="msg", delta=f"{number} "), (number,))
            await pen.flush()
            server.kill()
            pen.write(OutputTextDelta(item_id="msg", delta="while it was away "), (5,))
            server.start()
            pen.write(OutputTextDelta(item_id="msg", delta="and after"), (6,))
            await pen.flush()
            kept = [event for chunk in await logs.read(ID, 0, 99) for event in chunk.events]
            assert [event.sequence for event in kept] == list(range(len(kept)))
            assert kept == list(pen.stream.ring.read(0, 99))
            assert b"and after" in kept[-1].data


async def test_24_a_partition_of_five_seconds_is_outlived() -> None:
    """The server hears nothing and says nothing: what is written waits, once and in order."""
    with run_valkey() as server:
        async with open_pen(server) as (pen, logs):
            pen.write(OutputTextDelta(item_id="msg", delta="before "), (0,))
            await pen.flush()
            server.process.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            while time.monotonic() - started < 5:
                number = int((time.monotonic() - started) * 10)
                pen.write(OutputTextDelta(item_id="msg", delta=f"{number} "), (number,))
                await asyncio.sleep(0.1)
            # Readers have seen nothing that the store does not have.
            assert pen.stream.ring.following == 1
            server.process.send_signal(signal.SIGCONT)
            await pen.flush()
            kept = [event for chunk in await logs.read(ID, 0, 999) for event in chunk.events]
            assert [event.sequence for event in kept] == list(range(len(kept)))
            assert kept == list(pen.stream.ring.read(0, 999))
            text = b"".join(kept[place].data for place in range(len(kept)))
            assert text.count(b"before ") == 1


async def test_25_a_server_without_memory_holds_the_answer_up_and_does_not_end_it() -> None:
    with run_valkey() as server:
        async with open_pen(server) as (pen, logs):
            pen.write(OutputTextDelta(item_id="msg", delta="before "), (0,))
            await pen.flush()
            async with open_redis(StorageSettings(redis_url=server.url)) as connection:
                await connection.client.config_set("maxmemory", "1")
                pen.write(OutputTextDelta(item_id="msg", delta="meanwhile "), (1,))
                await asyncio.sleep(0.5)
                assert pen.stream.ring.following == 1
                assert not pen.fenced.is_set()
                await connection.client.config_set("maxmemory", "0")
            await pen.flush()
            kept = [event for chunk in await logs.read(ID, 0, 99) for event in chunk.events]
            assert [event.sequence for event in kept] == [0, 1]
