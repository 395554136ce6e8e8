"""Backups beside a writer, and moves between SQLite and Postgres: nothing is lost on the way."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from contract.conftest import Opener, SqliteOpener
from contract.samples import AT, MINE, conversation, finished, item, response, usage_row
from contract.test_identity_store import entry, key
from support.job_records import make_job, submitted
from support.postgres_server import PostgresServer
from tokenyard.ledger.ports import GroupBy
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.copies import back_up, move
from tokenyard.storage.sql.store import SqlStore
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.ids import ConversationId

SETTINGS = StorageSettings(busy_seconds=2.0)


async def fill(store: SqlStore) -> None:
    opened = response(conversation=conversation().id)
    await store.chat.add_conversation(conversation(), [item("a"), item("b")])
    await store.chat.open_response(opened, [item("c")], AT)
    await store.chat.finish_response(finished(opened), usage_row())
    await store.identity.add_key(key(), entry())
    assert await store.jobs.add_jobs([submitted(make_job(1))], open_max=10)


async def check(store: SqlStore) -> None:
    assert await store.chat.find_conversation(conversation().id, MINE) is not None
    items = await store.chat.list_items(ConversationId("conv_001"), limit=10)
    assert [one.id for one in items][:3] == ["msg_a", "msg_b", "msg_c"]
    assert len(items) == 4
    assert await store.identity.find_key("hash-a") == key()
    (total,) = await store.ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL)
    assert total.cost.nanos == 2**53 + 1
    found, _ = await store.jobs.open_jobs()
    assert [job.id for job in found] == [make_job(1).id]


async def test_a_backup_beside_a_writer_is_whole(sqlite: SqliteOpener, tmp_path: Path) -> None:
    target = tmp_path / "backup.sqlite3"
    async with sqlite.open() as store:
        await fill(store)
        writing = [store.ledger.add_usage(usage_row(f"row_{n}")) for n in range(50)]
        size, *_ = await asyncio.gather(asyncio.to_thread(back_up, sqlite.path, target), *writing)
        assert size == target.stat().st_size
        assert target.stat().st_mode & 0o077 == 0
    connection = sqlite3.connect(target)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM items").fetchone() == (4,)
    connection.close()
    with pytest.raises(StartError, match="there already"):
        back_up(sqlite.path, target)
    with pytest.raises(StartError, match="no database at"):
        back_up(tmp_path / "none", tmp_path / "new")


async def test_a_database_is_moved_to_postgres_and_back(
    sqlite: SqliteOpener,
    postgres_server: PostgresServer,
    supervisor: TaskSupervisor,
    tmp_path: Path,
) -> None:
    async with sqlite.open() as store:
        await fill(store)
    url, seen = postgres_server.make_database(), dict[str, int]()
    move(str(sqlite.path), url, SETTINGS, seen.__setitem__)
    assert seen["items"] == 4
    assert seen["usage_rows"] == 1
    async with Opener(url, supervisor).open() as moved:
        await check(moved)
        # What is added afterwards comes after what was moved.
        await moved.chat.add_items(conversation().id, MINE, [item("later")], AT + 9)
        items = await moved.chat.list_items(ConversationId("conv_001"), limit=10)
        assert items[-1].id == "msg_later"
    back = tmp_path / "back" / "t.db"
    move(url, str(back), SETTINGS, lambda name, rows: None)
    async with Opener(back, supervisor).open() as again:
        assert await again.identity.find_key("hash-a") == key()
        assert len(await again.chat.list_items(ConversationId("conv_001"), limit=10)) == 5


async def test_a_database_that_holds_something_is_not_moved_over(
    sqlite: SqliteOpener, postgres_server: PostgresServer, supervisor: TaskSupervisor
) -> None:
    async with sqlite.open():
        pass
    url = postgres_server.make_database()
    async with Opener(url, supervisor).open() as store:
        await fill(store)
    with pytest.raises(StartError, match="it must be new"):
        move(str(sqlite.path), url, SETTINGS, lambda name, rows: None)
    async with Opener(url, supervisor).open() as store:
        await check(store)
