"""The whole platform, in the order in which it is opened; it is closed in the reverse."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tokenyard.assembly.face import open_face
from tokenyard.assembly.ground import DATABASE_NAME, MODELS_FOLDER, Ground
from tokenyard.assembly.model_servers import (
    attach_servers,
    build_replicas,
    first_model,
    open_pool,
    read_server_keys,
)
from tokenyard.assembly.scheduling import open_jobs
from tokenyard.fleet.engines.choice import served_model
from tokenyard.fleet.replicas import Replica
from tokenyard.gateway.identity import Identity
from tokenyard.gateway.server import bind
from tokenyard.runtime.clock import Clock, RealClock
from tokenyard.runtime.randomness import SystemRandomness
from tokenyard.runtime.settings import Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import open_sql_store
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.reasons import Reason

_READY_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Yard:
    """A running Tokenyard, as the command line sees it."""

    url: str
    # A model to try; empty when only servers of others are there, which name their own.
    model: ModelName
    identity: Identity
    replicas: tuple[Replica, ...]
    pool: UpstreamPool
    clock: Clock

    async def wait_until_ready(self) -> None:
        """Return once every model server can answer."""
        while not self.pool.ready:
            await self.clock.sleep(_READY_POLL_SECONDS)


@asynccontextmanager
async def open_identity(settings: Settings, home: Path, log: Log) -> AsyncIterator[Identity]:
    """Only keys and sessions, for commands that run beside a running server."""
    async with AsyncExitStack() as stack:
        yield _make_identity(await _open_ground(stack, settings, home, log))


@asynccontextmanager
async def open_yard(
    settings: Settings, home: Path, log: Log, environment: Mapping[str, str]
) -> AsyncIterator[Yard]:
    """The whole platform on this machine; leaving the context drains and stops all of it.

    environment: holds the keys of model servers that the settings name.
    """
    keys = read_server_keys(settings.upstreams, environment)
    model = served_model(settings.engine, home / MODELS_FOLDER) if settings.fleet.engines else None
    async with AsyncExitStack() as stack:
        # First of all, so that a taken port is told before anything is started.
        listener = bind(settings.gateway)
        stack.callback(listener.close)
        ground = await _open_ground(stack, settings, home, log)
        await ground.store.chat.fail_abandoned(
            Reason.PRODUCER_LOST, "The server stopped while this was written.", ground.clock.now()
        )
        pool = open_pool(ground)
        replicas = build_replicas(ground, pool)
        await attach_servers(settings.upstreams, keys, pool, ground.clock)
        for replica in replicas:
            pool.expect(replica.name, frozenset({model} if model else ()))
            keeping = ground.tasks.spawn(f"replica {replica.name}", replica.keep_running())
            stack.push_async_callback(ground.tasks.end, keeping)
        identity = _make_identity(ground)
        stack.push_async_callback(identity.write_last_used)
        noting = ground.tasks.spawn("identity.last_used", identity.keep_last_used())
        stack.push_async_callback(ground.tasks.end, noting)
        jobs = await open_jobs(ground)
        url = await open_face(ground, listener, identity=identity, jobs=jobs, pool=pool)
        log.info(Event.STARTED, url=url, pid=os.getpid())
        shown = model or first_model(settings.upstreams)
        yield Yard(url, shown, identity, replicas, pool, ground.clock)
        log.info(Event.STOPPING)
    log.info(Event.STOPPED)


async def _open_ground(stack: AsyncExitStack, settings: Settings, home: Path, log: Log) -> Ground:
    clock = RealClock()
    # The store's writer outlives every other task: what they end with is still to be written.
    writers = await stack.enter_async_context(TaskSupervisor(log.task_failed))
    store = await stack.enter_async_context(
        open_sql_store(
            settings.storage.database_url or home / DATABASE_NAME,
            supervisor=writers,
            log=log,
            clock=clock,
            settings=settings.storage,
        )
    )
    tasks = await stack.enter_async_context(TaskSupervisor(log.task_failed))
    return Ground(
        stack=stack,
        settings=settings,
        home=home,
        store=store,
        tasks=tasks,
        clock=clock,
        randomness=SystemRandomness(),
        metrics=GatewayMetrics(),
        log=log,
    )


def _make_identity(ground: Ground) -> Identity:
    return Identity(
        ground.store.identity,
        ground.settings.identity,
        clock=ground.clock,
        randomness=ground.randomness,
    )
