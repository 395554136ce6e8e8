"""Keeps `upstreams.roster.ServerStore` in SQL: bodies as JSON, sealed keys as bytes."""

from dataclasses import replace

import msgspec
from sqlalchemy import Connection, select

from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_update
from tokenyard.storage.sql.operating_tables import model_routes, upstream_servers
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.upstreams.roster import StoredServer
from tokenyard.upstreams.rules.aliases import ModelRoute

_SERVER = upstream_servers.c
_PUT_SERVER = insert_or_update(upstream_servers, [_SERVER.name], [_SERVER.body, _SERVER.sealed_key])
_PUT_ROUTE = insert_or_update(model_routes, [model_routes.c.name], [model_routes.c.body])


class SqlServerStore:
    """Model servers and routes that were defined through the API."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def list_servers(self) -> list[StoredServer]:
        """All of them, by name."""
        found = []
        for row in await self._readers.all(select(upstream_servers)):
            server = msgspec.json.decode(row.body, type=StoredServer)
            sealed = None if row.sealed_key is None else bytes(row.sealed_key)
            found.append(replace(server, sealed_key=sealed))
        return sorted(found, key=lambda one: one.name)

    async def put_server(self, server: StoredServer) -> None:
        """Store a server in place of the one of its name."""
        body = msgspec.json.encode(replace(server, sealed_key=None)).decode()
        values = {"name": server.name, "body": body, "sealed_key": server.sealed_key}

        def change(connection: Connection) -> None:
            connection.execute(_PUT_SERVER, values)

        await self._writer.write(change)

    async def delete_server(self, name: str) -> bool:
        """Forget a server; False when there is none."""
        return (
            await self._writer.write(run(upstream_servers.delete().where(_SERVER.name == name)))
            == 1
        )

    async def list_routes(self) -> list[ModelRoute]:
        """All of them, by name."""
        found = await self._readers.all(select(model_routes))
        routes = [msgspec.json.decode(row.body, type=ModelRoute) for row in found]
        return sorted(routes, key=lambda one: one.name)

    async def put_route(self, route: ModelRoute) -> None:
        """Store a route in place of the one of its name."""
        values = {"name": route.name, "body": msgspec.json.encode(route).decode()}

        def change(connection: Connection) -> None:
            connection.execute(_PUT_ROUTE, values)

        await self._writer.write(change)

    async def delete_route(self, name: str) -> bool:
        """Forget a route; False when there is none."""
        statement = model_routes.delete().where(model_routes.c.name == name)
        return await self._writer.write(run(statement)) == 1
