"""The readers: they cannot write, they are bounded, and they speak our own errors."""

import asyncio
import io
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.outage import Outage
from tokenyard.storage.sql.sqlite import SqliteDatabase
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.errors import NotFound, Unavailable
from tokenyard.vocabulary.reasons import Reason

SETTINGS = StorageSettings(readers=2, queued_reads_max=3, busy_seconds=0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "t.db"
    assert SqliteDatabase(made, SETTINGS).make_ready()
    connection = sqlite3.connect(made)
    with connection:
        connection.execute("CREATE TABLE notes (id TEXT)")
        connection.execute("INSERT INTO notes VALUES ('secret text')")
    connection.close()
    return made


@pytest.fixture
def readers(path: Path) -> Iterator[Readers]:
    clock = SimulatedClock()
    outage = Outage(clock, Log(io.StringIO(), clock), patience_seconds=10.0)
    made = Readers(SqliteDatabase(path, SETTINGS).connect_readers(), SETTINGS, outage)
    yield made
    made.close()


def count(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM notes")).scalar_one())


async def test_a_reader_cannot_write(readers: Readers) -> None:
    with pytest.raises(Unavailable):
        await readers.read(lambda connection: connection.execute(text("DELETE FROM notes")).close())
    assert await readers.read(count) == 1


async def test_one_query_reads_one_moment(readers: Readers, path: Path) -> None:
    def twice(connection: Connection) -> tuple[int, int]:
        before = count(connection)
        other = sqlite3.connect(path)
        with other:
            other.execute("INSERT INTO notes VALUES ('more')")
        other.close()
        return before, count(connection)

    assert await readers.read(twice) == (1, 1)
    assert await readers.read(count) == 2


async def test_reads_that_wait_are_bounded(readers: Readers) -> None:
    gate = threading.Event()

    def wait(connection: Connection) -> None:
        assert gate.wait(10)

    held = [asyncio.ensure_future(readers.read(wait)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refusal:
        await readers.read(count)
    assert refusal.value.reason is Reason.QUEUE_FULL
    for task in held[2:]:
        task.cancel()
    gate.set()
    await asyncio.gather(*held, return_exceptions=True)
    assert await readers.read(count) == 1


async def test_errors_are_ours_and_show_no_values(readers: Readers) -> None:
    query = text("SELECT * FROM nowhere WHERE id = :id").bindparams(id="secret text")
    with pytest.raises(Unavailable) as refusal:
        await readers.read(lambda connection: connection.execute(query).close())
    assert "nowhere" in str(refusal.value.__cause__)
    assert "secret text" not in f"{refusal.value} {refusal.value.__cause__}"


async def test_an_error_of_ours_passes(readers: Readers) -> None:
    def refuse(connection: Connection) -> None:
        raise NotFound("no")

    with pytest.raises(NotFound):
        await readers.read(refuse)
