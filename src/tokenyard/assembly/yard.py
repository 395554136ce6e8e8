"""The whole platform, in the order in which it is opened; it is closed in the reverse."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tokenyard.assembly.face import open_face
from tokenyard.assembly.ground import MODELS_FOLDER, Ground, Part, open_ground
from tokenyard.assembly.model_servers import (
    attach_servers,
    first_model,
    follow_neighbours,
    open_pool,
    read_server_keys,
    start_replicas,
)
from tokenyard.assembly.money import make_ledger, read_webhook_secret
from tokenyard.assembly.people import open_reception, start_reception
from tokenyard.assembly.scheduling import open_jobs
from tokenyard.fleet.engines.choice import served_model
from tokenyard.fleet.engines.contract import url_of
from tokenyard.fleet.replicas import Replica
from tokenyard.gateway.identity import Identity
from tokenyard.gateway.reception import Reception
from tokenyard.gateway.server import bind
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import GatewaySettings, Settings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Door:
    """One of several gateways of this machine: where it listens, and a way to ask it."""

    host: str
    port: int
    probe: HttpUpstream

    @property
    def url(self) -> str:
        """Its address."""
        return url_of(self.host, self.port)

    async def is_live(self) -> bool:
        """Whether it answers."""
        return await self.probe.status("/health/live") == 200

    async def is_ready(self) -> bool:
        """Whether it can answer with a model."""
        return await self.probe.status("/health/ready") == 200


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
    # The gateways behind `url`, if there are several.
    doors: tuple[Door, ...] = ()

    async def is_ready(self) -> bool:
        """Whether every model server can answer, and every gateway knows it."""
        return self.pool.ready and all([await door.is_ready() for door in self.doors])


@asynccontextmanager
async def open_people(settings: Settings, home: Path, log: Log) -> AsyncIterator[Reception]:
    """Only keys, sessions and people, for commands that run beside a running server."""
    async with AsyncExitStack() as stack:
        offline = msgspec.structs.replace(settings.identity, providers=())
        settings = msgspec.structs.replace(settings, identity=offline)
        yield await open_reception(await open_ground(stack, settings, home, log), {})


@asynccontextmanager
async def open_books(settings: Settings, home: Path, log: Log) -> AsyncIterator[Ledger]:
    """Only the ledger, to be read by commands that run beside a running server."""
    async with AsyncExitStack() as stack:
        yield make_ledger(await open_ground(stack, settings, home, log))


@asynccontextmanager
async def open_yard(
    settings: Settings, home: Path, log: Log, environment: Mapping[str, str]
) -> AsyncIterator[Yard]:
    """The whole platform on this machine; leaving the context drains and stops all of it.

    environment: holds the keys of model servers that the settings name.
    """
    keys = read_server_keys(settings.upstreams, environment)
    secret = read_webhook_secret(settings.ledger, environment)
    model = served_model(settings.engine, home / MODELS_FOLDER) if settings.fleet.engines else None
    async with AsyncExitStack() as stack:
        # First of all, so that a taken port is told before anything is started.
        listener = bind(settings.gateway)
        stack.callback(listener.close)
        ground = await open_ground(stack, settings, home, log)
        await fail_abandoned(ground)
        pool = open_pool(ground, environment)
        await attach_servers(ground, keys, pool)
        replicas = start_replicas(ground, pool, model)
        reception = await start_reception(ground, environment)
        jobs = await open_jobs(ground)
        url = await open_face(
            ground, listener, reception=reception, jobs=jobs, pool=pool, webhook_secret=secret
        )
        log.info(Event.STARTED, url=url, pid=os.getpid())
        shown = model or first_model(settings.upstreams)
        yield Yard(url, shown, reception.identity, replicas, pool, ground.clock)
        log.info(Event.STOPPING)
    log.info(Event.STOPPED)


@asynccontextmanager
async def open_gateway(
    settings: Settings, home: Path, log: Log, environment: Mapping[str, str], bound: GatewaySettings
) -> AsyncIterator[str]:
    """One of the gateways of this machine; its model servers are run by the supervisor.

    bound: where it listens, which is not where the platform is found.
    """
    keys = read_server_keys(settings.upstreams, environment)
    secret = read_webhook_secret(settings.ledger, environment)
    model = served_model(settings.engine, home / MODELS_FOLDER) if settings.fleet.engines else None
    async with AsyncExitStack() as stack:
        listener = bind(bound)
        stack.callback(listener.close)
        ground = await open_ground(stack, settings, home, log, Part.GATEWAY)
        pool = open_pool(ground, environment)
        await attach_servers(ground, keys, pool)
        follow_neighbours(ground, pool, model)
        reception = await start_reception(ground, environment)
        jobs = await open_jobs(ground)
        url = await open_face(
            ground, listener, reception=reception, jobs=jobs, pool=pool, webhook_secret=secret
        )
        log.info(Event.STARTED, url=url, pid=os.getpid())
        yield url
        log.info(Event.STOPPING)
    log.info(Event.STOPPED)


async def fail_abandoned(ground: Ground) -> None:
    """Mark the answers of a process before this one as failed, unless others write some now."""
    if ground.part is Part.WHOLE and ground.shares_store:
        return
    await ground.store.chat.fail_abandoned(
        Reason.PRODUCER_LOST, "The server stopped while this was written.", ground.clock.now()
    )
