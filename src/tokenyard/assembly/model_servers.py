"""Model servers: the replicas that we start, and the servers that others run."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenyard.assembly.ground import MODELS_FOLDER, RUN_FOLDER, Ground
from tokenyard.fleet.engines.choice import EngineKind, drawing_defaults
from tokenyard.fleet.replicas import Neighbour, Replica
from tokenyard.runtime.settings import (
    ENGINE_KIND_VARIABLE,
    HOME_VARIABLE,
    ServerSettings,
    UpstreamSettings,
)
from tokenyard.telemetry.logs import Event
from tokenyard.upstreams.anthropic import KIND as ANTHROPIC
from tokenyard.upstreams.anthropic import AnthropicUpstream
from tokenyard.upstreams.dialects import Dialect
from tokenyard.upstreams.foreign import ForeignUpstream
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.moderation import Moderation
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.ids import ModelName


def open_pool(ground: Ground, environment: Mapping[str, str]) -> UpstreamPool:
    """The servers to choose from, none yet; closed with the ground."""
    log = ground.log
    moderation = _open_moderation(ground, environment)
    pool = UpstreamPool(
        ground.settings.upstreams,
        clock=ground.clock,
        tasks=ground.tasks,
        metrics=ground.metrics,
        randomness=ground.randomness,
        moderation=moderation,
        ready_changed=lambda name, ready: log.info(
            Event.REPLICA_READY if ready else Event.REPLICA_LOST, replica=name
        ),
    )
    ground.stack.push_async_callback(pool.close)
    return pool


def _open_moderation(ground: Ground, environment: Mapping[str, str]) -> Moderation | None:
    settings = ground.settings.moderation
    if not settings.url:
        if settings.check != "off":
            raise StartError("moderation.check needs a server: set moderation.url.")
        return None
    variable = settings.api_key_variable
    if variable and not environment.get(variable):
        raise StartError(
            f"moderation: the variable {variable}, which is to hold its key, is not set."
        )
    http = HttpUpstream(
        settings.url.rstrip("/").removesuffix("/v1"),
        ground.settings.upstreams,
        api_key=environment[variable] if variable else None,
    )
    moderation = Moderation(http, settings, metrics=ground.metrics, log=ground.log)
    ground.stack.push_async_callback(moderation.close)
    return moderation


def start_replicas(
    ground: Ground, pool: UpstreamPool, model: ModelName | None
) -> tuple[Replica, ...]:
    """The model servers that we run ourselves, of that model, until the ground is closed."""
    replicas = _build_replicas(ground, pool)
    for replica in replicas:
        pool.expect(
            replica.name,
            frozenset({model} if model else ()),
            tags=frozenset(ground.settings.fleet.tags),
        )
        keeping = ground.tasks.spawn(f"replica {replica.name}", replica.keep_running())
        ground.stack.push_async_callback(ground.tasks.end, keeping)
    return replicas


def follow_neighbours(ground: Ground, pool: UpstreamPool, model: ModelName | None) -> None:
    """The model servers that the supervisor of this machine runs."""
    connect = _connect_engine(ground)
    for number in range(ground.settings.fleet.engines):
        name = _name_engine(number)
        pool.expect(
            name, frozenset({model} if model else ()), tags=frozenset(ground.settings.fleet.tags)
        )
        neighbour = Neighbour(
            name,
            connect=connect,
            folder=ground.home / RUN_FOLDER,
            pool=pool,
            clock=ground.clock,
        )
        ground.tasks.spawn(f"neighbour {name}", neighbour.keep_attached())


def _name_engine(number: int) -> str:
    return f"engine-{number}"


def _build_replicas(ground: Ground, pool: UpstreamPool) -> tuple[Replica, ...]:
    settings = ground.settings
    environment = {
        HOME_VARIABLE: str(ground.home),
        # It may come from the command line, which the process that is started does not see.
        ENGINE_KIND_VARIABLE: settings.engine.kind,
    }
    connect = _connect_engine(ground)
    return tuple(
        Replica(
            _name_engine(number),
            command=engine_command,
            connect=connect,
            environment=environment,
            folder=ground.home / RUN_FOLDER,
            settings=settings.fleet,
            pool=pool,
            tasks=ground.tasks,
            clock=ground.clock,
            metrics=ground.metrics,
            log=ground.log,
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


async def attach_servers(
    ground: Ground, keys: Mapping[str, str | None], pool: UpstreamPool
) -> None:
    """Put the servers that others run into the pool."""
    for server in ground.settings.upstreams.servers:
        pool.expect(
            server.name,
            frozenset(server.models),
            ours=False,
            weight=server.weight,
            priority=server.priority,
            tags=frozenset(server.tags),
        )
        await pool.attach(server.name, connect_server(ground, server, keys[server.name]))


def first_model(settings: UpstreamSettings) -> ModelName:
    """A model that the settings name; empty when the servers are to tell theirs themselves."""
    named = [model for server in settings.servers for model in server.models]
    return ModelName(named[0] if named else "")


def connect_server(
    ground: Ground,
    server: ServerSettings,
    key: str | None,
    connecting: Mapping[str, Any] | None = None,
) -> Upstream:
    """How a server that others run is spoken to; connecting: what a connector is told."""
    url = server.url.rstrip("/").removesuffix("/v1")
    settings = ground.settings.upstreams
    if server.kind == EngineKind.OWN:
        return HttpUpstream(
            url, settings, api_key=key, tracing=ground.tracing, connecting=connecting
        )
    if server.kind == ANTHROPIC:
        return AnthropicUpstream(
            url,
            settings,
            clock=ground.clock,
            models=server.models,
            api_key=key,
            tracing=ground.tracing,
            connecting=connecting,
        )
    return ForeignUpstream(
        url,
        settings,
        dialect=Dialect(server.kind),
        clock=ground.clock,
        models=server.models,
        api_key=key,
        tracing=ground.tracing,
        connecting=connecting,
    )


def _connect_engine(ground: Ground) -> Callable[[str], Upstream]:
    """How the model servers that we start are spoken to."""
    settings = ground.settings
    if settings.engine.kind == EngineKind.OWN or not settings.fleet.engines:
        return lambda url: HttpUpstream(url, settings.upstreams, tracing=ground.tracing)
    defaults = drawing_defaults(settings.engine, ground.home / MODELS_FOLDER)
    return lambda url: ForeignUpstream(
        url,
        settings.upstreams,
        dialect=Dialect(settings.engine.kind),
        clock=ground.clock,
        defaults=defaults,
        tracing=ground.tracing,
    )
