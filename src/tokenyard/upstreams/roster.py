"""Model servers and routes that operators define through the API, and how the pool follows them.

Every gateway reads them anew now and then, so that all agree. Does not know HTTP; how a server is
connected comes from outside.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.routing_settings import RoutingSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.upstreams.addresses import check_address
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream
from tokenyard.upstreams.rules.aliases import ModelRoute
from tokenyard.upstreams.sealing import Sealer
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, NotFound, TokenyardError
from tokenyard.vocabulary.reasons import Reason

_SERVERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class StoredServer:
    """A model server as it is stored; `sealed_key` is its key, encrypted."""

    name: str
    url: str
    kind: str = "openai"
    models: tuple[str, ...] = ()
    weight: int = 1
    priority: int = 0
    disabled: bool = False
    tags: tuple[str, ...] = ()
    sealed_key: bytes | None = None


class ServerStore(Protocol):
    """Durable servers and routes."""

    async def list_servers(self) -> list[StoredServer]:
        """All of them, by name."""
        ...

    async def put_server(self, server: StoredServer) -> None:
        """Store a server in place of the one of its name."""
        ...

    async def delete_server(self, name: str) -> bool:
        """Forget a server; False when there is none."""
        ...

    async def list_routes(self) -> list[ModelRoute]:
        """All of them, by name."""
        ...

    async def put_route(self, route: ModelRoute) -> None:
        """Store a route in place of the one of its name."""
        ...

    async def delete_route(self, name: str) -> bool:
        """Forget a route; False when there is none."""
        ...


Connect = Callable[[StoredServer, str | None], Upstream]


class ServerRoster:
    """The defined servers, in the store and in this process's pool."""

    def __init__(
        self,
        store: ServerStore,
        settings: RoutingSettings,
        *,
        pool: UpstreamPool,
        sealer: Sealer,
        connect: Connect,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._settings = settings
        self._pool = pool
        self._sealer = sealer
        self._connect = connect
        self._clock = clock
        self._log = log
        # What is in the pool now, by name.
        self._attached: dict[str, StoredServer] = {}

    async def read(self) -> None:
        """Bring the pool to what the store says."""
        self._pool.set_routes({route.name: route for route in await self._store.list_routes()})
        wanted = {one.name: one for one in await self._store.list_servers() if not one.disabled}
        for name in [name for name, held in self._attached.items() if wanted.get(name) != held]:
            del self._attached[name]
            await self._pool.forget(name)
        taken = {member.name for member in self._pool.members()}
        for name, server in wanted.items():
            if name not in taken:
                await self._guard(self._attach(server))

    async def keep(self) -> None:
        """Read anew until cancelled."""
        while True:
            await self._clock.sleep(self._settings.servers_seconds)
            await self._guard(self.read())

    async def servers(self) -> list[StoredServer]:
        """What is stored, disabled ones too."""
        return await self._store.list_servers()

    async def put(self, server: StoredServer, key: str | None) -> StoredServer:
        """Add or change a server. key: None keeps the one that it has, empty takes it away."""
        check_address(server.url, self._settings.allowed_hosts)
        held = {one.name: one for one in await self._store.list_servers()}
        before = held.get(server.name)
        if before is None:
            if server.name in {member.name for member in self._pool.members()}:
                raise Conflict(
                    f"The name {server.name!r} belongs to a server of the settings.",
                    reason=Reason.INVALID_VALUE,
                    param="name",
                )
            if len(held) >= _SERVERS_MAX:
                raise InvalidRequest(f"There are {_SERVERS_MAX} servers already.")
        sealed = None if before is None else before.sealed_key
        if before is not None and before.url != server.url and key is None:
            # A key is for the address that it was given for.
            sealed = None
        if key is not None:
            sealed = self._sealer.seal(server.name, key) if key else None
        stored = replace(server, sealed_key=sealed)
        await self._store.put_server(stored)
        await self.read()
        return stored

    async def delete(self, name: str) -> None:
        """Take a server away; its calls in progress fail. Raises NotFound."""
        if not await self._store.delete_server(name):
            raise NotFound(f"There is no server '{name}' that was added.", param="name")
        await self.read()

    async def put_route(self, route: ModelRoute) -> None:
        """Add or change a route."""
        await self._store.put_route(route)
        await self.read()

    async def delete_route(self, name: str) -> None:
        """Take a route away; raises NotFound."""
        if not await self._store.delete_route(name):
            raise NotFound(f"There is no route '{name}' that was added.", param="name")
        await self.read()

    async def _attach(self, server: StoredServer) -> None:
        check_address(server.url, self._settings.allowed_hosts)
        sealed = server.sealed_key
        key = None if sealed is None else self._sealer.open(server.name, sealed)
        self._pool.expect(
            server.name,
            frozenset(server.models),
            ours=False,
            weight=server.weight,
            priority=server.priority,
            tags=frozenset(server.tags),
        )
        await self._pool.attach(server.name, self._connect(server, key))
        self._attached[server.name] = server

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except TokenyardError as error:
            self._log.warning(Event.SERVERS_UNREAD, reason=error.reason)
