"""One call over several servers: tries before the first token, stand-ins, breakers, time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tokenyard.protocol.sse import SseEvent
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.routing_settings import RouteSettings, RoutingSettings, TargetSettings
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.upstreams.router import RoutedUpstream
from tokenyard.upstreams.scripted import Script, ScriptedUpstream
from tokenyard.vocabulary.errors import (
    InvalidRequest,
    LimitReached,
    TokenyardError,
    Unavailable,
    UpstreamFailed,
)
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.reasons import Reason

CALL = GenerationCall(GenerationPath.CHAT, b'{"model":"m"}', "req_1")
GONE = Unavailable("gone", reason=Reason.UPSTREAM_UNAVAILABLE)


class World:
    """A pool of servers that say what they are told."""

    def __init__(self, pool: UpstreamPool, clock: SimulatedClock, metrics: GatewayMetrics) -> None:
        self.pool = pool
        self.clock = clock
        self.metrics = metrics
        self.servers: dict[str, ScriptedUpstream] = {}

    async def add(self, name: str, model: str = "m", **script: Any) -> ScriptedUpstream:
        server = self.servers[name] = ScriptedUpstream(model, Script(**script))
        self.pool.expect(name, frozenset({model}))
        await self.pool.attach(name, server)
        await self.clock.advance(0.2)
        return server

    async def ask(self, model: str = "m", *, whole: bool = False) -> tuple[int, str]:
        """How many events came, and from whom."""
        with self.pool.lend(model) as upstream:
            if whole:
                await upstream.complete(CALL)
                return 1, upstream.served_by
            count = 0
            async for _ in upstream.stream(CALL):
                count += 1
            return count, upstream.served_by


@asynccontextmanager
async def world(**routing: Any) -> AsyncIterator[World]:
    clock, metrics = SimulatedClock(), GatewayMetrics()
    settings = UpstreamSettings(routing=RoutingSettings(**routing))
    async with TaskSupervisor(lambda *_: None) as tasks:
        pool = UpstreamPool(settings, clock=clock, tasks=tasks, metrics=metrics)
        yield World(pool, clock, metrics)
        assert all(member.in_flight == 0 for member in pool.members())
        await pool.close()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    "error", [GONE, Unavailable("full", reason=Reason.QUEUE_FULL), LimitReached("slow down")]
)
async def test_another_server_is_asked_before_the_first_token(
    whole: bool, error: TokenyardError
) -> None:
    async with world() as yard:
        await yard.add("a", refuse=error)
        await yard.add("b")
        assert (await yard.ask(whole=whole))[1] == "b"
        assert b'upstream_retries_total{upstream="a"} 1.0' in yard.metrics.render()


async def test_after_the_first_token_nobody_else_is_asked() -> None:
    async with world() as yard:
        await yard.add("a", broken=UpstreamFailed("cut"), break_after=1)
        other = await yard.add("b")
        with pytest.raises(UpstreamFailed):
            await yard.ask()
        assert other.calls == []


async def test_what_is_wrong_with_the_request_is_not_tried_again() -> None:
    async with world() as yard:
        await yard.add("a", refuse=InvalidRequest("no"))
        other = await yard.add("b")
        with pytest.raises(InvalidRequest):
            await yard.ask()
        assert other.calls == []


async def test_tries_have_an_end() -> None:
    async with world(attempts_max=2) as yard:
        servers = [await yard.add(name, refuse=GONE) for name in "abc"]
        with pytest.raises(Unavailable):
            await yard.ask()
        assert sum(len(server.calls) for server in servers) == 2


async def test_another_model_stands_in_when_none_of_the_first_can_answer() -> None:
    route = RouteSettings(name="m", targets=(TargetSettings(model="m"),), fallbacks=("spare",))
    async with world(routes=(route,)) as yard:
        await yard.add("a", refuse=GONE)
        spare = await yard.add("b", "spare")
        assert (await yard.ask())[1] == "b"
        assert msgspec.json.decode(spare.calls[0].body) == {"model": "spare"}
        await yard.pool.detach("a")
        assert (await yard.ask())[1] == "b"
        assert msgspec.json.decode(spare.calls[1].body) == {"model": "spare"}
        assert yard.pool.find("m").id == "spare"


async def test_a_server_that_keeps_failing_is_left_alone_and_tried_again() -> None:
    async with world(breaker_failures=2, breaker_seconds_min=5.0) as yard:
        broken = await yard.add("a", refuse=GONE)
        await yard.add("b")
        for _ in range(4):
            assert (await yard.ask())[1] == "b"
        assert len(broken.calls) == 2
        assert b'upstream_breaker_open{upstream="a"} 1.0' in yard.metrics.render()
        await yard.clock.advance(5.0)
        broken.script = Script()
        assert (await yard.ask())[1] == "a"
        assert (await yard.ask())[1] == "a"
        assert b'upstream_breaker_open{upstream="a"} 0.0' in yard.metrics.render()


async def test_an_answer_has_a_longest_time() -> None:
    async with world(total_seconds=0.0001) as yard:
        await yard.add("a", pieces=("x",) * 50)
        seen: list[SseEvent] = []

        async def read(upstream: RoutedUpstream) -> None:
            async for event in upstream.stream(CALL):
                seen.append(event)
                await yard.clock.advance(1)

        with yard.pool.lend("m") as upstream, pytest.raises(UpstreamFailed) as failed:
            await read(upstream)
        assert failed.value.reason is Reason.UPSTREAM_TIMEOUT
        assert len(seen) == 1


async def test_how_busy_servers_are_is_told_by_model() -> None:
    async with world() as yard:
        server = await yard.add("a")
        server.reported_load = Load(3, 4, 0.5)
        await yard.clock.advance(4)
        assert yard.pool.loads("m") == [Load(3, 4, 0.5)]
        assert yard.pool.loads("other") == []
