"""Model servers that operators add while everything runs, and the key that seals theirs."""

import os
from pathlib import Path

from tokenyard.assembly.ground import Ground
from tokenyard.assembly.model_servers import connect_server
from tokenyard.runtime.settings import ServerSettings
from tokenyard.upstreams.addresses import connector_options
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream
from tokenyard.upstreams.roster import ServerRoster, StoredServer
from tokenyard.upstreams.sealing import KEY_BYTES, Sealer
from tokenyard.vocabulary.errors import StartError

KEY_FILE = Path("secrets") / "upstreams.key"


async def open_roster(ground: Ground, pool: UpstreamPool) -> ServerRoster:
    """Follow the store until the ground is closed."""
    routing = ground.settings.upstreams.routing

    def connect(server: StoredServer, key: str | None) -> Upstream:
        told = ServerSettings(
            name=server.name, url=server.url, models=server.models, kind=server.kind
        )
        return connect_server(ground, told, key, connector_options(routing.allowed_hosts))

    roster = ServerRoster(
        ground.store.servers,
        routing,
        pool=pool,
        sealer=Sealer(_read_key(ground), ground.randomness),
        connect=connect,
        clock=ground.clock,
        log=ground.log,
    )
    await roster.read()
    keeping = ground.tasks.spawn("upstreams.roster", roster.keep())
    ground.stack.push_async_callback(ground.tasks.end, keeping)
    return roster


def _read_key(ground: Ground) -> bytes:
    """The key of this installation; made at the first start, readable by its owner alone."""
    path = ground.home / KEY_FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
        else:
            key = ground.randomness.bytes(KEY_BYTES)
            with os.fdopen(made, "wb") as file:
                file.write(key)
    except OSError as error:
        raise StartError(f"The key file {path} cannot be used: {error.strerror}.") from None
    if len(key) != KEY_BYTES:
        raise StartError(f"The key file {path} is damaged: it must hold {KEY_BYTES} bytes.")
    return key
