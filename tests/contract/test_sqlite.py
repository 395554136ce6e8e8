"""What the SQLite store promises beyond the ports: other processes, crashes, and broken files."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from contract.conftest import SqliteOpener
from contract.samples import (
    AT,
    ME,
    MINE,
    STRANGE_TEXT,
    conversation,
    finished,
    item,
    response,
    usage_row,
)
from contract.test_identity_store import entry, key, session
from tokenyard.chat.records import ResponseStatus
from tokenyard.ledger.ports import GroupBy
from tokenyard.ledger.records import Scope, UsageQuery
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import open_sql_store
from tokenyard.vocabulary.errors import InternalFailure, StartError, Unavailable
from tokenyard.vocabulary.ids import ConversationId, ItemId, KeyId, ResponseId, SessionId
from tokenyard.vocabulary.reasons import Reason

CHILD = Path(__file__).parent / "writing_child.py"
TESTS = CHILD.parents[1]
SOURCE = TESTS.parent / "src"


def start_child(path: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), *options],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{SOURCE}:{TESTS}"},
    )


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {
            "responses": connection.execute(
                "SELECT id, status, output_id FROM responses"
            ).fetchall(),
            "items": connection.execute("SELECT id FROM items").fetchall(),
            "usage": connection.execute("SELECT id FROM usage_rows").fetchall(),
        }
    finally:
        connection.close()


@pytest.mark.parametrize("acknowledged", [1, 40, 160])
def test_what_was_acknowledged_survives_a_kill_and_nothing_is_half_there(
    tmp_path: Path, acknowledged: int
) -> None:
    path = tmp_path / "t.db"
    with start_child(path) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(acknowledged + 1)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    told = [line.decode().split() for line in lines if line.endswith(b"\n")][1:]
    assert len(told) >= acknowledged
    found = tables(path)
    states = {row[0]: row for row in found["responses"]}
    items = {row[0] for row in found["items"]}
    usage = {row[0] for row in found["usage"]}
    for what, name in told:
        match what:
            case "opened":
                assert name in states
            case "finished":
                assert states[name][1] == "completed"
            case "billed":
                assert name in usage
    for name, status, output in states.values():
        ended = status == "completed"
        assert f"msg_ask_{name}" in items
        assert (f"msg_of_{name}" in items) is ended
        assert (output is not None) is ended
        assert (name in usage) is ended


async def test_two_processes_write_and_read_at_once(sqlite: SqliteOpener) -> None:
    """As `tokenyard keys create` does while the server runs."""
    with start_child(sqlite.path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        async with sqlite.open() as store:
            for number in range(20):
                await store.identity.add_key(key(str(number)), entry())
                assert await store.identity.find_key(f"hash-{number}") is not None
            line = b""
            while not line.startswith(b"finished"):
                line = child.stdout.readline()
            done = await store.chat.find_response(ResponseId(line.decode().split()[1]), MINE)
            assert done is not None
            assert done.status is ResponseStatus.COMPLETED
        child.kill()


def test_processes_that_open_a_new_database_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "data" / "t.db"
    children = [start_child(path, "--leave") for _ in range(4)]
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert (child.returncode, out) == (0, b"ready\n")
    assert tables(path) == {"responses": [], "items": [], "usage": []}


async def test_what_was_written_is_there_after_opening_again(sqlite: SqliteOpener) -> None:
    async with sqlite.open() as store:
        await store.chat.add_conversation(conversation(), [item("a")])
        await store.ledger.add_usage(usage_row())
        await store.identity.add_key(key(), entry())
    async with sqlite.open() as store:
        assert await store.chat.find_conversation(conversation().id, MINE) == conversation()
        assert await store.identity.find_key("hash-a") == key()
        assert not await store.ledger.add_usage(usage_row())
    assert sqlite.lines.getvalue().count("storage.migrated") == 1
    # The last one out leaves one file behind.
    assert [path.name for path in sqlite.path.parent.iterdir()] == ["tokenyard.db"]


async def test_the_file_is_for_its_owner_alone(sqlite: SqliteOpener) -> None:
    async with sqlite.open() as store:
        await store.identity.add_key(key(), entry())
        for path in sqlite.path.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_closing_writes_what_still_waits(sqlite: SqliteOpener) -> None:
    async with sqlite.open() as store:
        waiting = [
            asyncio.ensure_future(store.ledger.add_usage(usage_row(f"row_{n}"))) for n in range(50)
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == [True] * 50
    assert len(tables(sqlite.path)["usage"]) == 50
    with pytest.raises(Unavailable) as refusal:
        await store.ledger.add_usage(usage_row("late"))
    assert refusal.value.reason is Reason.SHUTTING_DOWN


async def test_a_lock_held_too_long_is_told_and_then_forgotten(sqlite: SqliteOpener) -> None:
    async with sqlite.open(StorageSettings(busy_seconds=0.05)) as store:
        other = sqlite3.connect(sqlite.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            results = await asyncio.gather(
                *(store.ledger.add_usage(usage_row(f"row_{n}")) for n in range(20)),
                return_exceptions=True,
            )
            assert all(isinstance(result, Unavailable) for result in results)
            # Readers never wait for a writer.
            assert await store.identity.list_keys(MINE) == []
            other.execute("ROLLBACK")
        finally:
            other.close()
        assert await store.ledger.add_usage(usage_row("row_0"))
    assert "storage.failed" in sqlite.lines.getvalue()


async def test_a_failure_tells_the_log_its_cause_but_no_prompt(sqlite: SqliteOpener) -> None:
    async with sqlite.open() as store:
        await store.chat.add_conversation(conversation(), [item("a", text="my secret")])
        with pytest.raises(InternalFailure) as refusal:
            await store.chat.add_conversation(conversation(), [item("b", text="my secret")])
        with pytest.raises(InternalFailure):
            await store.chat.add_conversation(conversation(2), [item("b", text="my secret\ud800")])
        assert await store.chat.find_conversation(ConversationId("conv_002"), MINE) is None
    logged = sqlite.lines.getvalue()
    assert "UNIQUE constraint failed: conversations.id" in logged
    assert "surrogates not allowed" in logged
    assert "my secret" not in logged + refusal.value.message


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 99, b"SQLite format 3\0" + b"?" * 99]
)
async def test_a_file_that_is_no_database_stops_the_start(
    sqlite: SqliteOpener, content: bytes
) -> None:
    sqlite.path.parent.mkdir()
    sqlite.path.write_bytes(content)
    with pytest.raises(StartError, match=r"tokenyard\.db is damaged .* Put a backup in its place"):
        async with sqlite.open():
            pass
    assert sqlite.path.read_bytes() == content


async def test_a_damaged_schema_stops_the_start(sqlite: SqliteOpener) -> None:
    async with sqlite.open():
        pass
    with sqlite.path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 500)
    with pytest.raises(StartError, match="damaged"):
        async with sqlite.open():
            pass


async def test_a_place_that_cannot_be_written_stops_the_start(sqlite: SqliteOpener) -> None:
    sqlite.path.mkdir(parents=True)
    with pytest.raises(StartError, match=r"cannot be written.*TOKENYARD_HOME"):
        async with sqlite.open():
            pass
    sqlite.path.rmdir()
    sqlite.path.write_text("")
    sqlite.path = sqlite.path / "inside" / "a-file.db"
    with pytest.raises(StartError, match="cannot be written"):
        async with sqlite.open():
            pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mysql://me:hunter2@db/tokenyard", "not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("://", "cannot be read"),
    ],
)
async def test_addresses_that_name_no_file(
    supervisor: TaskSupervisor, sqlite: SqliteOpener, address: str, message: str
) -> None:
    with pytest.raises(StartError, match=message) as refusal:
        async with open_sql_store(
            address, supervisor=supervisor, log=sqlite.log, clock=RealClock()
        ):
            pass
    assert "hunter2" not in str(refusal.value)


async def test_an_address_and_a_strange_path_name_the_same_file(
    supervisor: TaskSupervisor, sqlite: SqliteOpener, tmp_path: Path
) -> None:
    path = tmp_path / "a folder with % and ? and #" / "t.db"
    for place in (path, str(path)):
        async with open_sql_store(
            place, supervisor=supervisor, log=sqlite.log, clock=RealClock()
        ) as store:
            await store.identity.add_sign_in_link(str(type(place)), ME, AT)
    assert path.exists()
    plain = tmp_path / "plain.db"
    async with open_sql_store(
        f"sqlite:///{plain}", supervisor=supervisor, log=sqlite.log, clock=RealClock()
    ):
        assert plain.exists()


@pytest.fixture
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Every statement that any engine runs, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.append((text, parameters[0] if many else parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


async def test_no_query_walks_a_whole_table(
    sqlite: SqliteOpener, statements: list[tuple[str, Any]]
) -> None:
    async with sqlite.open() as store:
        statements.clear()
        opened = response(conversation=conversation().id)
        chat, ledger, identity = store.chat, store.ledger, store.identity
        await chat.add_conversation(conversation(), [item("a")])
        await chat.open_response(opened, [item("b")], AT)
        await chat.finish_response(finished(opened), usage_row())
        await chat.finish_response(finished(opened), usage_row())
        await chat.find_conversation(conversation().id, MINE)
        await chat.find_response(opened.id, MINE)
        await chat.list_conversations(MINE, ME, limit=2, after=None)
        await chat.list_conversations(MINE, ME, limit=2, after=conversation().id)
        for newest_first in (False, True):
            await chat.list_items(
                conversation().id, limit=2, after=ItemId("msg_a"), newest_first=newest_first
            )
        await chat.count_items(conversation().id)
        await chat.set_metadata(conversation().id, MINE, {})
        await chat.fail_abandoned(Reason.PRODUCER_LOST, STRANGE_TEXT, AT)
        await ledger.add_usage(usage_row("other"))
        for by in GroupBy:
            await ledger.total_usage(MINE, since=0, until=AT, group_by=by)
        await ledger.balances([(Scope.PROJECT, MINE)], at=AT, currency="USD")
        await ledger.find_reservation("work")
        await ledger.usage_buckets(UsageQuery(0, AT, 60, (), {}), limit=9)
        await identity.add_key(key(), entry())
        await identity.find_key("hash")
        await identity.list_keys(MINE)
        await identity.revoke_key(KeyId("key_a"), MINE, AT, entry())
        await identity.add_session(session(), entry())
        await identity.find_session("hash")
        await identity.remove_session(SessionId("sess_a"), ME, entry())
        await identity.add_sign_in_link("hash", ME, AT)
        await identity.take_sign_in_link("hash", AT)
        await chat.delete_conversation(conversation().id, MINE)
        seen = [(text, values) for text, values in statements if not text.startswith("BEGIN")]
        connection = sqlite3.connect(sqlite.path)
        try:
            plans = {
                text: connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
                for text, values in seen
            }
        finally:
            connection.close()
    assert len(plans) > 25
    for text, plan in plans.items():
        steps = [step[3] for step in plan]
        assert not [step for step in steps if "SCAN" in step and "CONSTANT" not in step], text
    # A page of the list is read off the index, in order.
    pages = [plan for text, plan in plans.items() if "ORDER BY conversations" in text]
    assert len(pages) == 2
    for plan in pages:
        assert not [step for step in plan if "TEMP B-TREE" in step[3]]
