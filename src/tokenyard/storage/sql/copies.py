"""Copies of a database: a backup of a SQLite file in use, and a move to another database.

A backup is of one moment, and others write meanwhile. A move copies every table as it is into an
empty database of the same revision, SQLite or Postgres, in one transaction; nobody may write.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, text

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.sql.dialect import POSTGRES
from tokenyard.storage.sql.schema import metadata
from tokenyard.storage.sql.sqlite import SqliteDatabase
from tokenyard.storage.sql.store import NEWEST_REVISION, choose_database
from tokenyard.storage.sql.upgrade import upgrade
from tokenyard.vocabulary.errors import StartError

_PAGES_AT_ONCE = 1000
_ROWS_AT_ONCE = 1000


def back_up(source: Path, target: Path) -> int:
    """Copy a SQLite file that may be in use into a new file; gives its size in bytes.

    Raises StartError when the one is not there, or the other is.
    """
    if not source.exists():
        raise StartError(f"There is no database at {source}.")
    if target.exists():
        raise StartError(f"{target} is there already; name a new file.")
    half = target.with_name(f"{target.name}.partial")
    half.unlink(missing_ok=True)
    half.touch(mode=0o600)
    with sqlite3.connect(source) as from_, sqlite3.connect(half) as to:
        from_.backup(to, pages=_PAGES_AT_ONCE)
        (verdict,) = to.execute("PRAGMA integrity_check").fetchone()
    from_.close()
    to.close()
    if verdict != "ok":
        half.unlink()
        raise StartError(f"The database {source} is damaged ({verdict}); there is no copy.")
    half.replace(target)
    return target.stat().st_size


def move(
    source: str, target: str, settings: StorageSettings, told: Callable[[str, int], None]
) -> None:
    """Copy all rows of one database into another, empty one; `told` hears of each table.

    Raises StartError when a database cannot be used, or the target holds something.
    """
    old, new = choose_database(source, settings), choose_database(target, settings)
    if isinstance(old, SqliteDatabase) and not old.path.exists():
        raise StartError(f"There is no database at {old.path}.")
    for database in (old, new):
        if not database.make_ready():
            raise database.refuse()
        upgrade(database)
        if database.find_revision() != NEWEST_REVISION:
            raise StartError(f"The database {database.name} is not of this version.")
    reading, writing = old.connect_readers(), new.connect_writer()
    try:
        with reading.connect() as rows, writing.connect() as written, written.begin():
            _empty_first_rows(written)
            for table in metadata.sorted_tables:
                told(table.name, _copy(rows, written, table))
    finally:
        reading.dispose()
        writing.dispose()


def _empty_first_rows(connection: Connection) -> None:
    """Migrations put the first organisation in; more than such rows is somebody's work."""
    for table in reversed(metadata.sorted_tables):
        if table.name in {"conversations", "responses", "usage_rows", "jobs", "api_keys"}:
            count = connection.execute(select(func.count()).select_from(table)).scalar_one()
            if count:
                raise StartError(f"The target holds {count} rows of {table.name}; it must be new.")
        connection.execute(table.delete())


def _copy(source: Connection, target: Connection, table: Any) -> int:
    copied = 0
    found = source.execution_options(yield_per=_ROWS_AT_ONCE).execute(select(table))
    for part in found.mappings().partitions(_ROWS_AT_ONCE):
        target.execute(table.insert(), [dict(row) for row in part])
        copied += len(part)
    if target.dialect.name == POSTGRES:
        _move_counters(target, table)
    return copied


def _move_counters(connection: Connection, table: Any) -> None:
    """The next number of a table that counts its rows comes after those that were copied."""
    for column in table.primary_key.columns:
        if column is table.autoincrement_column:
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), "
                    f"(SELECT COALESCE(MAX({column.name}), 0) + 1 FROM {table.name}), false)"
                )
            )
