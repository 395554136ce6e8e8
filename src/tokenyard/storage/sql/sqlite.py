"""The SQLite file: how it is opened, and what its connections promise.

The file is in write-ahead mode: readers never wait for the writer, nor it for them. A transaction
that was committed survives the death of the process always, and the loss of power with
`storage.durability` "full"; with "normal" power loss may take the last moments, never a part of a
transaction. Decides nothing about tables.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.vocabulary.errors import StartError

# The write-ahead file is cut back to this after a burst.
WAL_BYTES_MAX = 64 * 1024 * 1024


class SqliteDatabase:
    """A file of ours, or of a command that runs beside us."""

    def __init__(self, path: Path, settings: StorageSettings) -> None:
        self.path = path
        self._settings = settings
        self._busy = f"busy_timeout = {int(settings.busy_seconds * 1000)}"

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def make_ready(self) -> bool:
        """Create folder and file for their owner alone, and switch to write-ahead mode.

        False while another process opens the new file at this moment.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StartError(
                f"The database {self.path} cannot be written: {error.strerror}. "
                "Check the folder's owner and permissions, or set TOKENYARD_HOME to another one."
            ) from None
        try:
            connection = sqlite3.connect(self.path, timeout=1.0, isolation_level=None)
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            if is_locked(error):
                return False
            raise StartError(
                f"The database {self.path} cannot be written: {error}. Check the disk."
            ) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None
        if mode != "wal":
            raise StartError(
                f"The database {self.path} cannot use write-ahead logging, as on a network disk. "
                "Set TOKENYARD_HOME to a folder on a local one."
            )
        return True

    def refuse(self) -> StartError:
        """Another program does not let go of the file."""
        return StartError(
            f"The database {self.path} is locked by another program. Stop it and start again."
        )

    def find_revision(self) -> str | None:
        """The newest migration that the file has seen."""
        try:
            connection = sqlite3.connect(self.path, isolation_level=None)
            try:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            finally:
                connection.close()
        except sqlite3.OperationalError:
            # There is no such table yet; if it is something else, the migration says what.
            return None
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None
        return None if row is None else str(row[0])

    def connect_writer(self) -> Engine:
        """Takes the write lock when a transaction begins, not half way through."""
        pragmas = [
            self._busy,
            f"synchronous = {self._settings.durability}",
            f"journal_size_limit = {WAL_BYTES_MAX}",
            "foreign_keys = on",
            # What is deleted is overwritten with zeros.
            "secure_delete = on",
        ]
        engine = self._make_engine(pragmas, poolclass=QueuePool, pool_size=1, max_overflow=0)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def connect_migrator(self) -> Engine:
        """Like the writer, without foreign keys: a table made anew must not empty others."""
        engine = self._make_engine([self._busy, "foreign_keys = off"], poolclass=NullPool)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def connect_readers(self) -> Engine:
        """Connections that cannot write."""
        size = self._settings.readers
        engine = self._make_engine(
            [self._busy, "query_only = on"], poolclass=QueuePool, pool_size=size, max_overflow=0
        )
        event.listen(engine, "begin", _begin)
        return engine

    def check_references(self, connection: Connection) -> None:
        """Foreign keys were off while tables were made anew."""
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if dangling is not None:
            raise StartError(
                f"The database {self.path} cannot be brought up to date: a row of {dangling[0]} "
                "refers to one that is missing."
            )

    def explain_migration(self, error: BaseException) -> StartError:
        """Locked, refused, or not a database."""
        if is_locked(error):
            return self.refuse()
        if isinstance(error, sqlite3.OperationalError):
            return StartError(f"The database {self.path} cannot be brought up to date: {error}.")
        return self._damaged(error)

    def _damaged(self, error: BaseException) -> StartError:
        return StartError(
            f"The database {self.path} is damaged ({error}). Put a backup in its place, "
            "or move it away to start with an empty one."
        )

    def _make_engine(self, pragmas: list[str], **pool: Any) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)),
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


def is_locked(error: BaseException) -> bool:
    """Whether another process holds the file."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
