"""The pool follows its servers' health and counts calls in flight."""

import pytest

from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Health
from tokenyard.upstreams.scripted import ScriptedUpstream
from tokenyard.vocabulary.errors import NotFound, TokenyardError, Unavailable
from tokenyard.vocabulary.reasons import Reason


def reason_of(pool: UpstreamPool, model: str) -> Reason:
    with pytest.raises(TokenyardError) as caught, pool.lend(model):
        pass
    return caught.value.reason


async def test_life_of_a_server() -> None:
    clock, heard = SimulatedClock(), []
    async with TaskSupervisor(lambda *_: None) as tasks:
        pool = UpstreamPool(
            UpstreamSettings(),
            clock=clock,
            tasks=tasks,
            metrics=GatewayMetrics(),
            ready_changed=lambda name, ready: heard.append((name, ready)),
        )
        assert reason_of(pool, "m") is Reason.MODEL_NOT_FOUND
        pool.expect("one", frozenset({"m"}))
        assert reason_of(pool, "m") is Reason.MODEL_LOADING
        server = ScriptedUpstream("m")
        server.reported_health = Health.LOADING
        await pool.attach("one", server)
        await clock.advance(1)
        assert reason_of(pool, "m") is Reason.MODEL_LOADING
        assert not pool.ready
        server.reported_health = Health.READY
        await clock.advance(0.2)
        assert pool.ready
        assert [model.id for model in pool.models()] == ["m"]
        assert pool.find("m").window() == 8192
        server.reported_health = Health.DOWN
        await clock.advance(1)
        assert reason_of(pool, "m") is Reason.UPSTREAM_UNAVAILABLE
        await pool.detach("one")
        assert server.closed
        assert reason_of(pool, "m") is Reason.UPSTREAM_UNAVAILABLE
        second = ScriptedUpstream("m")
        await pool.attach("one", second)
        await clock.advance(0.2)
        with pool.lend("m") as lent:
            assert lent.member.upstream is second
        await pool.close()
    assert heard == [("one", True), ("one", False), ("one", True), ("one", False)]


async def test_calls_spread_over_the_idle() -> None:
    clock = SimulatedClock()
    async with TaskSupervisor(lambda *_: None) as tasks:
        pool = UpstreamPool(UpstreamSettings(), clock=clock, tasks=tasks, metrics=GatewayMetrics())
        servers = {name: ScriptedUpstream("m") for name in ("a", "b")}
        for name, server in servers.items():
            pool.expect(name, frozenset({"m"}))
            await pool.attach(name, server)
        await clock.advance(1)
        with pool.lend("m") as first, pool.lend("m") as second:
            assert {first.served_by, second.served_by} == {"a", "b"}
        with pool.lend("m") as again:
            assert again.served_by == "a"
        await pool.close()


async def test_unknown_model_and_missing_server_differ() -> None:
    async with TaskSupervisor(lambda *_: None) as tasks:
        pool = UpstreamPool(
            UpstreamSettings(), clock=SimulatedClock(), tasks=tasks, metrics=GatewayMetrics()
        )
        pool.expect("one", frozenset({"m"}))
        with pytest.raises(NotFound), pool.lend("n"):
            pass
        with pytest.raises(Unavailable), pool.lend("m"):
            pass


async def test_servers_of_others_do_not_hold_us_up_unless_there_are_no_others() -> None:
    clock = SimulatedClock()
    async with TaskSupervisor(lambda *_: None) as tasks:
        pool = UpstreamPool(UpstreamSettings(), clock=clock, tasks=tasks, metrics=GatewayMetrics())
        servers = {name: ScriptedUpstream(name) for name in ("theirs", "gone", "ours")}
        servers["gone"].reported_health = Health.DOWN
        for name in ("gone", "theirs"):
            pool.expect(name, frozenset({name}), ours=False)
            await pool.attach(name, servers[name])
        assert not pool.ready
        await clock.advance(1)
        assert pool.ready
        pool.expect("ours", frozenset({"ours"}))
        assert not pool.ready
        await pool.attach("ours", servers["ours"])
        await clock.advance(1)
        assert pool.ready
        assert reason_of(pool, "gone") is Reason.UPSTREAM_UNAVAILABLE
        await pool.close()
