"""Opens the stores over one SQLite file, and closes them with nothing left unwritten."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Engine

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.batches import SqlBatchStore
from tokenyard.storage.sql.chat import SqlChatStore
from tokenyard.storage.sql.database import (
    Readers,
    connect_writer,
    find_revision,
    make_file,
    read_path,
)
from tokenyard.storage.sql.identity import SqlIdentityStore
from tokenyard.storage.sql.jobs import SqlJobStore
from tokenyard.storage.sql.ledger import SqlLedgerStore
from tokenyard.storage.sql.writer import GroupWriter
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import StartError

# The newest migration; a test holds it against the folder. An up-to-date database is opened
# without loading Alembic, which takes longer than all the rest.
NEWEST_REVISION = "0003"

_LOCK_RETRY_SECONDS = 0.05


class SqlStore:
    """The stores over one database."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self.chat = SqlChatStore(readers, writer)
        self.ledger = SqlLedgerStore(readers, writer)
        self.identity = SqlIdentityStore(readers, writer)
        self.batches = SqlBatchStore(readers, writer)
        self.jobs = SqlJobStore(readers, writer)


@asynccontextmanager
async def open_sql_store(
    path_or_url: Path | str,
    *,
    supervisor: TaskSupervisor,
    log: Log,
    clock: Clock,
    settings: StorageSettings | None = None,
) -> AsyncIterator[SqlStore]:
    """Open the database, after bringing its tables up to date; at the end all writes are done.

    path_or_url: a file, or `sqlite:///<file>`. Raises StartError when it cannot be used.
    """
    settings = settings or StorageSettings()
    path = read_path(path_or_url)
    await _make_ready(path, settings, log, clock)
    engine = connect_writer(path, settings)
    readers = Readers(path, settings)
    writer = GroupWriter(engine, settings, supervisor=supervisor, log=log)
    try:
        yield SqlStore(readers, writer)
    finally:
        try:
            await writer.close()
        finally:
            await asyncio.to_thread(_close, readers, engine)


async def _make_ready(path: Path, settings: StorageSettings, log: Log, clock: Clock) -> None:
    began = clock.monotonic()
    while True:
        try:
            await asyncio.to_thread(make_file, path)
            break
        except sqlite3.OperationalError:
            # Another process opens the new file at this moment.
            if clock.monotonic() - began >= settings.busy_seconds:
                raise StartError(
                    f"The database {path} is locked by another program. Stop it and start again."
                ) from None
            await clock.sleep(_LOCK_RETRY_SECONDS)
    revision = await asyncio.to_thread(find_revision, path)
    if revision != NEWEST_REVISION:
        await asyncio.to_thread(_upgrade, path, settings)
        log.info(
            Event.MIGRATED,
            before=revision,
            after=NEWEST_REVISION,
            seconds=round(clock.monotonic() - began, 3),
        )


def _upgrade(path: Path, settings: StorageSettings) -> None:
    # Loads Alembic, and therefore only when it is needed.
    from tokenyard.storage.sql.upgrade import upgrade  # noqa: PLC0415

    upgrade(path, settings)


def _close(readers: Readers, engine: Engine) -> None:
    readers.close()
    engine.dispose()
