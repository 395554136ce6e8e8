"""Every store that the ports can stand on; a contract test runs once over each."""

import io
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory import MemoryStore, open_memory_store
from tokenyard.storage.sql.store import SqlStore, open_sql_store
from tokenyard.telemetry.logs import Log

Store = MemoryStore | SqlStore


class Opener:
    """Opens SQLite stores in one folder, with the log at hand."""

    def __init__(self, folder: Path, supervisor: TaskSupervisor) -> None:
        self.path = folder / "data" / "tokenyard.db"
        self.supervisor = supervisor
        self.lines = io.StringIO()
        self.log = Log(self.lines, RealClock(), level="debug")

    def open(
        self, settings: StorageSettings | None = None
    ) -> AbstractAsyncContextManager[SqlStore]:
        return open_sql_store(
            self.path,
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


@pytest.fixture
def sqlite(tmp_path: Path, supervisor: TaskSupervisor) -> Opener:
    return Opener(tmp_path, supervisor)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, sqlite: Opener) -> AsyncIterator[Store]:
    if request.param == "memory":
        async with open_memory_store() as in_memory:
            yield in_memory
    else:
        async with sqlite.open() as in_file:
            yield in_file
