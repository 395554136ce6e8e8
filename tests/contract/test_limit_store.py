"""The contract of `gateway.ports.LimitStore`: memory and Valkey count the same."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from contract.conftest import Store
from support.valkey_server import ValkeyServer
from tokenyard.gateway.limits import MemoryLimits
from tokenyard.gateway.ports import LimitStore
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.limits import RedisLimits
from tokenyard.upstreams.roster import StoredServer
from tokenyard.upstreams.rules.aliases import ModelRoute, Target
from tokenyard.vocabulary.ids import LimitId, OrganisationId
from tokenyard.vocabulary.limits import (
    EACH,
    Demand,
    Grant,
    Level,
    Limit,
    Measure,
    Refusal,
    Window,
)

NOW = 1_795_456_920.25
MINUTE = Limit(Level.KEY, EACH, Measure.REQUESTS, Window.MINUTE, 60, 3)
DAY = Limit(Level.PROJECT, EACH, Measure.INPUT_TOKENS, Window.DAY, 100)
PLACES = Limit(Level.KEY, EACH, Measure.STREAMS, Window.NOW, 2)


about: Any = pytest.approx


class Counts:
    """A store by the test's own time; `settle` returns once it is settled."""

    def __init__(self, store: LimitStore, tasks: TaskSupervisor) -> None:
        self._store = store
        self._tasks = tasks
        self.now = NOW

    async def take(self, *demands: Demand, place: str = "p") -> list[Grant] | Refusal:
        return await self._store.take(demands, place=place, now=self.now, until=self.now + 60)

    async def settle(self, *changes: Demand, place: str = "p") -> None:
        self._store.post_settle(changes, place=place, now=self.now)
        for task in list(self._tasks._tasks):
            await task


@pytest.fixture(params=["memory", "valkey"])
async def counts(
    request: pytest.FixtureRequest, supervisor: TaskSupervisor
) -> AsyncIterator[Counts]:
    if request.param == "memory":
        yield Counts(MemoryLimits(), supervisor)
        return
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    async with open_redis(StorageSettings(redis_url=f"{server.url}/11")) as connection:
        await connection.client.flushdb()
        yield Counts(RedisLimits(connection, supervisor, own_time=True), supervisor)


async def test_a_minute(counts: Counts) -> None:
    for left in (2, 1, 0):
        told = await counts.take(Demand(MINUTE, "a", 1))
        assert told == [Grant(left, about(3.0 - left, abs=1e-3))]
    assert await counts.take(Demand(MINUTE, "a", 1)) == Refusal(0, about(1.0, abs=1e-3), 0)
    assert isinstance(await counts.take(Demand(MINUTE, "b", 3)), list)
    assert await counts.take(Demand(MINUTE, "c", 4)) == Refusal(0, None, 3)
    counts.now += 1.001
    assert isinstance(await counts.take(Demand(MINUTE, "a", 1)), list)


async def test_a_day(counts: Counts) -> None:
    assert isinstance(await counts.take(Demand(DAY, "a", 90)), list)
    refused = await counts.take(Demand(DAY, "a", 11))
    assert isinstance(refused, Refusal)
    assert refused.remaining == 10
    assert refused.wait_seconds == pytest.approx(86_400 - NOW % 86_400, abs=1e-3)
    await counts.settle(Demand(DAY, "a", -80))
    assert isinstance(await counts.take(Demand(DAY, "a", 90)), list)
    counts.now += 86_400
    assert isinstance(await counts.take(Demand(DAY, "a", 100)), list)
    await counts.settle(Demand(DAY, "a", 50))
    assert await counts.take(Demand(DAY, "a", 0)) == [
        Grant(0, about(86_400 - NOW % 86_400, abs=1e-3))
    ]


async def test_places(counts: Counts) -> None:
    assert isinstance(await counts.take(Demand(PLACES, "a", 1), place="one"), list)
    assert isinstance(await counts.take(Demand(PLACES, "a", 1), place="two"), list)
    assert await counts.take(Demand(PLACES, "a", 1), place="three") == Refusal(0, 1.0, 0)
    await counts.settle(Demand(PLACES, "a", 0), place="one")
    await counts.settle(Demand(PLACES, "a", 0), place="one")
    assert isinstance(await counts.take(Demand(PLACES, "a", 1), place="three"), list)
    counts.now += 61
    assert isinstance(await counts.take(Demand(PLACES, "a", 1), place="four"), list)


async def test_nothing_is_taken_when_one_of_them_refuses(counts: Counts) -> None:
    many = (Demand(MINUTE, "a", 1), Demand(DAY, "d", 60), Demand(PLACES, "p", 1))
    assert isinstance(await counts.take(*many), list)
    refused = await counts.take(*many)
    assert isinstance(refused, Refusal)
    assert refused.place == 1
    told = await counts.take(Demand(MINUTE, "a", 0), Demand(DAY, "d", 0))
    assert isinstance(told, list)
    assert [grant.remaining for grant in told] == [2, 40]
    assert isinstance(await counts.take(Demand(PLACES, "p", 1), place="other"), list)


async def test_debt_is_paid_before_the_next(counts: Counts) -> None:
    """An answer took more than was set aside for it."""
    await counts.take(Demand(MINUTE, "a", 1))
    await counts.settle(Demand(MINUTE, "a", 10))
    refused = await counts.take(Demand(MINUTE, "a", 1))
    assert isinstance(refused, Refusal)
    assert refused.wait_seconds == pytest.approx(9.0, abs=1e-3)
    await counts.settle(Demand(MINUTE, "a", -11))
    assert isinstance(await counts.take(Demand(MINUTE, "a", 3)), list)


async def test_both_stores_agree_on_any_course(
    valkey_server: ValkeyServer, supervisor: TaskSupervisor
) -> None:
    """Five hundred steps, seeded: each decision and each remainder is the same."""
    draw = random.Random(7)
    limits = [
        Limit(Level.KEY, EACH, Measure.REQUESTS, Window.MINUTE, 90, 5),
        Limit(Level.KEY, EACH, Measure.INPUT_TOKENS, Window.MINUTE, 7_000),
        Limit(Level.KEY, EACH, Measure.OUTPUT_TOKENS, Window.DAY, 90_000),
        Limit(Level.KEY, EACH, Measure.STREAMS, Window.NOW, 3),
    ]
    async with open_redis(StorageSettings(redis_url=f"{valkey_server.url}/12")) as connection:
        await connection.client.flushdb()
        stores = [
            Counts(MemoryLimits(), supervisor),
            Counts(RedisLimits(connection, supervisor, own_time=True), supervisor),
        ]
        held: list[tuple[str, list[Demand]]] = []
        for step in range(500):
            pause = draw.choice((0.0, 0.05, 0.7, 3.0))
            sizes = (1, draw.randrange(4_000), draw.randrange(900), 1)
            demands = [
                Demand(limit, f"{limit.name}:a", size)
                for limit, size in zip(limits, sizes, strict=True)
            ]
            told = []
            for store in stores:
                store.now += pause
                told.append(await store.take(*demands, place=f"p{step}"))
            assert type(told[0]) is type(told[1]), step
            if isinstance(told[0], list) and isinstance(told[1], list):
                assert [one.remaining for one in told[0]] == [one.remaining for one in told[1]]
                held.append((f"p{step}", demands))
            elif isinstance(told[0], Refusal) and isinstance(told[1], Refusal):
                assert (told[0].place, told[0].remaining) == (told[1].place, told[1].remaining)
            if held and draw.random() < 0.5:
                place, demands = held.pop(draw.randrange(len(held)))
                changes = [
                    Demand(one.limit, one.bucket, draw.randrange(-one.amount, 50))
                    for one in demands
                ]
                for store in stores:
                    await store.settle(*changes, place=place)


async def test_definitions_replace_each_other(store: Store) -> None:
    mine = OrganisationId("org_a")
    first = Limit(
        Level.KEY, "key_1", Measure.SPEND, Window.DAY, 2**53 + 1, 0, True, LimitId("1"), mine
    )
    system = Limit(Level.SYSTEM, EACH, Measure.STREAMS, Window.NOW, 5, id=LimitId("2"))
    second = Limit(Level.KEY, "key_1", Measure.SPEND, Window.DAY, 7, id=LimitId("3"))
    for one in (first, system, second):
        await store.limits.put_limit(one)
    assert {one.id: one for one in await store.limits.list_limits()} == {
        "1": first, "2": system, "3": second,
    }  # fmt: skip
    again = Limit(
        Level.KEY, "key_1", Measure.SPEND, Window.DAY, 9, id=LimitId("4"), organisation=mine
    )
    await store.limits.put_limit(again)
    assert {one.id for one in await store.limits.list_limits()} == {"2", "3", "4"}
    assert await store.limits.delete_limit(LimitId("4"))
    assert not await store.limits.delete_limit(LimitId("4"))


async def test_servers_and_routes_replace_each_other(store: Store) -> None:
    one = StoredServer("a", "http://x", "vllm", ("m", "n"), 3, 2, False, ("eu",), b"\0sealed")
    await store.servers.put_server(StoredServer("b", "http://y", disabled=True))
    await store.servers.put_server(replace(one, weight=1, sealed_key=None))
    await store.servers.put_server(one)
    assert (await store.servers.list_servers())[0] == one
    assert [server.name for server in await store.servers.list_servers()] == ["a", "b"]
    assert await store.servers.delete_server("b")
    assert not await store.servers.delete_server("b")
    route = ModelRoute("chat", (Target("m", 9), Target("n")), ("spare",), 250, ("eu",))
    await store.servers.put_route(ModelRoute("chat", ()))
    await store.servers.put_route(route)
    assert await store.servers.list_routes() == [route]
    assert await store.servers.delete_route("chat")
    assert not await store.servers.delete_route("chat")
