"""Row 13 with real processes: a producer is frozen past its lease and wakes up too late."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from contract.conftest import Opener
from contract.samples import AT
from contract.test_log_store import ID, MINE, RESPONSE, chunk
from support.paused_producer import PRODUCER
from support.valkey_server import ValkeyServer
from tokenyard.chat.log_ports import LogStore, Outcome
from tokenyard.chat.records import ResponseStatus
from tokenyard.chat.rules.leases import Seen, find_dead, observe
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.streams import RedisLogStore
from tokenyard.storage.sql.store import SqlStore
from tokenyard.vocabulary.ids import ProducerId

TESTS = Path(__file__).parents[1]
SUCCESSOR = ProducerId("prod_b")
LEASE_SECONDS = 0.8


@asynccontextmanager
async def open_logs(store: SqlStore, valkey: str | None) -> AsyncIterator[LogStore]:
    if valkey is None:
        yield store.streams
        return
    async with open_redis(StorageSettings(redis_url=valkey)) as connection:
        yield RedisLogStore(connection, store.streams, clock=RealClock(), kept_seconds=60)


def start_producer(database: str, valkey: str | None) -> "subprocess.Popen[str]":
    program = str(TESTS / "support" / "paused_producer.py")
    return subprocess.Popen(
        [sys.executable, program, ID, database, *([valkey] if valkey else [])],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"},
    )


async def wait_until_dead(store: SqlStore) -> None:
    """As a gateway finds out: by the beats that stand still, on its own clock."""
    clock, seen = RealClock(), dict[ProducerId, Seen]()
    while True:
        told = await store.streams.beat(SUCCESSOR)
        seen = observe(seen, told, clock.monotonic())
        if PRODUCER in find_dead(seen, clock.monotonic(), LEASE_SECONDS):
            return
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("apart", [False, True])
async def test_13_a_producer_that_wakes_up_past_its_lease_writes_nothing_more(
    apart: bool, empty_postgres: str, supervisor: TaskSupervisor, valkey_server: ValkeyServer
) -> None:
    valkey = valkey_server.url if apart else None
    async with (
        Opener(empty_postgres, supervisor).open() as store,
        open_logs(store, valkey) as logs,
    ):
        await logs.forget([ID])
        await store.chat.open_response(RESPONSE, [], AT, replace(MINE, producer=PRODUCER))
        with start_producer(empty_postgres, valkey) as producer:
            try:
                assert producer.stdout is not None
                said = producer.stdout
                assert await asyncio.to_thread(said.readline) == "writing\n"
                producer.send_signal(signal.SIGSTOP)
                await asyncio.wait_for(wait_until_dead(store), 20)
                assert await store.streams.take(ID, 1, SUCCESSOR)
                await logs.fence(ID, 2)
                before = list(await logs.read(ID, 0, 999))
                following = before[-1].following
                assert await logs.append([chunk(following, 2, epoch=2)]) == [Outcome.KEPT]
                producer.send_signal(signal.SIGCONT)
                assert await asyncio.wait_for(asyncio.to_thread(said.readline), 20) == "fenced\n"
                ending = chunk(following + 2, epoch=2, final=True)
                over = replace(RESPONSE, status=ResponseStatus.COMPLETED, finished_at=AT + 1)
                assert await store.chat.finish_response(over, None, ending)
                whole = [*before, chunk(following, 2, epoch=2), ending]
                assert list(await logs.read(ID, 0, 999)) == whole
            finally:
                producer.kill()
