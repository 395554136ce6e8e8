"""What one event costs from the producer into the log and out to its reader, without connections.

Ours gathers what all producers write into one append, and follows all logs with one reader; the
plain way awaits one XADD for each event and blocks one XREAD connection for each stream. Both go to
the same Valkey; ours to SQLite and to memory as well. What is measured is the CPU time of this
process, so that a busy machine changes little.
"""

import asyncio
import io
import json
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from support.valkey_server import run_valkey
from tokenyard.chat.log_ports import LogStore, Production
from tokenyard.chat.log_writer import LogWriter
from tokenyard.chat.records import Response, ResponseStatus
from tokenyard.chat.streams import StreamRegistry
from tokenyard.protocol.response_events import OutputTextDelta
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory import open_memory_store
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.streams import RedisLogStore
from tokenyard.storage.sql.store import open_sql_store
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.generation import SamplingParameters
from tokenyard.vocabulary.ids import ItemId, ModelName, ProjectId, ResponseId, UserId

STREAMS = 200
EVENTS = 40
EVENT_SECONDS = 0.05
RESUMES = 300


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def response(number: int) -> Response:
    return Response(
        id=ResponseId(f"resp_{number:024x}"),
        project=ProjectId("proj_bench"),
        user=UserId("user_bench"),
        key=None,
        model=ModelName("bench"),
        status=ResponseStatus.IN_PROGRESS,
        created_at=0.0,
        sampling=SamplingParameters(),
    )


async def paced(write: Callable[[int], Awaitable[None]]) -> None:
    for number in range(EVENTS):
        await write(number)
        await asyncio.sleep(EVENT_SECONDS)


def told(lags: list[float], used: float, took: float) -> dict[str, Any]:
    events = STREAMS * EVENTS
    return {
        "events": events,
        "cpu_us_per_event": round(used / events * 1e6, 1),
        "events_per_second": round(events / took),
        "delivery_p50_ms": round(statistics.median(lags) * 1e3, 2),
        "delivery_p99_ms": round(statistics.quantiles(lags, n=100)[98] * 1e3, 2),
    }


async def measure_ours(logs: LogStore, store: Any, *, local: bool) -> dict[str, Any]:
    clock, metrics = RealClock(), GatewayMetrics()
    log = Log(io.StringIO(), clock)
    lags: list[float] = []
    async with TaskSupervisor(lambda name, error: None) as tasks:
        writer = LogWriter(
            logs, tasks=tasks, clock=clock, metrics=metrics, log=log, events_max=100_000
        )
        writing, reading = (
            StreamRegistry(logs, ChatSettings(), tasks=tasks, clock=clock, log=log)
            for _ in range(2)
        )
        streams = []
        for number in range(STREAMS):
            one = response(number)
            production = Production(one.id, None, 1, ItemId("msg"), None, b"{}")
            await store.chat.open_response(one, [], 0.0, production)
            streams.append(writing.open(one.id, epoch=1))

        async def produce(place: int) -> None:
            pen = writer.pen(streams[place], epoch=1)

            async def write(number: int) -> None:
                sent = f"{time.perf_counter()} "
                pen.write(OutputTextDelta(item_id="msg", delta=sent), (number,))

            await paced(write)
            await pen.flush()

        async def read(place: int) -> None:
            stream = streams[place]
            if not local:
                stream = reading.follow(stream.response, epoch=1, following=0)
            seen = 0
            async for batch in stream.read(0):
                now = time.perf_counter()
                for event in batch:
                    pieces = json.loads(event.data)["delta"].split()
                    lags.extend(now - float(piece) for piece in pieces)
                    seen += len(pieces)
                if seen == EVENTS:
                    return

        began, used = time.perf_counter(), cpu_seconds()
        await asyncio.gather(
            *(read(place) for place in range(STREAMS)), *(produce(p) for p in range(STREAMS))
        )
        used, took = cpu_seconds() - used, time.perf_counter() - began
        resumes = []
        for number in range(RESUMES):
            start = time.perf_counter()
            chunks = await logs.read(streams[number % STREAMS].response, 1, 500)
            assert chunks
            resumes.append(time.perf_counter() - start)
        return {
            **told(lags, used, took),
            "resume_read_p50_ms": round(statistics.median(resumes) * 1e3, 2),
            "resume_read_p99_ms": round(statistics.quantiles(resumes, n=100)[98] * 1e3, 2),
            "merge_window_seconds_at_end": writer.window_seconds,
        }


async def measure_plain(url: str) -> dict[str, Any]:
    """One awaited append for each event, and one blocking reader connection for each stream."""
    lags: list[float] = []
    async with Redis.from_url(url, max_connections=STREAMS * 2 + 10, protocol=2) as client:
        await client.flushall()

        async def produce(place: int) -> None:
            async def write(number: int) -> None:
                data = json.dumps(
                    {
                        "type": "response.output_text.delta",
                        "sequence_number": number,
                        "item_id": "msg",
                        "delta": f"{time.perf_counter()} ",
                    }
                )
                await client.xadd(f"s{place}", {"data": data})

            await paced(write)

        async def read(place: int) -> None:
            last, seen = "0", 0
            while seen < EVENTS:
                for _, entries in await client.xread({f"s{place}": last}, block=1_000) or ():
                    now = time.perf_counter()
                    for name, fields in entries:
                        last, seen = name, seen + 1
                        lags.append(now - float(json.loads(fields[b"data"])["delta"]))

        began, used = time.perf_counter(), cpu_seconds()
        await asyncio.gather(
            *(read(place) for place in range(STREAMS)), *(produce(p) for p in range(STREAMS))
        )
        return told(lags, cpu_seconds() - used, time.perf_counter() - began)


@asynccontextmanager
async def open_sqlite() -> AsyncIterator[Any]:
    clock = RealClock()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        tasks = await stack.enter_async_context(TaskSupervisor(lambda name, error: None))
        yield await stack.enter_async_context(
            open_sql_store(
                Path(folder) / "bench.db",
                supervisor=tasks,
                log=Log(io.StringIO(), clock),
                clock=clock,
            )
        )


async def measure() -> dict[str, Any]:
    """All stores, one after the other."""
    results: dict[str, Any] = {}
    async with open_memory_store() as store:
        results["ours, memory"] = await measure_ours(store.streams, store, local=True)
    async with open_sqlite() as store:
        results["ours, SQLite with fsync"] = await measure_ours(store.streams, store, local=True)
    with run_valkey() as server:
        results["plain, Valkey"] = await measure_plain(server.url)
        for name, local in (("written here", True), ("of another gateway", False)):
            async with open_memory_store() as store:
                settings = StorageSettings(redis_url=server.url)
                async with open_redis(settings) as connection:
                    await connection.ask(connection.client.flushall())
                    logs = RedisLogStore(
                        connection, store.streams, clock=RealClock(), kept_seconds=600
                    )
                    results[f"ours, Valkey, streams {name}"] = await measure_ours(
                        logs, store, local=local
                    )
    return {
        "streams": STREAMS,
        "events_each": EVENTS,
        "event_seconds": EVENT_SECONDS,
        "results": results,
    }
