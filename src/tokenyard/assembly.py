"""Builds everything and closes everything: the one module that knows every concrete class.

One exit stack holds all of it in order, so that each part is closed before what it stands on.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from tokenyard.chat.conversations import Conversations
from tokenyard.chat.responses import Responses
from tokenyard.chat.streams import StreamRegistry
from tokenyard.fleet.engines.choice import EngineKind, drawing_defaults, served_model
from tokenyard.fleet.replicas import Replica
from tokenyard.gateway.admission import Admission
from tokenyard.gateway.app import Gateway
from tokenyard.gateway.identity import Identity
from tokenyard.gateway.server import bind, serve
from tokenyard.jobs.batches.batches import Batches
from tokenyard.jobs.batches.folder import FileFolder
from tokenyard.jobs.batches.office import make_office
from tokenyard.jobs.executors.devices import find_devices
from tokenyard.jobs.executors.local import LocalExecutor
from tokenyard.jobs.office import JobOffice, make_job_office
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.clock import Clock, RealClock
from tokenyard.runtime.randomness import Randomness, SystemRandomness
from tokenyard.runtime.settings import (
    ENGINE_KIND_VARIABLE,
    HOME_VARIABLE,
    ChatSettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import SqlStore, open_sql_store
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.dialects import Dialect
from tokenyard.upstreams.foreign import ForeignUpstream
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.reasons import Reason

DATABASE_NAME = "tokenyard.sqlite3"
FILES_FOLDER = "files"
MODELS_FOLDER = "models"
JOBS_FOLDER = "jobs"
_LOOPBACK_HOSTS = {"127.0.0.1", "::1", "localhost"}
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
    clock, randomness = RealClock(), SystemRandomness()
    async with (
        TaskSupervisor(log.task_failed) as tasks,
        open_sql_store(
            home / DATABASE_NAME,
            supervisor=tasks,
            log=log,
            clock=clock,
            settings=settings.storage,
        ) as store,
    ):
        yield Identity(store.identity, settings.gateway, clock=clock, randomness=randomness)


@asynccontextmanager
async def open_yard(
    settings: Settings, home: Path, log: Log, environment: Mapping[str, str]
) -> AsyncIterator[Yard]:
    """The whole platform on this machine; leaving the context drains and stops all of it.

    environment: holds the keys of model servers that the settings name.
    """
    clock, randomness = RealClock(), SystemRandomness()
    metrics = GatewayMetrics()
    keys = read_server_keys(settings.upstreams, environment)
    model = served_model(settings.engine, home / MODELS_FOLDER) if settings.fleet.engines else None
    async with AsyncExitStack() as stack:
        # First of all, so that a taken port is told before anything is started.
        listener = bind(settings.gateway)
        stack.callback(listener.close)
        writers = await stack.enter_async_context(TaskSupervisor(log.task_failed))
        store = await stack.enter_async_context(
            open_sql_store(
                home / DATABASE_NAME,
                supervisor=writers,
                log=log,
                clock=clock,
                settings=settings.storage,
            )
        )
        await store.chat.fail_abandoned(
            Reason.PRODUCER_LOST, "The server stopped while this was written.", clock.now()
        )
        tasks = await stack.enter_async_context(TaskSupervisor(log.task_failed))
        pool = UpstreamPool(
            settings.upstreams,
            clock=clock,
            tasks=tasks,
            metrics=metrics,
            ready_changed=lambda name, ready: log.info(
                Event.REPLICA_READY if ready else Event.REPLICA_LOST, replica=name
            ),
        )
        stack.push_async_callback(pool.close)
        replicas = _build_replicas(settings, home, pool=pool, clock=clock, metrics=metrics, log=log)
        await _attach_servers(settings.upstreams, keys, pool, clock)
        for replica in replicas:
            pool.expect(replica.name, frozenset({model} if model else ()))
            keeping = tasks.spawn(f"replica {replica.name}", replica.keep_running())
            stack.push_async_callback(_end, keeping)
        identity = Identity(store.identity, settings.gateway, clock=clock, randomness=randomness)
        jobs = await _open_jobs(
            stack,
            settings,
            home,
            store=store,
            tasks=tasks,
            clock=clock,
            log=log,
        )
        url = await _open_gateway(
            stack,
            settings,
            listener,
            home=home,
            jobs=jobs,
            identity=identity,
            store=store,
            pool=pool,
            tasks=tasks,
            clock=clock,
            randomness=randomness,
            metrics=metrics,
            log=log,
        )
        log.info(Event.STARTED, url=url, pid=os.getpid())
        yield Yard(url, model or _first_model(settings), identity, replicas, pool, clock)
        log.info(Event.STOPPING)
    log.info(Event.STOPPED)


async def _open_gateway(
    stack: AsyncExitStack,
    settings: Settings,
    listener: socket,
    *,
    home: Path,
    jobs: JobOffice,
    identity: Identity,
    store: SqlStore,
    pool: UpstreamPool,
    tasks: TaskSupervisor,
    clock: Clock,
    randomness: Randomness,
    metrics: GatewayMetrics,
    log: Log,
) -> str:
    """Put the products behind the HTTP address and serve it; returns the address."""
    ledger = Ledger(
        store.ledger, settings.ledger, clock=clock, randomness=randomness, log=log, metrics=metrics
    )
    await ledger.start()
    conversations = Conversations(store.chat, settings.chat, clock, randomness)
    responses = Responses(
        store=store.chat,
        conversations=conversations,
        streams=_make_streams(settings.chat, clock),
        pool=pool,
        ledger=ledger,
        tasks=tasks,
        clock=clock,
        randomness=randomness,
        log=log,
    )
    admission = Admission(settings.limits, clock=clock, metrics=metrics)
    office = make_office(
        settings,
        files=store.batches,
        batches=store.batches,
        folder=FileFolder(home / FILES_FOLDER),
        interactive=lambda: admission.active,
        pool=pool,
        ledger=ledger,
        tasks=tasks,
        clock=clock,
        randomness=randomness,
        log=log,
        metrics=metrics,
    )
    await office.start()
    gateway = Gateway(
        settings.gateway,
        identity=identity,
        admission=admission,
        pool=pool,
        ledger=ledger,
        conversations=conversations,
        responses=responses,
        files=office.files,
        batches=office.batches,
        jobs=jobs,
        tasks=tasks,
        clock=clock,
        randomness=randomness,
        metrics=metrics,
        log=log,
    )
    url = await stack.enter_async_context(serve(gateway.app, listener, settings.gateway, tasks))
    seconds = settings.gateway.drain_seconds
    stack.push_async_callback(_drain, admission, responses, office.batches, clock, seconds)
    return url


def _make_streams(settings: ChatSettings, clock: Clock) -> StreamRegistry:
    return StreamRegistry(
        clock, kept_seconds=settings.streams_kept_seconds, events_max=settings.stream_events_max
    )


async def _open_jobs(
    stack: AsyncExitStack,
    settings: Settings,
    home: Path,
    *,
    store: SqlStore,
    tasks: TaskSupervisor,
    clock: Clock,
    log: Log,
) -> JobOffice:
    """Schedule jobs onto this machine until the stack is closed."""
    executor = LocalExecutor(
        home / JOBS_FOLDER,
        settings.jobs,
        find_devices(settings.jobs.node),
        tasks=tasks,
        clock=clock,
    )
    await executor.open()
    stack.push_async_callback(executor.close)
    office = make_job_office(
        settings.jobs,
        store=store.jobs,
        executors=[executor],
        on_loopback=settings.gateway.host in _LOOPBACK_HOSTS,
        clock=clock,
        randomness=SystemRandomness(),
        log=log,
    )
    executor.changed = office.scheduler.poke
    scheduling = tasks.spawn("jobs.scheduler", office.scheduler.run(tasks))
    stack.push_async_callback(_end, scheduling)
    return office


async def _drain(
    admission: Admission, responses: Responses, batches: Batches, clock: Clock, seconds: float
) -> None:
    """Admit nobody, let what runs come to its end, and stop the rest when the time is over."""
    admission.close()
    batches.close()
    deadline = clock.monotonic() + seconds
    await responses.drain(seconds)
    while admission.active and clock.monotonic() < deadline:
        await clock.sleep(_READY_POLL_SECONDS)
    await batches.drain(deadline - clock.monotonic())


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})


def read_server_keys(
    settings: UpstreamSettings, environment: Mapping[str, str]
) -> dict[str, str | None]:
    """The key of each model server that others run; raises StartError naming what is wrong."""
    keys: dict[str, str | None] = {}
    for server in settings.servers:
        if server.name in keys:
            raise StartError(f"upstreams.servers: the name {server.name!r} is there twice.")
        variable = server.api_key_variable
        if variable and not environment.get(variable):
            raise StartError(
                f"upstreams.servers: the variable {variable}, which is to hold the key of "
                f"{server.name!r}, is not set."
            )
        keys[server.name] = environment[variable] if variable else None
    return keys


async def _attach_servers(
    settings: UpstreamSettings, keys: Mapping[str, str | None], pool: UpstreamPool, clock: Clock
) -> None:
    for server in settings.servers:
        pool.expect(server.name, frozenset(server.models), ours=False)
        await pool.attach(server.name, _connect_server(server, keys[server.name], settings, clock))


def _connect_server(
    server: ServerSettings, key: str | None, settings: UpstreamSettings, clock: Clock
) -> Upstream:
    url = server.url.rstrip("/").removesuffix("/v1")
    if server.kind == EngineKind.OWN:
        return HttpUpstream(url, settings, api_key=key)
    return ForeignUpstream(
        url,
        settings,
        dialect=Dialect(server.kind),
        clock=clock,
        models=server.models,
        api_key=key,
    )


def _first_model(settings: Settings) -> ModelName:
    named = [model for server in settings.upstreams.servers for model in server.models]
    return ModelName(named[0] if named else "")


def _connect_engine(settings: Settings, home: Path, clock: Clock) -> Callable[[str], Upstream]:
    """How the model servers that we start are spoken to."""
    if settings.engine.kind == EngineKind.OWN or not settings.fleet.engines:
        return lambda url: HttpUpstream(url, settings.upstreams)
    defaults = drawing_defaults(settings.engine, home / MODELS_FOLDER)
    return lambda url: ForeignUpstream(
        url,
        settings.upstreams,
        dialect=Dialect(settings.engine.kind),
        clock=clock,
        defaults=defaults,
    )


def _build_replicas(
    settings: Settings,
    home: Path,
    *,
    pool: UpstreamPool,
    clock: Clock,
    metrics: GatewayMetrics,
    log: Log,
) -> tuple[Replica, ...]:
    environment = {
        HOME_VARIABLE: str(home),
        # It may come from the command line, which the process that is started does not see.
        ENGINE_KIND_VARIABLE: settings.engine.kind,
    }
    connect = _connect_engine(settings, home, clock)
    return tuple(
        Replica(
            f"engine-{number}",
            command=engine_command,
            connect=connect,
            environment=environment,
            folder=home / "run",
            settings=settings.fleet,
            pool=pool,
            clock=clock,
            metrics=metrics,
            log=log,
        )
        for number in range(settings.fleet.engines)
    )


def engine_command(address_file: Path) -> tuple[str, ...]:
    """The command line of a model server, of whatever kind the settings choose."""
    return (
        sys.executable,
        "-m",
        "tokenyard",
        "engine",
        "--exit-with-parent",
        "--address-file",
        str(address_file),
    )
