"""Model servers and routes of models: how they are, and how operators change them."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.upstreams import (
    LoadBody,
    Removed,
    RouteBody,
    RouteList,
    TargetBody,
    UpstreamBody,
    UpstreamList,
    UpstreamRequest,
)
from tokenyard.upstreams.members import Member
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.roster import ServerRoster, StoredServer
from tokenyard.upstreams.rules.aliases import ModelRoute, Target
from tokenyard.vocabulary.identity import Permission

_TAG = "Upstreams"


class UpstreamRoutes:
    """Handlers of model servers and routes."""

    def __init__(self, *, doorway: Doorway, pool: UpstreamPool, roster: ServerRoster) -> None:
        self._doorway = doorway
        self._pool = pool
        self._roster = roster

    def operations(self) -> list[Operation]:
        """What this module serves."""
        read, write = Permission.UPSTREAMS_READ, Permission.UPSTREAMS_WRITE
        return [
            Operation(
                "GET", "/api/upstreams", "listUpstreams",
                "Model servers: health, breaker, calls in progress, how busy they are.",
                self._list, _TAG, answer=UpstreamList, permission=read,
            ),
            Operation(
                "POST", "/api/upstreams", "putUpstream", "Add, change or disable a model server.",
                self._put, _TAG, UpstreamRequest, UpstreamBody, errors=(409,), permission=write,
            ),
            Operation(
                "DELETE", "/api/upstreams/{name}", "deleteUpstream",
                "Take away a model server that was added.",
                self._delete, _TAG, answer=Removed, errors=(404,), permission=write,
            ),
            Operation(
                "GET", "/api/model-routes", "listModelRoutes",
                "Aliases, canaries and stand-ins.",
                self._list_routes, _TAG, answer=RouteList, permission=read,
            ),
            Operation(
                "POST", "/api/model-routes", "putModelRoute", "Add or change a route.",
                self._put_route, _TAG, RouteBody, RouteBody, permission=write,
            ),
            Operation(
                "DELETE", "/api/model-routes/{name}", "deleteModelRoute", "Take away a route.",
                self._delete_route, _TAG, answer=Removed, errors=(404,), permission=write,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        operator = caller.may(Permission.UPSTREAMS_WRITE)
        stored = {server.name: server for server in await self._roster.servers()}
        members = self._pool.members()
        found = [_of_member(one, stored.get(one.name), operator) for one in members]
        there = {one.name for one in members}
        found += [_disabled(one, operator) for one in stored.values() if one.name not in there]
        return json_answer(UpstreamList(found))

    async def _put(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        asked = decode_request(UpstreamRequest, await self._doorway.body(request))
        server = StoredServer(
            name=asked.name,
            url=asked.url.rstrip("/").removesuffix("/v1"),
            kind=asked.kind,
            models=await self._models(asked),
            weight=asked.weight,
            priority=asked.priority,
            disabled=asked.disabled,
            tags=tuple(asked.tags),
        )
        stored = await self._roster.put(server, asked.api_key)
        member = next((one for one in self._pool.members() if one.name == stored.name), None)
        body = _disabled(stored, True) if member is None else _of_member(member, stored, True)
        return json_answer(body)

    async def _models(self, asked: UpstreamRequest) -> tuple[str, ...]:
        if asked.models is not UNSET:
            return tuple(asked.models)
        stored = (one for one in await self._roster.servers() if one.name == asked.name)
        return next((one.models for one in stored), ())

    async def _delete(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        name = request.path_params["name"]
        await self._roster.delete(name)
        return json_answer(Removed(name))

    async def _list_routes(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        routes = self._pool.routes
        return json_answer(RouteList([_route_body(routes[name]) for name in sorted(routes)]))

    async def _put_route(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        asked = decode_request(RouteBody, await self._doorway.body(request))
        route = ModelRoute(
            asked.name,
            tuple(Target(target.model, target.weight) for target in asked.targets),
            tuple(asked.fallbacks),
            asked.hedge_milliseconds,
            tuple(asked.tags),
        )
        await self._roster.put_route(route)
        return json_answer(_route_body(route))

    async def _delete_route(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        name = request.path_params["name"]
        await self._roster.delete_route(name)
        return json_answer(Removed(name))


def _of_member(member: Member, stored: StoredServer | None, operator: bool) -> UpstreamBody:
    load = member.load
    body = UpstreamBody(
        name=member.name,
        origin="engine" if member.ours else "settings" if stored is None else "api",
        health=member.readiness.value,
        breaker=member.breaker.state.value,
        models=sorted(member.served | member.expected),
        in_flight=member.in_flight,
        weight=member.weight,
        priority=member.priority,
        tags=sorted(member.tags),
    )
    if load is not None:
        body.load = LoadBody(
            load.running,
            load.waiting,
            load.kv_share,
            load.first_token_seconds,
            load.prefix_hit_share,
        )
    if stored is not None:
        _add_stored(body, stored, operator)
    return body


def _disabled(stored: StoredServer, operator: bool) -> UpstreamBody:
    body = UpstreamBody(
        name=stored.name,
        origin="api",
        health="disabled" if stored.disabled else "down",
        breaker="closed",
        models=sorted(stored.models),
        in_flight=0,
        weight=stored.weight,
        priority=stored.priority,
        tags=sorted(stored.tags),
    )
    _add_stored(body, stored, operator)
    return body


def _add_stored(body: UpstreamBody, stored: StoredServer, operator: bool) -> None:
    body.kind = stored.kind
    body.has_key = stored.sealed_key is not None
    if operator:
        body.url = stored.url


def _route_body(route: ModelRoute) -> RouteBody:
    targets = [TargetBody(target.model, target.weight) for target in route.targets]
    return RouteBody(
        route.name, targets, list(route.fallbacks), route.hedge_milliseconds, [*route.tags]
    )
