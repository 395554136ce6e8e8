"""The group writer: what is gathered, what fails alone, what is left by cancelling and closing."""

import asyncio
import io
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, event

from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.outage import Outage
from tokenyard.storage.sql.prepared import insert_new
from tokenyard.storage.sql.sqlite import SqliteDatabase
from tokenyard.storage.sql.writer import GroupWriter, Together
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.errors import Conflict, InternalFailure, Unavailable
from tokenyard.vocabulary.reasons import Reason

metadata = MetaData()
notes = Table(
    "notes",
    metadata,
    Column("id", String, primary_key=True),
    Column("amount", Integer, nullable=False),
)

NEW_NOTE = insert_new(notes)


class Bench:
    """A writer over a real file, with a gate in front of the disk."""

    def __init__(self, path: Path, settings: StorageSettings) -> None:
        self.path = path
        self.lines = io.StringIO()
        self.commits = 0
        database = SqliteDatabase(path, settings)
        assert database.make_ready()
        self.engine: Engine = database.connect_writer()
        metadata.create_all(self.engine)
        event.listen(self.engine, "commit", self._note_commit)
        self.supervisor = TaskSupervisor(lambda name, error: None)
        self.clock = SimulatedClock()
        log = Log(self.lines, self.clock)
        self.writer = GroupWriter(
            self.engine,
            settings,
            supervisor=self.supervisor,
            log=log,
            outage=Outage(self.clock, log, patience_seconds=10.0),
        )

    def add(self, id: str, amount: int = 1) -> "asyncio.Task[bool]":
        addition = Together(NEW_NOTE.add, {"id": id, "amount": amount})
        return asyncio.get_running_loop().create_task(self.writer.write(addition))

    def hold(self) -> tuple["asyncio.Task[None]", Callable[[], None]]:
        """A write that keeps the thread busy until it is let go."""
        gate = threading.Event()

        def wait(connection: Connection) -> None:
            assert gate.wait(10)

        task = asyncio.get_running_loop().create_task(self.writer.write(wait))
        return task, gate.set

    def stored(self) -> dict[str, int]:
        connection = sqlite3.connect(self.path)
        try:
            return dict(connection.execute("SELECT id, amount FROM notes").fetchall())
        finally:
            connection.close()

    async def close(self) -> None:
        await self.writer.close()
        await self.supervisor.close()
        self.engine.dispose()

    def _note_commit(self, connection: Connection) -> None:
        self.commits += 1


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "t.db", StorageSettings(busy_seconds=0.05, queued_writes_max=400))
    yield made
    await made.close()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_writes_that_come_together_are_committed_together(bench: Bench) -> None:
    assert await asyncio.gather(*(bench.add(str(n)) for n in range(200))) == [True] * 200
    assert len(bench.stored()) == 200
    assert bench.commits <= 3


async def test_a_batch_has_a_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "t.db", StorageSettings(batch_writes_max=10))
    assert await asyncio.gather(*(bench.add(str(n)) for n in range(95))) == [True] * 95
    assert 10 <= bench.commits <= 12
    await bench.close()


async def test_a_lone_write_waits_for_nobody(bench: Bench) -> None:
    assert await bench.add("a")
    assert bench.commits == 1


async def test_each_caller_gets_the_result_of_its_own_change(bench: Bench) -> None:
    def change(number: int) -> Callable[[Connection], int]:
        return lambda connection: number * number

    added = [bench.add(str(n % 5)) for n in range(20)]
    squares = await asyncio.gather(*(bench.writer.write(change(n)) for n in range(50)))
    assert squares == [n * n for n in range(50)]
    assert await asyncio.gather(*added) == [True] * 5 + [False] * 15


async def test_a_write_that_fails_does_not_fail_its_neighbours(bench: Bench) -> None:
    def forget_the_rest(connection: Connection) -> None:
        connection.execute(notes.insert(), {"id": "half", "amount": 1})
        raise Conflict("no")

    held, let_go = bench.hold()
    good = [bench.add(str(n)) for n in range(30)]
    too_big = bench.add("big", 2**70)
    not_text = bench.add("\ud800")
    refusing = asyncio.ensure_future(bench.writer.write(forget_the_rest))
    good += [bench.add(str(n)) for n in range(30, 60)]
    let_go()
    assert await asyncio.gather(*good) == [True] * 60
    for failing, kind in ((too_big, InternalFailure), (not_text, InternalFailure)):
        with pytest.raises(kind):
            await failing
    with pytest.raises(Conflict):
        await refusing
    await held
    assert bench.stored() == {str(n): 1 for n in range(60)}
    # Found by halves: far fewer commits than one for each row.
    assert bench.commits < 40


async def test_a_fault_in_a_change_is_told_to_its_caller_alone(bench: Bench) -> None:
    def divide(connection: Connection) -> float:
        return 1 / 0

    failing = asyncio.ensure_future(bench.writer.write(divide))
    assert await bench.add("a")
    with pytest.raises(InternalFailure):
        await failing
    assert "ZeroDivisionError" in bench.lines.getvalue()
    assert await bench.add("b")


async def test_a_caller_that_is_cancelled_is_written_all_the_same(bench: Bench) -> None:
    held, let_go = bench.hold()
    waiting = [bench.add(str(n)) for n in range(20)]
    await turns()
    for task in waiting[::2]:
        task.cancel()
    let_go()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in done] == [True, False] * 10
    await held
    assert await bench.add("last")
    assert bench.stored() == {**{str(n): 1 for n in range(20)}, "last": 1}


async def test_the_queue_is_bounded_and_says_so(bench: Bench) -> None:
    held, let_go = bench.hold()
    await turns()
    waiting = [bench.add(str(n)) for n in range(400)]
    await turns()
    with pytest.raises(Unavailable) as refusal:
        await bench.add("one too many")
    assert refusal.value.reason is Reason.QUEUE_FULL
    let_go()
    assert all(await asyncio.gather(*waiting))
    await held
    assert await bench.add("now")
    assert len(bench.stored()) == 401


async def test_closing_writes_what_waits_and_refuses_what_comes(bench: Bench) -> None:
    held, let_go = bench.hold()
    waiting = [bench.add(str(n)) for n in range(20)]
    await turns()
    closing = asyncio.ensure_future(bench.writer.close())
    await turns()
    with pytest.raises(Unavailable) as refusal:
        await bench.add("late")
    assert refusal.value.reason is Reason.SHUTTING_DOWN
    let_go()
    await closing
    assert await asyncio.gather(*waiting) == [True] * 20
    await held
    assert len(bench.stored()) == 20
    await bench.writer.close()


async def test_a_supervisor_that_closes_first_leaves_nobody_waiting_or_misled(
    bench: Bench,
) -> None:
    held, let_go = bench.hold()
    await turns()
    waiting = [bench.add(str(n)) for n in range(20)]
    await turns()
    stopping = asyncio.ensure_future(bench.supervisor.close())
    await turns()
    let_go()
    await stopping
    # The one that was on its way is told the truth; the others that nothing was written.
    await held
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in done)
    assert bench.stored() == {}
    with pytest.raises(Unavailable):
        await bench.add("late")


async def test_a_full_disk_is_told_and_leaves_nothing_half_written(bench: Bench) -> None:
    def fill(pages: int) -> Callable[[Connection], None]:
        return lambda connection: connection.exec_driver_sql(
            f"PRAGMA max_page_count = {pages}"
        ).close()

    def write_much(connection: Connection) -> None:
        connection.execute(notes.insert(), {"id": "first half", "amount": 1})
        connection.execute(notes.insert(), {"id": "x" * 1_000_000, "amount": 1})

    await bench.writer.write(fill(10))
    failing = asyncio.ensure_future(bench.writer.write(write_much))
    assert await bench.add("small")
    with pytest.raises(Unavailable):
        await failing
    assert bench.stored() == {"small": 1}
    assert "database or disk is full" in bench.lines.getvalue()
    await bench.writer.write(fill(100_000))
    await bench.writer.write(write_much)
    assert len(bench.stored()) == 3


@pytest.fixture
def locked(bench: Bench) -> Iterator[sqlite3.Connection]:
    other = sqlite3.connect(bench.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


async def test_a_lock_fails_the_batch_after_one_wait_and_not_one_for_each(
    bench: Bench, locked: sqlite3.Connection
) -> None:
    results = await asyncio.wait_for(
        asyncio.gather(*(bench.add(str(n)) for n in range(100)), return_exceptions=True), 4.0
    )
    assert all(isinstance(result, Unavailable) for result in results)
    assert bench.lines.getvalue().count("database is locked") == 1
    locked.execute("ROLLBACK")
    assert await bench.add("a")
    assert bench.stored() == {"a": 1}
