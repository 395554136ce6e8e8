"""Opens the stores over one database, and closes them with nothing left unwritten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.archive import SqlArchiveStore
from tokenyard.storage.sql.audit import SqlAuditStore
from tokenyard.storage.sql.batches import SqlBatchStore
from tokenyard.storage.sql.chat import SqlChatStore
from tokenyard.storage.sql.database import Database, Readers
from tokenyard.storage.sql.directory import SqlDirectoryStore
from tokenyard.storage.sql.identity import SqlIdentityStore
from tokenyard.storage.sql.invitations import SqlInvitationStore
from tokenyard.storage.sql.jobs import SqlJobStore
from tokenyard.storage.sql.ledger import SqlLedgerStore
from tokenyard.storage.sql.limits import SqlLimitDefinitions
from tokenyard.storage.sql.outage import Outage
from tokenyard.storage.sql.prompts import SqlPromptStore
from tokenyard.storage.sql.replays import SqlReplayStore
from tokenyard.storage.sql.servers import SqlServerStore
from tokenyard.storage.sql.sqlite import SqliteDatabase
from tokenyard.storage.sql.streams import SqlStreamStore
from tokenyard.storage.sql.threads import SqlThreadStore
from tokenyard.storage.sql.writer import GroupWriter
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import StartError

# The newest migration; a test holds it against the folder. An up-to-date database is opened
# without loading Alembic, which takes longer than all the rest.
NEWEST_REVISION = "0016"

_RETRY_SECONDS = 0.05


class SqlStore:
    """The stores over one database."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self.chat = SqlChatStore(readers, writer)
        self.threads = SqlThreadStore(readers, writer)
        self.archive = SqlArchiveStore(readers, writer)
        self.prompts = SqlPromptStore(readers, writer)
        self.ledger = SqlLedgerStore(readers, writer)
        self.limits = SqlLimitDefinitions(readers, writer)
        self.servers = SqlServerStore(readers, writer)
        self.identity = SqlIdentityStore(readers, writer)
        self.directory = SqlDirectoryStore(readers, writer)
        self.invitations = SqlInvitationStore(readers, writer)
        self.audit = SqlAuditStore(readers, writer)
        self.batches = SqlBatchStore(readers, writer)
        self.jobs = SqlJobStore(readers, writer)
        self.streams = SqlStreamStore(readers, writer)
        self.replays = SqlReplayStore(readers, writer)


def choose_database(path_or_url: Path | str, settings: StorageSettings) -> Database:
    """The database that a path, a `sqlite:///` or a `postgresql://` address names.

    Raises StartError for all else.
    """
    if isinstance(path_or_url, Path) or "://" not in path_or_url:
        return SqliteDatabase(Path(path_or_url).expanduser().absolute(), settings)
    try:
        url = make_url(path_or_url)
    except ArgumentError:
        raise StartError("The address of the database cannot be read.") from None
    match url.get_backend_name():
        case "postgresql":
            return _open_postgres(url, settings)
        case "sqlite" if url.database and url.database != ":memory:":
            return SqliteDatabase(Path(url.database).expanduser().absolute(), settings)
        case "sqlite":
            raise StartError("The address of the database names no file; use sqlite:///<file>.")
        case _:
            shown = url.render_as_string(hide_password=True)
            raise StartError(
                f"The database {shown} is not supported; there are postgresql:// and sqlite:///."
            )


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

    path_or_url: a file, `sqlite:///<file>` or `postgresql://…`. Raises StartError when it cannot be
    used.
    """
    settings = settings or StorageSettings()
    database = choose_database(path_or_url, settings)
    await _make_ready(database, settings, log, clock)
    engine = database.connect_writer()
    outage = Outage(clock, log, patience_seconds=settings.busy_seconds)
    readers = Readers(database.connect_readers(), settings, outage)
    writer = GroupWriter(engine, settings, supervisor=supervisor, log=log, outage=outage)
    try:
        yield SqlStore(readers, writer)
    finally:
        try:
            await writer.close()
        finally:
            await asyncio.to_thread(_close, readers, engine)


async def _make_ready(
    database: Database, settings: StorageSettings, log: Log, clock: Clock
) -> None:
    began = clock.monotonic()
    while not await asyncio.to_thread(database.make_ready):
        if clock.monotonic() - began >= settings.busy_seconds:
            raise database.refuse()
        await clock.sleep(_RETRY_SECONDS)
    revision = await asyncio.to_thread(database.find_revision)
    if revision != NEWEST_REVISION:
        await asyncio.to_thread(_upgrade, database)
        log.info(
            Event.MIGRATED,
            before=revision,
            after=NEWEST_REVISION,
            seconds=round(clock.monotonic() - began, 3),
        )


def _open_postgres(url: URL, settings: StorageSettings) -> Database:
    try:
        # Loads the driver, which the embedded form does without.
        from tokenyard.storage.sql.postgres import PostgresDatabase  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise StartError(
            f"Postgres needs the package {error.name}: pip install -r requirements/scaled.txt"
        ) from None
    return PostgresDatabase(url, settings)


def _upgrade(database: Database) -> None:
    # Loads Alembic, and therefore only when it is needed.
    from tokenyard.storage.sql.upgrade import upgrade  # noqa: PLC0415

    upgrade(database)


def _close(readers: Readers, engine: Engine) -> None:
    readers.close()
    engine.dispose()
