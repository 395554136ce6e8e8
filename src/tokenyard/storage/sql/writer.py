"""The one writer: gathers concurrent writes into one transaction; each caller gets its own result.

While one transaction is on its way to the disk the next writes gather, so the more there are the
cheaper each becomes, and a lone write waits for nobody. A write that fails does not fail its
neighbours: the transaction is rolled back and each half tried again, down to the one at fault. A
caller that is cancelled stops waiting; its write still happens, whole.

Decides nothing about what is written. Writes run in one thread of their own, because a database
driver blocks; they must be repeatable.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, Insert, Table, UpdateBase
from sqlalchemy.sql.dml import ReturningInsert

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.dialect import insert_or_ignore
from tokenyard.storage.sql.failures import explain
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError, Unavailable
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")
Change = Callable[[Connection], T]


@dataclass(frozen=True, slots=True)
class Insertion:
    """How rows come into a table unless their id is there. Built once: building is what costs."""

    one: Insert
    # Tells the ids that were new.
    many: ReturningInsert[Any]


def insert_new(table: Table) -> Insertion:
    """The insertion into a table whose primary key is `id`."""
    statement = insert_or_ignore(table, table.c.id)
    return Insertion(statement, statement.returning(table.c.id))


@dataclass(frozen=True, slots=True)
class Addition:
    """A row to insert unless its id is there; many of them become one statement.

    The result of writing it is whether it was new.
    """

    into: Insertion
    values: dict[str, Any]

    def __call__(self, connection: Connection) -> bool:
        return connection.execute(self.into.one, self.values).rowcount == 1


def run(statement: UpdateBase, **values: Any) -> Change[int]:
    """A change of one statement; its result is how many rows it touched."""
    return lambda connection: connection.execute(statement, values).rowcount


@dataclass(frozen=True, slots=True)
class _Pending:
    change: Change[Any]
    result: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Failed:
    """Stands for a result where the write had none."""

    error: TokenyardError


class GroupWriter:
    """Takes writes from one event loop; `close` writes what is waiting and then takes no more."""

    def __init__(
        self, engine: Engine, settings: StorageSettings, *, supervisor: TaskSupervisor, log: Log
    ) -> None:
        self._engine = engine
        self._queued_max = settings.queued_writes_max
        self._batch_max = settings.batch_writes_max
        self._log = log
        self._waiting: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="storage-writer")
        self._task = supervisor.spawn("storage.writer", self._run())

    async def write(self, change: Change[T]) -> T:
        """Run a change in a transaction and return its result once that is committed.

        A change that raises leaves nothing behind. It may run twice, of which one run counts.
        Raises Unavailable when too many writes wait or the store is closing.
        """
        if self._closing or self._task.done():
            raise Unavailable("The store is closing.", reason=Reason.SHUTTING_DOWN)
        if len(self._waiting) >= self._queued_max:
            raise Unavailable(
                "Too many writes wait for the disk.",
                reason=Reason.QUEUE_FULL,
                retry_after_seconds=1.0,
            )
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Pending(change, result))
        self._wake.set()
        return cast(T, await result)

    async def close(self) -> None:
        """Write all that waits, then end the task and the thread."""
        self._closing = True
        self._wake.set()
        try:
            await asyncio.wait([self._task])
        finally:
            self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                count = min(len(self._waiting), self._batch_max)
                await self._commit([self._waiting.popleft() for _ in range(count)])
        finally:
            _refuse(self._waiting)
            self._waiting.clear()

    async def _commit(self, batch: list[_Pending]) -> None:
        loop = asyncio.get_running_loop()
        changes = [pending.change for pending in batch]
        committing = loop.run_in_executor(self._thread, _commit, self._engine, changes)
        try:
            self._answer(batch, await asyncio.shield(committing))
        except asyncio.CancelledError:
            # The thread cannot be stopped half way, and its callers must hear what it did.
            self._answer(batch, await committing)
            raise
        finally:
            _refuse(batch)

    def _answer(self, batch: list[_Pending], results: Sequence[Any]) -> None:
        causes: dict[int, BaseException] = {}
        for pending, result in zip(batch, results, strict=True):
            failed = isinstance(result, _Failed)
            if failed and result.error.__cause__ is not None:
                causes[id(result.error.__cause__)] = result.error.__cause__
            if pending.result.done():
                continue
            if failed:
                pending.result.set_exception(result.error)
            else:
                pending.result.set_result(result)
        # One lock or full disk fails many writes, and is told once.
        for cause in causes.values():
            self._log.error(Event.STORAGE_FAILED, cause)


def _refuse(waiting: Iterable[_Pending]) -> None:
    for pending in waiting:
        if not pending.result.done():
            pending.result.set_exception(
                Unavailable("The store is closing.", reason=Reason.SHUTTING_DOWN)
            )


def _commit(engine: Engine, changes: Sequence[Change[Any]]) -> list[Any]:
    """Apply all changes in one transaction, or each half in its own when one of them fails."""
    try:
        with engine.connect() as connection:
            return _transact(connection, changes)
    except Exception as error:  # the callers that wait have to hear of every kind of failure
        return [_Failed(explain(error)) for _ in changes]


def _transact(connection: Connection, changes: Sequence[Change[Any]]) -> list[Any]:
    # Not inside the `try`: a lock that another process holds fails all of them at once.
    transaction = connection.begin()
    try:
        results = _apply(connection, changes)
        transaction.commit()
    except Exception as error:  # told to the one caller whose change it is
        transaction.rollback()
        if len(changes) == 1:
            return [_Failed(explain(error))]
        half = len(changes) // 2
        return _transact(connection, changes[:half]) + _transact(connection, changes[half:])
    return results


def _apply(connection: Connection, changes: Sequence[Change[Any]]) -> list[Any]:
    if len(changes) == 1:
        return [changes[0](connection)]
    rows: dict[Insertion, list[dict[str, Any]]] = {}
    for change in changes:
        if isinstance(change, Addition):
            rows.setdefault(change.into, []).append(change.values)
    added = {
        into: set(connection.execute(into.many, together).scalars())
        for into, together in rows.items()
    }
    results = []
    for change in changes:
        if isinstance(change, Addition):
            # Of two equal ids in one batch the first is the new one.
            results.append(change.values["id"] in added[change.into])
            added[change.into].discard(change.values["id"])
        else:
            results.append(change(connection))
    return results
