"""The scaled form on one machine: several gateways behind nginx, over Postgres and Valkey.

What there is once is in this process, the supervisor: it keeps every other process running, runs
the jobs, carries the batches, and has a gateway of its own that nobody is sent to, for its metrics.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from tokenyard.assembly.face import open_face
from tokenyard.assembly.ground import MODELS_FOLDER, RUN_FOLDER, Part, open_ground
from tokenyard.assembly.model_servers import (
    attach_servers,
    first_model,
    open_pool,
    read_server_keys,
    start_replicas,
)
from tokenyard.assembly.money import read_webhook_secret
from tokenyard.assembly.people import start_reception
from tokenyard.assembly.scheduling import open_jobs
from tokenyard.assembly.services import LOOPBACK, listens, open_stores, write_private
from tokenyard.assembly.workshop import Workshop, open_workshop
from tokenyard.assembly.yard import Door, Yard, fail_abandoned
from tokenyard.fleet.engines.choice import served_model
from tokenyard.fleet.engines.contract import free_port, url_of
from tokenyard.fleet.services import nginx
from tokenyard.fleet.services.service import Service, on_lifeline
from tokenyard.gateway.server import bind
from tokenyard.runtime.settings import ENGINE_KIND_VARIABLE, GatewaySettings, Settings
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.upstreams.http import HttpUpstream

DATABASE_VARIABLE = "TOKENYARD_STORAGE__DATABASE_URL"
REDIS_VARIABLE = "TOKENYARD_STORAGE__REDIS_URL"
ADDRESSES_NAME = "stores.json"
# Beyond what a gateway takes to let running answers end.
_MARGIN_SECONDS = 10.0
_NGINX_STOP_SECONDS = 5.0


@asynccontextmanager
async def open_scaled_yard(
    settings: Settings, home: Path, log: Log, environment: Mapping[str, str]
) -> AsyncIterator[Yard]:
    """All of it; leaving the context drains the gateways, then stops what they stand on."""
    keys = read_server_keys(settings.upstreams, environment)
    secret = read_webhook_secret(settings.ledger, environment)
    model = served_model(settings.engine, home / MODELS_FOLDER) if settings.fleet.engines else None
    async with AsyncExitStack() as stack:
        # First of all, so that a taken port is told before anything is started.
        face = _choose_port(settings.gateway)
        workshop = await open_workshop(stack, settings, home, log)
        settings = msgspec.structs.replace(
            settings, gateway=face, storage=await open_stores(workshop, settings.storage)
        )
        await _tell_commands(workshop, settings.storage)
        ground = await open_ground(stack, settings, home, log, Part.SUPERVISOR)
        await fail_abandoned(ground)
        pool = open_pool(ground, environment)
        await attach_servers(ground, keys, pool)
        replicas = start_replicas(ground, pool, model)
        reception = await start_reception(ground, environment)
        jobs = await open_jobs(ground)
        office = bind(msgspec.structs.replace(face, host=LOOPBACK, port=0))
        stack.callback(office.close)
        inside = await open_face(
            ground, office, reception=reception, jobs=jobs, pool=pool, webhook_secret=secret
        )
        doors, url = await _open_doors(workshop, settings)
        log.info(Event.STARTED, url=url, inside=inside, pid=os.getpid())
        shown = model or first_model(settings.upstreams)
        yield Yard(url, shown, reception.identity, replicas, pool, ground.clock, doors)
        log.info(Event.STOPPING)
    log.info(Event.STOPPED)


async def _open_doors(workshop: Workshop, settings: Settings) -> tuple[tuple[Door, ...], str]:
    """Start the gateways, and nginx before them where there is one; returns the address of all."""
    program = nginx.find_nginx()
    host = settings.gateway.host if program is None else LOOPBACK
    # Without nginx the first one takes the address that was asked for.
    ports = [
        settings.gateway.port if program is None and number == 0 else free_port(host, 0)
        for number in range(settings.fleet.gateways)
    ]
    if program is not None:
        await _start_nginx(workshop, settings, program, [f"{LOOPBACK}:{port}" for port in ports])
    doors = tuple(_make_door(workshop, settings, host, port) for port in ports)
    gateways = [_make_gateway(workshop, settings, n, door) for n, door in enumerate(doors)]
    await workshop.start(*gateways)
    return doors, url_of(settings.gateway.host, settings.gateway.port)


async def _start_nginx(
    workshop: Workshop, settings: Settings, program: str, gateways: list[str]
) -> None:
    folder = workshop.services_folder / "nginx"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    host, port = settings.gateway.host, settings.gateway.port
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    file = folder / "nginx.conf"
    plan = nginx.NginxPlan(listen, tuple(gateways), folder)
    await asyncio.to_thread(file.write_text, nginx.render(plan))
    command = on_lifeline("QUIT", nginx.serve_command(program, file))
    service = workshop.make(
        "nginx", command, lambda: listens(port, host), stop_seconds=_NGINX_STOP_SECONDS
    )
    await workshop.start(service)


def _make_door(workshop: Workshop, settings: Settings, host: str, port: int) -> Door:
    probe = HttpUpstream(url_of(host, port), settings.upstreams)
    workshop.stack.push_async_callback(probe.close)
    return Door(host, port, probe)


def _make_gateway(workshop: Workshop, settings: Settings, number: int, door: Door) -> Service:
    name = f"gateway-{number}"
    where = ("--host", door.host, "--port", str(door.port))
    return workshop.make(
        name,
        (sys.executable, "-m", "tokenyard", "gateway", name, *where),
        door.is_live,
        environment={
            DATABASE_VARIABLE: settings.storage.database_url,
            REDIS_VARIABLE: settings.storage.redis_url,
            # They may come from the command line, which the process does not see.
            ENGINE_KIND_VARIABLE: settings.engine.kind,
            "TOKENYARD_GATEWAY__HOST": settings.gateway.host,
            "TOKENYARD_GATEWAY__PORT": str(settings.gateway.port),
            "TOKENYARD_FLEET__ENGINES": str(settings.fleet.engines),
        },
        stop_seconds=settings.gateway.drain_seconds + _MARGIN_SECONDS,
    )


def _choose_port(settings: GatewaySettings) -> GatewaySettings:
    """The settings with a port that is free, which nginx is going to take."""
    listener = bind(settings)
    try:
        return msgspec.structs.replace(settings, port=listener.getsockname()[1])
    finally:
        listener.close()


async def _tell_commands(workshop: Workshop, storage: StorageSettings) -> None:
    """Commands that run beside us, such as `tokenyard keys`, find the stores by this file."""
    file = workshop.home / RUN_FOLDER / ADDRESSES_NAME
    told = {DATABASE_VARIABLE: storage.database_url, REDIS_VARIABLE: storage.redis_url}
    await asyncio.to_thread(write_private, file, json.dumps(told))
    workshop.stack.callback(file.unlink, missing_ok=True)
