"""The way to a real Valkey: a restart is survived, a frozen server is given up in time."""

import signal
from collections.abc import Iterator

import pytest

from support.valkey_server import ValkeyServer, run_valkey
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.redis.connection import open_redis
from tokenyard.vocabulary.errors import InternalFailure, StartError, Unavailable
from tokenyard.vocabulary.reasons import Reason


@pytest.fixture(scope="module")
def own_server() -> Iterator[ValkeyServer]:
    with run_valkey(durable=True) as server:
        yield server


async def test_a_restart_is_survived_and_a_refusal_is_ours(own_server: ValkeyServer) -> None:
    async with open_redis(StorageSettings(redis_url=own_server.url)) as connection:
        await connection.ask(connection.client.set("a", b"1"))
        own_server.kill()
        assert not await connection.is_healthy()
        with pytest.raises(Unavailable) as away:
            await connection.ask(connection.client.get("a"))
        assert away.value.reason is Reason.STORAGE_UNAVAILABLE
        own_server.start()
        assert await connection.ask(connection.client.get("a")) == b"1"
        with pytest.raises(InternalFailure):
            await connection.ask(connection.client.lpush("a", b"not a list"))


async def test_a_frozen_server_is_given_up_in_time(own_server: ValkeyServer) -> None:
    settings = StorageSettings(redis_url=own_server.url, redis_answer_seconds=0.2)
    async with open_redis(settings) as connection:
        own_server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await connection.ask(connection.client.get("a"))
        finally:
            own_server.process.send_signal(signal.SIGCONT)
        assert await connection.is_healthy()


async def test_an_address_where_nobody_answers_stops_the_start() -> None:
    with pytest.raises(StartError, match="redis_url"):
        async with open_redis(StorageSettings(redis_url="redis://127.0.0.1:1")):
            pass
