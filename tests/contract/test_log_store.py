"""Every place that keeps logs: memory, SQLite, Postgres, and Valkey before a database."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contract.conftest import Store
from contract.samples import AT
from contract.samples import response as make_response
from support.valkey_server import ValkeyServer
from tokenyard.chat.log_ports import Behind, LogStore, Outcome, Production
from tokenyard.chat.records import ResponseStatus
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.chat.streams import log_event
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.streams import RedisLogStore
from tokenyard.vocabulary.ids import ItemId, ProducerId, ResponseId

A, B = ProducerId("prod_a"), ProducerId("prod_b")
RESPONSE = make_response()
ID = RESPONSE.id
MINE = Production(ID, A, 1, ItemId("msg_answer"), None, b'{"model":"m"}')


def chunk(first: int, count: int = 1, *, epoch: int = 1, final: bool = False) -> Chunk:
    events = tuple(
        log_event(ID, epoch, number, "t", b'{"n":%d}' % number)
        for number in range(first, first + count)
    )
    return Chunk(ID, epoch, events, (7, first), final)


@pytest.fixture(params=["apart", "together"])
async def logs(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[LogStore]:
    if request.param == "together":
        yield store.streams
        return
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    async with open_redis(StorageSettings(redis_url=server.url)) as connection:
        await connection.ask(connection.client.flushall())
        yield RedisLogStore(connection, store.streams, clock=RealClock(), kept_seconds=600)


async def test_chunks_come_back_as_they_went_in_and_once(store: Store, logs: LogStore) -> None:
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    for one in (chunk(0, 4), chunk(4), chunk(5, 2)):
        assert await logs.append([one]) == [Outcome.KEPT]
        # The reply was lost, and it is sent again.
        assert await logs.append([one]) == [Outcome.KEPT]
    assert list(await logs.read(ID, 0, 99)) == [chunk(0, 4), chunk(4), chunk(5, 2)]
    assert list(await logs.read(ID, 2, 1)) == [chunk(0, 4)]
    assert list(await logs.read(ID, 4, 99)) == [chunk(4), chunk(5, 2)]
    assert list(await logs.read(ID, 7, 99)) == []
    found = await logs.wait({ID: 4})
    assert list(found[ID]) == [chunk(4), chunk(5, 2)]
    # Whoever comes next may be further back than the one before.
    assert next(iter((await logs.wait({ID: 0}))[ID])).first == 0
    assert list((await logs.wait({ID: 5}))[ID]) == [chunk(5, 2)]
    await logs.forget([ID])
    assert list(await logs.read(ID, 0, 99)) == []


async def test_a_gap_is_told_and_nothing_is_kept(store: Store, logs: LogStore) -> None:
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    assert await logs.append([chunk(0, 2)]) == [Outcome.KEPT]
    assert await logs.append([chunk(5)]) == [Behind(2)]
    assert list(await logs.read(ID, 0, 99)) == [chunk(0, 2)]


async def test_a_fenced_producer_writes_nothing(store: Store, logs: LogStore) -> None:
    """Also when it never wrote before, and when the new one has not written yet."""
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    assert await logs.append([chunk(0, 2)]) == [Outcome.KEPT]
    assert await store.streams.take(ID, 1, B)
    assert not await store.streams.take(ID, 1, A)
    await logs.fence(ID, 2)
    assert await logs.append([chunk(2)]) == [Outcome.FENCED]
    assert await store.streams.take(ID, 2, A)
    await logs.fence(ID, 3)
    assert await logs.append([chunk(2, epoch=2)]) == [Outcome.FENCED]
    assert await logs.append([chunk(2, epoch=3)]) == [Outcome.KEPT]
    assert list(await logs.read(ID, 0, 9)) == [chunk(0, 2), chunk(2, epoch=3)]


async def test_the_end_is_stored_once_and_found_by_every_reader(
    store: Store, logs: LogStore
) -> None:
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    assert await logs.append([chunk(0, 2)]) == [Outcome.KEPT]
    over = replace(RESPONSE, status=ResponseStatus.COMPLETED, finished_at=AT + 1)
    stale = chunk(2, epoch=0, final=True)
    assert not await store.chat.finish_response(over, None, stale)
    ending = chunk(2, 3, final=True)
    assert await store.chat.finish_response(over, None, ending)
    assert not await store.chat.finish_response(over, None, ending)
    # Before it was appended where logs are kept apart, and after.
    for _ in range(2):
        assert list(await logs.read(ID, 0, 9)) == [chunk(0, 2), ending]
        assert list(await logs.read(ID, 2, 9)) == [ending]
        assert await logs.append([ending]) == [Outcome.KEPT]
    held = await store.streams.find_production(ID)
    assert held == replace(MINE, producer=None, request=b"", following=5, closed=True)
    assert not await store.streams.cancel(ID)
    assert not await store.streams.take(ID, 1, B)
    await logs.sweep(AT + 2)
    assert list(await store.streams.read(ID, 0, 9)) == []


async def test_who_is_an_orphan(store: Store) -> None:
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    streams = store.streams

    async def orphans(who: ProducerId, *dead: ProducerId) -> list[ResponseId]:
        found = await streams.find_orphans(who, frozenset(dead), limit=9)
        assert all(one.production.response == one.response.id for one in found)
        return [one.response.id for one in found]

    assert await streams.beat(A) == {A: 1}
    assert await streams.beat(B) == {A: 1, B: 1}
    assert await streams.beat(A) == {A: 2, B: 1}
    assert await orphans(A) == await orphans(B) == []
    assert await orphans(B, A) == [ID]
    assert await streams.cancel(ID)
    assert await orphans(A) == [ID]
    assert await orphans(B) == []
    assert await streams.release(ID, 1)
    assert await orphans(B) == [ID]
    assert await streams.take(ID, 1, B)
    assert not await streams.release(ID, 1)
    await streams.bury(frozenset({A, B}))
    assert await streams.beat(A) == {A: 1, B: 1}


async def test_a_deleted_response_takes_its_log_with_it(store: Store) -> None:
    await store.chat.open_response(RESPONSE, [], AT, MINE)
    await store.streams.append([chunk(0, 2)])
    over = replace(RESPONSE, status=ResponseStatus.CANCELLED, finished_at=AT + 1)
    assert await store.chat.finish_response(over, None, chunk(2, final=True))
    assert await store.chat.delete_response(ID, RESPONSE.project)
    assert list(await store.streams.read(ID, 0, 9)) == []
    assert await store.streams.find_production(ID) is None
    assert await store.streams.append([chunk(3)]) == [Outcome.FENCED]
