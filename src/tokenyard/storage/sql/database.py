"""The SQLite file: how it is opened, what its connections promise, and who reads it.

The file is in write-ahead mode: readers never wait for the writer, nor it for them. A transaction
that was committed survives the death of the process always, and the loss of power with
`storage.durability` "full"; with "normal" power loss may take the last moments, never a part of a
transaction. Decides nothing about tables.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    QueuePool,
    Row,
    Select,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.sql.failures import explain
from tokenyard.vocabulary.errors import StartError, Unavailable
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")

# The write-ahead file is cut back to this after a burst.
WAL_BYTES_MAX = 64 * 1024 * 1024


class Readers:
    """A few threads, each with a connection that can only read."""

    def __init__(self, path: Path, settings: StorageSettings) -> None:
        self._engine = connect_readers(path, settings)
        self._threads = ThreadPoolExecutor(settings.readers, thread_name_prefix="storage-reader")
        self._queued_max = settings.readers + settings.queued_reads_max
        self._asked = 0

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query; it sees all that was committed before.

        Raises Unavailable when too many reads wait, and what `failures.explain` makes of the rest.
        """
        if self._asked >= self._queued_max:
            raise Unavailable(
                "Too many reads wait for the database.",
                reason=Reason.QUEUE_FULL,
                retry_after_seconds=1.0,
            )
        loop = asyncio.get_running_loop()
        self._asked += 1
        try:
            return await loop.run_in_executor(self._threads, self._read, query)
        finally:
            self._asked -= 1

    async def first(self, statement: Select[Any], **values: Any) -> Row[Any] | None:
        """The first row of a query, or None."""
        return await self.read(lambda connection: connection.execute(statement, values).first())

    async def all(self, statement: Select[Any], **values: Any) -> Sequence[Row[Any]]:
        """Every row of a query, which limits them itself."""
        return await self.read(lambda connection: connection.execute(statement, values).all())

    def close(self) -> None:
        """Close the connections; a query that still runs ends first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return query(connection)
        except SQLAlchemyError as error:
            raise explain(error) from error


def connect_writer(path: Path, settings: StorageSettings) -> Engine:
    """One connection that takes the write lock when a transaction begins, not half way through."""
    pragmas = [
        f"busy_timeout = {int(settings.busy_seconds * 1000)}",
        f"synchronous = {settings.durability}",
        f"journal_size_limit = {WAL_BYTES_MAX}",
        "foreign_keys = on",
    ]
    engine = _make_engine(path, pragmas, poolclass=QueuePool, pool_size=1, max_overflow=0)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def connect_migrator(path: Path, settings: StorageSettings) -> Engine:
    """Like the writer, without foreign keys: a table that is made anew must not empty others."""
    pragmas = [f"busy_timeout = {int(settings.busy_seconds * 1000)}", "foreign_keys = off"]
    engine = _make_engine(path, pragmas, poolclass=NullPool)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def connect_readers(path: Path, settings: StorageSettings) -> Engine:
    """Connections that cannot write; what one query reads is of one moment."""
    pragmas = [f"busy_timeout = {int(settings.busy_seconds * 1000)}", "query_only = on"]
    engine = _make_engine(
        path, pragmas, poolclass=QueuePool, pool_size=settings.readers, max_overflow=0
    )
    event.listen(engine, "begin", _begin)
    return engine


def read_path(path_or_url: Path | str) -> Path:
    """The file that a path or a `sqlite:///` address names; raises StartError for all else."""
    if isinstance(path_or_url, Path) or "://" not in path_or_url:
        return Path(path_or_url).expanduser().absolute()
    try:
        url = make_url(path_or_url)
    except ArgumentError:
        raise StartError("The address of the database cannot be read.") from None
    if url.get_backend_name() != "sqlite":
        shown = url.render_as_string(hide_password=True)
        raise StartError(f"The database {shown} is not supported yet; use sqlite:///<file>.")
    if not url.database or url.database == ":memory:":
        raise StartError("The address of the database names no file; use sqlite:///<file>.")
    return Path(url.database).expanduser().absolute()


def make_file(path: Path) -> None:
    """Create folder and file for their owner alone, and switch the file to write-ahead mode.

    Raises StartError when that cannot be, and sqlite3.OperationalError while it is locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StartError(
            f"The database {path} cannot be written: {error.strerror}. "
            "Check the folder's owner and permissions, or set TOKENYARD_HOME to another one."
        ) from None
    try:
        connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if is_locked(error):
            raise
        raise StartError(
            f"The database {path} cannot be written: {error}. Check the disk."
        ) from None
    except sqlite3.DatabaseError as error:
        raise broken(path, error) from None
    if mode != "wal":
        raise StartError(
            f"The database {path} cannot use write-ahead logging, as on a network disk. "
            "Set TOKENYARD_HOME to a folder on a local one."
        )


def find_revision(path: Path) -> str | None:
    """The newest migration that the database has seen; None when it has seen none."""
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError:
        # There is no such table yet; if it is something else, the migration says what.
        return None
    except sqlite3.DatabaseError as error:
        raise broken(path, error) from None
    return None if row is None else str(row[0])


def broken(path: Path, error: BaseException) -> StartError:
    """The file is not a database, or no longer."""
    return StartError(
        f"The database {path} is damaged ({error}). Put a backup in its place, "
        "or move it away to start with an empty one."
    )


def is_locked(error: BaseException) -> bool:
    """Whether another process holds the file."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _make_engine(path: Path, pragmas: list[str], **pool: Any) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        # Parameters are prompts and answers; they belong in no error and no log.
        hide_parameters=True,
        connect_args={"check_same_thread": False},
        **pool,
    )

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin transactions at times of its own choosing.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", prepare)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
