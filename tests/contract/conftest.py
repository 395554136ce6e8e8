"""Every store that the ports can stand on; a contract test runs once over each."""

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import psycopg
import pytest

from support.postgres_server import PostgresServer
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory import MemoryStore, open_memory_store
from tokenyard.storage.sql.schema import metadata
from tokenyard.storage.sql.store import SqlStore, open_sql_store
from tokenyard.telemetry.logs import Log

Store = MemoryStore | SqlStore


class Opener:
    """Opens stores over one database, with the log at hand."""

    def __init__(self, place: Path | str, supervisor: TaskSupervisor) -> None:
        self.place = place
        self.supervisor = supervisor
        self.lines = io.StringIO()
        self.log = Log(self.lines, RealClock(), level="debug")

    def open(
        self, settings: StorageSettings | None = None
    ) -> AbstractAsyncContextManager[SqlStore]:
        return open_sql_store(
            self.place,
            supervisor=self.supervisor,
            log=self.log,
            clock=RealClock(),
            settings=settings,
        )


@pytest.fixture
async def supervisor() -> AsyncIterator[TaskSupervisor]:
    failures: list[str] = []
    async with TaskSupervisor(lambda name, error: failures.append(f"{name}: {error}")) as made:
        yield made
    assert not failures


class SqliteOpener(Opener):
    """Over a file that is not there yet."""

    def __init__(self, path: Path, supervisor: TaskSupervisor) -> None:
        super().__init__(path, supervisor)
        self.path = path

    def open(
        self, settings: StorageSettings | None = None
    ) -> AbstractAsyncContextManager[SqlStore]:
        self.place = self.path
        return super().open(settings)


@pytest.fixture
def sqlite(tmp_path: Path, supervisor: TaskSupervisor) -> SqliteOpener:
    return SqliteOpener(tmp_path / "data" / "tokenyard.db", supervisor)


# As the migrations leave them.
FIRST_ROWS = (
    b"INSERT INTO organisations VALUES ('org_default', 'My organisation', 0)",
    b"INSERT INTO projects VALUES ('proj_default', 'org_default', 'Default', 0)",
    b"INSERT INTO users (id, organisation_id, kind, name, role, operator, created_at)"
    b" VALUES ('user_owner', 'org_default', 'person', 'Owner', 'owner', true, 0)",
)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """One database for all tests: to empty it is quicker than to make it."""
    return postgres_server.make_database()


@pytest.fixture
def empty_postgres(postgres_url: str) -> Iterator[str]:
    """Its address; a test leaves nothing behind."""
    yield postgres_url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        names = ", ".join(table.name for table in metadata.sorted_tables)
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY".encode())
        for statement in FIRST_ROWS:
            connection.execute(statement)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(
    request: pytest.FixtureRequest, sqlite: SqliteOpener, supervisor: TaskSupervisor
) -> AsyncIterator[Store]:
    match request.param:
        case "memory":
            async with open_memory_store() as in_memory:
                yield in_memory
        case "sqlite":
            async with sqlite.open() as in_file:
                yield in_file
        case "postgres":
            url = request.getfixturevalue("empty_postgres")
            async with Opener(url, supervisor).open() as on_server:
                yield on_server
