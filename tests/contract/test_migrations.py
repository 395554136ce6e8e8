"""The migrations lead to the tables that the code expects, from every state they may meet."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from sqlalchemy import create_engine

from contract.comparison import SEARCH, configure_comparison
from contract.conftest import SqliteOpener
from contract.samples import usage_row
from contract.test_sqlite import SOURCE
from tokenyard.ledger.records import Dimension, Scope, UsageQuery
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.sql.schema import metadata
from tokenyard.storage.sql.sqlite import SqliteDatabase
from tokenyard.storage.sql.store import NEWEST_REVISION
from tokenyard.storage.sql.upgrade import configure, newest_revision
from tokenyard.storage.sql.upgrade import upgrade as upgrade_database
from tokenyard.vocabulary.errors import StartError

SETTINGS = StorageSettings(busy_seconds=0.1)
OPEN_ONCE = """
import asyncio, io, sys
from pathlib import Path
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import open_sql_store
from tokenyard.telemetry.logs import Log

async def main():
    clock = RealClock()
    async with TaskSupervisor(print) as supervisor, open_sql_store(
        sys.argv[1], supervisor=supervisor, log=Log(io.StringIO(), clock), clock=clock
    ):
        print("alembic" in sys.modules)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "t.db"
    assert SqliteDatabase(made, SETTINGS).make_ready()
    return made


def find_revision(path: Path) -> str | None:
    return SqliteDatabase(path, SETTINGS).find_revision()


def upgrade(path: Path) -> None:
    upgrade_database(SqliteDatabase(path, SETTINGS))


def declarations(path: Path) -> set[tuple[object, ...]]:
    """Columns, keys and indexes of every table; a column that was added later may stand last."""
    connection = sqlite3.connect(path)
    try:
        found: set[tuple[object, ...]] = set()
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        for (table,) in tables:
            if table == "alembic_version" or table.startswith(SEARCH):
                continue
            for _, *column in connection.execute(f"PRAGMA table_xinfo({table})"):
                found.add((table, *column))
            for _, _, *key in connection.execute(f"PRAGMA foreign_key_list({table})"):
                found.add((table, *key))
            for _, name, unique, origin, partial in connection.execute(
                f"PRAGMA index_list({table})"
            ):
                parts = tuple(row[2] for row in connection.execute(f"PRAGMA index_info({name})"))
                found.add((table, unique, origin, partial, parts))
        named = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
        found.update((name, "".join(sql.split())) for name, sql in named if sql is not None)
        return found
    finally:
        connection.close()


def test_an_empty_database_gets_the_tables_of_the_schema(path: Path, tmp_path: Path) -> None:
    upgrade(path)
    assert find_revision(path) == NEWEST_REVISION
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(configure_comparison(connection), metadata) == []
    engine.dispose()
    fresh = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    metadata.create_all(fresh)
    fresh.dispose()
    assert declarations(path) == declarations(tmp_path / "fresh.db")


def test_upgrading_twice_changes_nothing(path: Path) -> None:
    upgrade(path)
    before = declarations(path)
    upgrade(path)
    assert declarations(path) == before
    assert find_revision(path) == NEWEST_REVISION


def test_the_newest_revision_is_the_one_that_the_store_waits_for() -> None:
    assert newest_revision() == NEWEST_REVISION


def test_an_up_to_date_database_is_opened_without_alembic(path: Path) -> None:
    for expected in ("True", "False"):
        done = subprocess.run(
            [sys.executable, "-c", OPEN_ONCE, str(path)],
            env={"PYTHONPATH": str(SOURCE)},
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == expected


async def test_a_newer_database_stops_the_start(sqlite: SqliteOpener) -> None:
    async with sqlite.open():
        pass
    connection = sqlite3.connect(sqlite.path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StartError, match=r"newer version of Tokenyard.*9999"):
        async with sqlite.open():
            pass


def test_a_migration_that_fails_half_way_leaves_nothing(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE api_keys (mine TEXT)")
    connection.close()
    before = declarations(path)
    with pytest.raises(StartError, match=r"cannot be brought up to date: table api_keys"):
        upgrade(path)
    assert declarations(path) == before
    assert find_revision(path) is None


def test_a_lock_held_by_another_program_stops_the_start(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StartError, match="locked by another program"):
        upgrade(path)
    other.close()
    upgrade(path)


def test_rows_that_refer_to_nothing_stop_the_start(path: Path) -> None:
    upgrade(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO items (id, conversation_id, role, text, created_at, complete) "
            "VALUES ('msg_1', 'conv_none', 'user', '', 0, 1)"
        )
    connection.close()
    with pytest.raises(StartError, match="a row of items refers to one that is missing"):
        upgrade(path)


RELEASES = [f"{number:04}" for number in range(1, int(NEWEST_REVISION))]


@pytest.mark.parametrize("release", RELEASES)
def test_what_any_release_wrote_is_there_after_the_upgrade(
    path: Path, tmp_path: Path, release: str
) -> None:
    """A row in each table of that release; afterwards all of them, in the tables of today."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(configure(connection), release)
    engine.dispose()
    before = fill_tables(path)
    upgrade(path)
    fresh = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    metadata.create_all(fresh)
    fresh.dispose()
    assert find_revision(path) == NEWEST_REVISION
    assert declarations(path) == declarations(tmp_path / "fresh.db")
    after = count_rows(path)
    assert {name: after[name] for name in before} == before


def fill_tables(path: Path) -> dict[str, int]:
    """Put a row into every table; how many rows each has then."""
    # A JSON text is a name too, and the same everywhere, so that rows refer to each other.
    values = {"INTEGER": 0, "BIGINT": 0, "BOOLEAN": 0, "FLOAT": 0.5, "DOUBLE": 0.5, "BLOB": b""}
    connection = sqlite3.connect(path)
    with connection:
        for table in tables_of(connection):
            told = [
                (name, values.get(kind.split("(")[0], "{}"))
                for _, name, kind, needed, default, key, hidden in connection.execute(
                    f"PRAGMA table_xinfo({table})"
                )
                if (needed or key) and default is None and not hidden
            ]
            names, row = zip(*told, strict=True)
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", row)
    connection.close()
    return count_rows(path)


def count_rows(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    found = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in tables_of(connection)
    }
    connection.close()
    return found


def tables_of(connection: sqlite3.Connection) -> list[str]:
    told = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [
        name
        for (name,) in told
        if name != "alembic_version" and not name.startswith(("sqlite_", SEARCH[0]))
    ]


def test_what_the_first_release_wrote_belongs_to_the_first_organisation(path: Path) -> None:
    """From revision 0003: keys, sessions, conversations and batches of nobody's organisation."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(configure(connection), "0003")
    engine.dispose()
    old = sqlite3.connect(path)
    with old:
        old.execute(
            "INSERT INTO api_keys (id, name, secret_hash, hint, user_id, project_id, created_at)"
            " VALUES ('key_1', 'old', 'hash', 'ty-', 'user_owner', 'proj_default', 1.5)"
        )
        old.execute(
            "INSERT INTO web_sessions (id, token_hash, user_id, project_id, created_at, expires_at)"
            " VALUES ('sess_1', 'cookie', 'user_owner', 'proj_default', 1.5, 9e9)"
        )
        old.execute("INSERT INTO sign_in_links VALUES ('link', 9e9)")
    upgrade(path)
    found = {
        table: old.execute(f"SELECT {columns} FROM {table}").fetchall()
        for table, columns in (
            ("organisations", "id"),
            ("projects", "id, organisation_id, archived_at"),
            ("users", "id, organisation_id, kind, role, operator, removed_at"),
            ("api_keys", "id, secret_hash, scopes, models, revoked_at"),
            ("web_sessions", "id, last_used_at, agent"),
            ("sign_in_links", "token_hash, user_id"),
        )
    }
    made_at = old.execute("SELECT created_at FROM organisations").fetchone()[0]
    old.close()
    assert made_at > 1_700_000_000
    assert found == {
        "organisations": [("org_default",)],
        "projects": [("proj_default", "org_default", None)],
        "users": [("user_owner", "org_default", "person", "owner", 1, None)],
        "api_keys": [("key_1", "hash", '["*"]', None, None)],
        "web_sessions": [("sess_1", None, "")],
        "sign_in_links": [("link", "user_owner")],
    }


def test_items_of_old_conversations_become_branches(path: Path) -> None:
    database = SqliteDatabase(path, SETTINGS)
    engine = database.connect_migrator()
    with engine.connect() as connection, connection.begin():
        command.upgrade(configure(connection), "0004")
    engine.dispose()
    raw = sqlite3.connect(path)
    with raw:
        for name in ("c1", "c2", "c3"):
            raw.execute(
                "INSERT INTO conversations (id, project_id, user_id, created_at, updated_at, "
                "metadata) VALUES (?, 'p', 'u', 0, 0, '{}')",
                [name],
            )
        for item, conversation, response in [
            ("a", "c1", None), ("x", "c2", None), ("b", "c1", "r1"), ("c", "c1", "r1"),
            ("q", None, "r2"), ("r", None, "r2"), ("s", None, "r3"),
        ]:  # fmt: skip
            raw.execute(
                "INSERT INTO items (id, conversation_id, response_id, role, text, created_at, "
                "complete) VALUES (?, ?, ?, 'user', '', 0, 1)",
                [item, conversation, response],
            )
    upgrade(path)
    parents = dict(raw.execute("SELECT id, parent_id FROM items").fetchall())
    leaves = dict(raw.execute("SELECT id, leaf_id FROM conversations").fetchall())
    raw.close()
    assert parents == {"a": None, "b": "a", "c": "b", "x": None, "q": None, "r": "q", "s": None}
    assert leaves == {"c1": "c", "c2": "x", "c3": None}


async def test_what_was_billed_before_the_journal_is_settled_in_it(sqlite: SqliteOpener) -> None:
    """From revision 0003, the first release: usage rows become entries, and balances their sums."""
    path = sqlite.path
    path.parent.mkdir(parents=True)
    SqliteDatabase(path, SETTINGS).make_ready()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(configure(connection), "0003")
    engine.dispose()
    # The last second of October 2026, the first of November, and another project.
    times = (1_793_491_199.5, 1_793_491_200.0, 1_793_491_200.0)
    old = sqlite3.connect(path)
    with old:
        for number, at in enumerate(times):
            old.execute(
                "INSERT INTO usage_rows VALUES (?, ?, ?, 'user_owner', ?, ?, 'tiny', 5, 7, 1, 0, ?,"
                " 'USD', 'stop')",
                (f"row_{number}", at, int(at // 86_400), f"proj_{number // 2}", None, 10**number),
            )
    old.close()
    async with sqlite.open() as store:
        for at, nanos in ((times[0], 1), (times[1], 10)):
            subjects = [(Scope.PROJECT, "proj_0"), (Scope.ORGANISATION, "org_default")]
            held = await store.ledger.balances(subjects, at=at, currency="USD")
            other = 100 if at == times[1] else 0
            assert [held[one].spent_nanos for one in subjects] == [nanos, nanos + other]
        assert await store.ledger.check(limit=9) == []
        assert not await store.ledger.add_usage(usage_row("row_0"))
        minutes = UsageQuery(0, 2e9, 1, (Dimension.TIER,), {})
        buckets = await store.ledger.usage_buckets(minutes, limit=9)
        # A cast rounds or cuts: at the edge of a minute an old row may be in the one before.
        assert {bucket.start for bucket in buckets} <= {1_793_491_140, 1_793_491_200}


async def test_the_check_finds_what_does_not_add_up(sqlite: SqliteOpener) -> None:
    async with sqlite.open() as store:
        await store.ledger.add_usage(usage_row("a"))
        await store.ledger.add_usage(usage_row("b"))
        assert await store.ledger.check(limit=9) == []
        for statement, what in (
            ("UPDATE ledger_balances SET nanos = nanos + 1 WHERE scope = 'key'", "balance"),
            ("DELETE FROM ledger_entries WHERE id = 'a/settle'", "bill is not settled"),
            ("DELETE FROM usage_rows WHERE id = 'b'", "settlement has no bill"),
            ("DELETE FROM ledger_balances WHERE scope = 'project'", "balance"),
        ):
            by_hand = sqlite3.connect(sqlite.path)
            with by_hand:
                by_hand.execute(statement)
            by_hand.close()
            assert what in {
                fault.what[: len(what)] for fault in await store.ledger.check(limit=9)
            }, statement
    by_hand = sqlite3.connect(sqlite.path)
    with by_hand, pytest.raises(sqlite3.IntegrityError, match="ck_ledger_entries"):
        by_hand.execute("UPDATE ledger_entries SET spent_nanos = spent_nanos + 1")
    by_hand.close()
