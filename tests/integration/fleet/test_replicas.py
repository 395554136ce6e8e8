"""A model server is started, announced, found dead, and started again; with real processes."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tokenyard.fleet.replicas import Replica
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.settings import FleetSettings, UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Health
from tokenyard.upstreams.scripted import ScriptedUpstream

# Writes its address, then lives until its standard input ends or somebody says so.
SERVER = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text("http://127.0.0.1:1")
print("alive", flush=True)
sys.stdin.read()
"""


async def test_dead_server_is_replaced_and_all_end_with_us(tmp_path: Path) -> None:
    out, connected = io.StringIO(), list[ScriptedUpstream]()
    async with run_replica(tmp_path, out, connected) as (replica, pool, metrics):
        pid = int(out.getvalue().partition('"pid":')[2].partition("}")[0])
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(connected) == 2 and pool.ready)
        assert replica.deaths == 1
        assert connected[0].closed
        assert b"replica_restarts_total 1.0" in metrics.render()
    assert not pool.ready
    assert replica.log_path.read_text() == "alive\nalive\n"
    assert not list((tmp_path / "run").glob("*.address"))


async def test_silent_server_is_ended_and_replaced(tmp_path: Path) -> None:
    out, connected = io.StringIO(), list[ScriptedUpstream]()
    async with run_replica(tmp_path, out, connected) as (replica, pool, _):
        # Its process lives, as a frozen one does, but nobody answers.
        connected[0].reported_health = Health.DOWN
        await until(lambda: len(connected) == 2 and pool.ready)
        assert replica.deaths == 1
    assert '"replica.silent"' in out.getvalue()


@asynccontextmanager
async def run_replica(
    folder: Path, out: io.StringIO, connected: list[ScriptedUpstream]
) -> AsyncIterator[tuple[Replica, UpstreamPool, GatewayMetrics]]:
    clock, metrics = RealClock(), GatewayMetrics()
    log = Log(out, clock)

    def connect(address: str) -> ScriptedUpstream:
        assert address == "http://127.0.0.1:1"
        connected.append(ScriptedUpstream("m"))
        return connected[-1]

    async with TaskSupervisor(log.task_failed) as tasks:
        settings = UpstreamSettings(health_seconds=0.01)
        pool = UpstreamPool(settings, clock=clock, tasks=tasks, metrics=metrics)
        replica = Replica(
            "engine-0",
            command=lambda address: (sys.executable, "-c", SERVER, str(address)),
            connect=connect,
            environment={},
            folder=folder / "run",
            settings=FleetSettings(
                restart_seconds_min=0.01, start_seconds_max=0.01, silent_seconds=0.01
            ),
            pool=pool,
            tasks=tasks,
            clock=clock,
            metrics=metrics,
            log=log,
        )
        pool.expect("engine-0", frozenset({"m"}))
        keeping = tasks.spawn("replica", replica.keep_running())
        async with asyncio.timeout(20):
            await until(lambda: pool.ready)
            yield replica, pool, metrics
        await tasks.end(keeping)


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)
