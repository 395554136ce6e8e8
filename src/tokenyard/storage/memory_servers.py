"""Model servers and routes in memory, for tests."""

from tokenyard.upstreams.roster import StoredServer
from tokenyard.upstreams.rules.aliases import ModelRoute


class MemoryServerStore:
    """Keeps `upstreams.roster.ServerStore`."""

    def __init__(self) -> None:
        self._servers: dict[str, StoredServer] = {}
        self._routes: dict[str, ModelRoute] = {}

    async def list_servers(self) -> list[StoredServer]:
        """All of them, by name."""
        return [self._servers[name] for name in sorted(self._servers)]

    async def put_server(self, server: StoredServer) -> None:
        """Store a server in place of the one of its name."""
        self._servers[server.name] = server

    async def delete_server(self, name: str) -> bool:
        """Forget a server; False when there is none."""
        return self._servers.pop(name, None) is not None

    async def list_routes(self) -> list[ModelRoute]:
        """All of them, by name."""
        return [self._routes[name] for name in sorted(self._routes)]

    async def put_route(self, route: ModelRoute) -> None:
        """Store a route in place of the one of its name."""
        self._routes[route.name] = route

    async def delete_route(self, name: str) -> bool:
        """Forget a route; False when there is none."""
        return self._routes.pop(name, None) is not None
