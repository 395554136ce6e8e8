"""The one writer: gathers concurrent writes into one transaction; each caller gets its own result.

While one transaction is on its way to the disk the next writes gather, so the more there are the
cheaper each becomes, and a lone write waits for nobody. A write that fails does not fail its
neighbours: the transaction is rolled back and each half tried again, down to the one at fault. A
caller that is cancelled stops waiting; its write still happens, whole. When the connection to the
database is lost the batch is tried again (`outage`); if that was while a commit was on its way, the
database is asked first what became of it, so that nothing is written twice or lost in silence.

Decides nothing about what is written. Writes run in one thread of their own, because a database
driver blocks; they must be repeatable.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine, UpdateBase

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.failures import explain, is_lost
from tokenyard.storage.sql.outage import ConnectionLost, Outage
from tokenyard.storage.sql.signatures import TransactionName, sign_transaction, was_committed
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError, Unavailable
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")
Change = Callable[[Connection], T]


@dataclass(frozen=True, slots=True)
class Together(Generic[T]):
    """A change that is made together with all others of its kind that wait at the same time.

    apply: makes them in the order in which they came, and returns a result for each.
    """

    apply: Callable[[Connection, Sequence[Any]], Sequence[T]]
    value: Any

    def __call__(self, connection: Connection) -> T:
        return self.apply(connection, [self.value])[0]


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


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A commit whose answer did not come."""

    transaction: TransactionName
    results: list[Any]


class _Batch:
    """Changes on their way to the database; knows how far it came when it is interrupted."""

    def __init__(self, changes: Sequence[Change[Any]]) -> None:
        # In the order of the changes, for those that are settled.
        self.results: list[Any] = []
        # What is left: each part is tried as one transaction.
        self._parts = deque([changes])
        self._doubt: _Doubt | None = None

    @property
    def done(self) -> bool:
        """Whether every change has its result."""
        return not self._parts

    def work(self, engine: Engine) -> None:
        """Go on until all is settled; raises ConnectionLost. Blocks."""
        try:
            with engine.connect() as connection:
                while self._parts:
                    self._transact(connection)
        except Exception as error:  # the callers that wait have to hear of every kind of failure
            if is_lost(error):
                raise ConnectionLost from error
            self.give_up(explain(error))

    def give_up(self, error: TokenyardError) -> None:
        """Let all that is not settled fail."""
        if self._doubt is not None:
            error = _unknown(error)
        left = sum(len(part) for part in self._parts)
        self.results += [_Failed(error)] * left
        self._parts.clear()

    def _transact(self, connection: Connection) -> None:
        """Settle the first part, or put its halves in its place when a change of it fails."""
        changes = self._parts[0]
        # Not inside the `try`: a lock that another process holds fails all of them at once.
        transaction = connection.begin()
        if self._doubt is not None and self._resolve(self._doubt, connection):
            transaction.rollback()
            return
        try:
            results = _apply(connection, changes)
            name = sign_transaction(connection)
            self._doubt = None if name is None else _Doubt(name, results)
            transaction.commit()
        except Exception as error:  # told to the one caller whose change it is
            if is_lost(error):
                raise
            self._doubt = None
            transaction.rollback()
            self._parts.popleft()
            if len(changes) == 1:
                self.results.append(_Failed(explain(error)))
            else:
                half = len(changes) // 2
                self._parts.extendleft([changes[half:], changes[:half]])
        else:
            self._settle(results)

    def _resolve(self, doubt: _Doubt, connection: Connection) -> bool:
        """Whether the doubtful part is settled; if not, it has to be done again."""
        if not was_committed(connection, doubt.transaction):
            self._doubt = None
            return False
        self._settle(doubt.results)
        return True

    def _settle(self, results: list[Any]) -> None:
        self._doubt = None
        self._parts.popleft()
        self.results += results


def _unknown(cause: BaseException) -> Unavailable:
    error = Unavailable(
        "The database went away while it committed; whether it did cannot be told.",
        reason=Reason.STORAGE_UNAVAILABLE,
    )
    error.__cause__ = cause
    return error


class GroupWriter:
    """Takes writes from one event loop; `close` writes what is waiting and then takes no more."""

    def __init__(
        self,
        engine: Engine,
        settings: StorageSettings,
        *,
        supervisor: TaskSupervisor,
        log: Log,
        outage: Outage,
    ) -> None:
        self._engine = engine
        self._outage = outage
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
        return cast(T, await self._take(change))

    def post(self, change: Change[Any], failed: Callable[[Exception], None]) -> None:
        """Run a change whose result nobody waits for; `failed` hears when it could not be made.

        It is made after all writes that were asked for before, and before all later ones.
        """
        if self._closing or self._task.done() or len(self._waiting) >= self._queued_max:
            failed(Unavailable("Too many writes wait for the disk.", reason=Reason.QUEUE_FULL))
            return

        def hear(result: asyncio.Future[Any]) -> None:
            error = None if result.cancelled() else result.exception()
            if isinstance(error, Exception):
                failed(error)

        self._take(change).add_done_callback(hear)

    def _take(self, change: Change[Any]) -> asyncio.Future[Any]:
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Pending(change, result))
        self._wake.set()
        return result

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

    async def _commit(self, waiting: list[_Pending]) -> None:
        batch = _Batch([pending.change for pending in waiting])
        try:
            await self._bring_home(batch)
            self._answer(waiting, batch.results)
        except asyncio.CancelledError:
            self._answer(waiting, batch.results)
            raise
        finally:
            _refuse(waiting)

    async def _bring_home(self, batch: _Batch) -> None:
        """Work on a batch until it is done, or the database was away for too long."""
        loop = asyncio.get_running_loop()
        while not batch.done:
            try:
                self._outage.check()
                working = loop.run_in_executor(self._thread, batch.work, self._engine)
                try:
                    await asyncio.shield(working)
                except asyncio.CancelledError:
                    # The thread cannot be stopped half way, and its callers must hear what it did.
                    await asyncio.wait({working})
                    raise
                self._outage.end()
            except ConnectionLost as lost:
                try:
                    await self._outage.wait(lost)
                except Unavailable as away:
                    batch.give_up(away)
            except Unavailable as away:
                batch.give_up(away)

    def _answer(self, batch: list[_Pending], results: Sequence[Any]) -> None:
        """Tell each caller its result; there may be fewer, when work on the batch was stopped."""
        causes: dict[int, BaseException] = {}
        for pending, result in zip(batch, results, strict=False):
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


def _apply(connection: Connection, changes: Sequence[Change[Any]]) -> list[Any]:
    if len(changes) == 1:
        return [changes[0](connection)]
    kinds: dict[Any, list[Any]] = {}
    for change in changes:
        if isinstance(change, Together):
            kinds.setdefault(change.apply, []).append(change.value)
    results = {kind: iter(kind(connection, values)) for kind, values in kinds.items()}
    return [
        next(results[change.apply]) if isinstance(change, Together) else change(connection)
        for change in changes
    ]
