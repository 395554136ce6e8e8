"""Our gateway as a process: `python -m benchmarks.streams.ours [VALKEY_URL]`.

All of it but the wire to the model server: that one is in this process and says a time of day at
the pace that the prompt asks for (`4` words a second, `0` for a silent answer), so that whoever
reads it knows how late it is. Conversations are in memory, streams in memory or in Valkey. Prints
its port and a key.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec

from support.yards import FakeYard, open_fake_yard
from tokenyard.chat.log_ports import LogStore
from tokenyard.chat.stream_office import make_stream_office
from tokenyard.gateway.app import Gateway
from tokenyard.gateway.server import bind, run, serve
from tokenyard.protocol.sse import SseEvent
from tokenyard.runtime import garbage
from tokenyard.runtime.chat_settings import ChatSettings, TitleSource
from tokenyard.runtime.clock import RealClock, SimulatedClock
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.randomness import SystemRandomness
from tokenyard.runtime.settings import GatewaySettings, Settings
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.streams import RedisLogStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.ports import GenerationCall
from tokenyard.upstreams.roster import ServerRoster
from tokenyard.upstreams.scripted import ScriptedUpstream
from tokenyard.upstreams.sealing import Sealer

MODEL = "paced"
_MANY = 1_000_000
SETTINGS = Settings(
    chat=ChatSettings(titles=TitleSource.NOBODY),
    gateway=GatewaySettings(port=0, connections_max=_MANY),
    limits=LimitSettings(
        concurrent_requests=_MANY,
        concurrent_requests_per_key=_MANY,
        requests_per_minute=_MANY,
        requests_burst=_MANY,
    ),
)


class _RealTime(SimulatedClock):
    """For a yard of tests that is to live in the time of its readers."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class PacedUpstream(ScriptedUpstream):
    """Says what time it is, at the pace that the last message asks for, for ever."""

    async def stream(self, call: GenerationCall) -> AsyncIterator[SseEvent]:
        pace = float(json.loads(call.body)["messages"][-1]["content"])
        while True:
            if not pace:
                await asyncio.Event().wait()
            told = {"index": 0, "delta": {"content": f"{time.monotonic():.6f} "}, "token_ids": [1]}
            chunk = {
                "id": "c", "object": "chat.completion.chunk", "created": 0, "model": MODEL,
                "choices": [{**told, "logprobs": None, "finish_reason": None}],
            }  # fmt: skip
            yield SseEvent(msgspec.json.encode(chunk))
            await asyncio.sleep(1 / pace)


def make_gateway(yard: FakeYard, logs: LogStore, tasks: TaskSupervisor) -> Gateway:
    """One over the parts of the yard, in real time."""
    clock, randomness, metrics = RealClock(), SystemRandomness(), GatewayMetrics()
    log = Log(sys.stderr, clock, level="warning")
    streams = make_stream_office(
        SETTINGS.chat,
        store=yard.store.chat,
        threads=yard.store.threads,
        windows=yard.chat.windows,
        productions=yard.store.streams,
        logs=logs,
        pool=yard.pool,
        ledger=yard.ledger,
        tasks=tasks,
        clock=clock,
        randomness=randomness,
        metrics=metrics,
        log=log,
    )
    roster = ServerRoster(
        yard.store.servers,
        SETTINGS.upstreams.routing,
        pool=yard.pool,
        sealer=Sealer(b"k" * 32, randomness),
        connect=lambda server, key: ScriptedUpstream(server.models[0]),
        clock=clock,
        log=log,
    )
    return Gateway(
        SETTINGS.gateway,
        reception=yard.reception,
        admission=yard.admission,
        pool=yard.pool,
        roster=roster,
        ledger=yard.ledger,
        chat=yard.chat,
        streams=streams,
        replay_store=yard.store.replays,
        files=yard.office.files,
        batches=yard.office.batches,
        jobs=yard.jobs,
        tasks=tasks,
        clock=clock,
        randomness=randomness,
        metrics=metrics,
        log=log,
    )


async def main(valkey: str | None) -> None:
    """Until killed."""
    async with AsyncExitStack() as stack:
        yard = await stack.enter_async_context(open_fake_yard(SETTINGS, _RealTime()))
        yard.pool.expect("two", frozenset({MODEL}))
        await yard.pool.attach("two", PacedUpstream(MODEL))
        await yard.clock.settle()
        logs: LogStore = yard.store.streams
        if valkey is not None:
            settings = StorageSettings(redis_url=valkey)
            connection = await stack.enter_async_context(open_redis(settings))
            logs = RedisLogStore(
                connection, yard.store.streams, clock=RealClock(), kept_seconds=600
            )
        tasks = await stack.enter_async_context(TaskSupervisor(lambda name, error: None))
        gateway = make_gateway(yard, logs, tasks)
        serving = await stack.enter_async_context(
            serve(gateway.app, bind(SETTINGS.gateway), SETTINGS.gateway, tasks)
        )
        garbage.settle()
        port = int(serving.url.rsplit(":", 1)[1])
        sys.stdout.write(json.dumps({"port": port, "key": yard.key}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(main(sys.argv[1] if len(sys.argv) > 1 else None))
