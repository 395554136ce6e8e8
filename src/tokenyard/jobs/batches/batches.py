"""Batches: made, listed and cancelled by the project they belong to, and carried to their end.

Each open batch has one task that looks at the stored status, does what that status asks for, and
looks again. So a start of the process, a cancellation and a failure are all the same: the task
begins anew from what is stored. Of several processes over one store one carries the batches of all;
what the others take in or cancel it finds in the store. Does not know HTTP, nor how lines are run.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tokenyard.jobs.batches.execution import Execution
from tokenyard.jobs.batches.files import Files
from tokenyard.jobs.batches.intake import check_endpoint, check_input
from tokenyard.jobs.batches.lines import LineRunner
from tokenyard.jobs.batches.pacer import Pacer
from tokenyard.jobs.batches.ports import BatchStore
from tokenyard.jobs.batches.records import Batch, LineFault, Purpose, held_to
from tokenyard.jobs.batches.results import ResultWriter
from tokenyard.jobs.batches.rules.retrying import backoff_seconds
from tokenyard.jobs.batches.rules.states import (
    CANCELLABLE,
    OPEN,
    BatchStatus,
    decide_end,
    may_pass,
)
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.settings import BatchSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import (
    Conflict,
    InvalidRequest,
    LimitReached,
    NotFound,
    TokenyardError,
    Unavailable,
)
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import BatchId, FileId, IdPrefix, ModelName
from tokenyard.vocabulary.reasons import Reason

_OPEN_RETRY_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class BatchAsk:
    """What a caller wants to be run."""

    input_file: FileId
    endpoint: str
    metadata: Mapping[str, str]
    output_seconds: int | None = None


class Batches:
    """All batches of this process."""

    def __init__(
        self,
        store: BatchStore,
        files: Files,
        settings: BatchSettings,
        *,
        runner: LineRunner,
        pacer: Pacer,
        pool: UpstreamPool,
        tasks: TaskSupervisor,
        clock: Clock,
        randomness: Randomness,
        log: Log,
        metrics: GatewayMetrics,
    ) -> None:
        self._store = store
        self._files = files
        self._settings = settings
        self._runner = runner
        self._pacer = pacer
        self._pool = pool
        self._tasks = tasks
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self._metrics = metrics
        self._places = asyncio.Semaphore(settings.running_max)
        self._carrying: dict[BatchId, asyncio.Task[None]] = {}
        self._open: dict[BatchId, Batch] = {}
        self._executions: dict[BatchId, Execution] = {}
        self._closed = False
        self._carries = False
        metrics.batch_queue_age.set_function(self._queue_age)

    def put_down(self) -> None:
        """Carry nothing any more: another process does."""
        self._carries = False
        for task in self._carrying.values():
            task.cancel()

    def take_over(self, found: Iterable[Batch]) -> None:
        """Carry what is new here of all that is open, and what somebody else has cancelled."""
        self._carries = True
        for batch in found:
            if _is_news(batch, self._open.get(batch.id)):
                self._carry(batch)

    async def create(self, caller: Principal, ask: BatchAsk) -> Batch:
        """A new batch; raises InvalidRequest, NotFound for its file, LimitReached, Unavailable."""
        if self._closed:
            raise Unavailable("The server is stopping.", reason=Reason.SHUTTING_DOWN)
        check_endpoint(ask.endpoint)
        file = await self._files.get(caller, ask.input_file)
        if file.purpose is not Purpose.BATCH:
            raise InvalidRequest(
                f"The file '{file.id}' has the purpose '{file.purpose}', not 'batch'.",
                param="input_file_id",
            )
        now = self._clock.now()
        batch = Batch(
            id=BatchId(mint(IdPrefix.BATCH, self._randomness)),
            project=caller.project,
            user=caller.user,
            key=caller.key,
            **held_to(caller),
            endpoint=ask.endpoint,
            input_file=file.id,
            status=BatchStatus.VALIDATING,
            created_at=now,
            expires_at=now + self._settings.window_seconds,
            metadata=dict(ask.metadata),
            output_seconds=ask.output_seconds,
        )
        if not await self._store.add_batch(batch, open_max=self._settings.open_max):
            raise LimitReached(
                f"This project has {self._settings.open_max} batches that have not ended, which "
                "is the limit.",
                reason=Reason.OPEN_BATCHES_LIMIT,
                retry_after_seconds=_OPEN_RETRY_SECONDS,
            )
        self._carry(batch)
        return batch

    async def get(self, caller: Principal, id: BatchId) -> Batch:
        """The batch as it stands; raises NotFound."""
        batch = await self._store.find_batch(id, caller.project)
        if batch is None:
            raise NotFound(f"There is no batch '{id}'.", param="batch_id")
        return batch

    async def page(
        self, caller: Principal, *, limit: int, after: BatchId | None
    ) -> tuple[list[Batch], bool]:
        """Batches of the caller's project, the newest first, and whether there are more."""
        found = await self._store.list_batches(caller.project, limit=limit + 1, after=after)
        return found[:limit], len(found) > limit

    async def cancel(self, caller: Principal, id: BatchId) -> Batch:
        """Stop it and keep the lines that have ended; raises NotFound, or Conflict at its end."""
        while True:
            batch = await self.get(caller, id)
            if batch.status is BatchStatus.CANCELLING:
                return batch
            if batch.status not in CANCELLABLE:
                raise Conflict(
                    f"The batch is {batch.status}; it cannot be cancelled any more.",
                    reason=Reason.BATCH_ENDED,
                    param="batch_id",
                )
            stopped = replace(batch, stopped=Reason.BATCH_CANCELLED)
            if await self._pass(stopped, BatchStatus.CANCELLING):
                # What it does now is over; its task begins anew with writing down what there is.
                self._carry(batch)
                return await self.get(caller, id)

    def close(self) -> None:
        """Take no batch and begin no line any more; lines that run go on."""
        self._closed = True
        for execution in self._executions.values():
            execution.close_door()

    async def drain(self, seconds: float) -> None:
        """Close, give lines that run that long, then stop everything; what is stored stays."""
        self.close()
        deadline = self._clock.monotonic() + seconds
        while self._pacer.running and self._clock.monotonic() < deadline:
            await self._clock.sleep(_POLL_SECONDS)
        carrying = list(self._carrying.values())
        self.put_down()
        if carrying:
            await asyncio.wait(carrying)

    def _carry(self, batch: Batch) -> None:
        """Give the batch a task if we carry; one that it has is stopped first."""
        if not self._carries:
            return
        self._open[batch.id] = batch
        before = self._carrying.get(batch.id)
        if before is not None:
            before.cancel()
        task = self._tasks.spawn(f"carry {batch.id}", self._carry_on(batch, before))
        self._carrying[batch.id] = task
        task.add_done_callback(lambda done: self._let_go(batch.id, done))
        self._publish()

    def _let_go(self, id: BatchId, task: "asyncio.Task[None]") -> None:
        if self._carrying.get(id) is task:
            del self._carrying[id]
            self._open.pop(id, None)
            self._publish()

    async def _carry_on(self, batch: Batch, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        failures = 0
        while True:
            try:
                await self._carry_to_end(batch)
                return
            except Exception as error:  # the batch goes on from what is stored
                failures += 1
                self._log.error(Event.BATCH_FAILED, error, batch=batch.id, failures=failures)
            seconds = backoff_seconds(
                failures,
                seconds_min=self._settings.retry_seconds_min,
                seconds_max=self._settings.retry_seconds_max,
                told=None,
            )
            await self._clock.sleep(seconds)

    async def _carry_to_end(self, batch: Batch) -> None:
        """Do what the stored status asks for until the batch has ended or the process stops."""
        while True:
            found = await self._store.find_batch(batch.id, batch.project)
            if found is None or found.status not in OPEN:
                return
            self._open[batch.id] = found
            self._publish()
            if found.status is BatchStatus.VALIDATING:
                async with self._places:
                    await self._validate(found)
            elif found.status is BatchStatus.IN_PROGRESS:
                async with self._places:
                    if self._closed or await self._execute(found):
                        return
            else:
                await self._finish(found)

    async def _validate(self, batch: Batch) -> None:
        try:
            checked = await check_input(
                self._files.folder, batch.input_file, batch.endpoint, self._settings
            )
        except FileNotFoundError:
            fault = LineFault(Reason.FILE_LOST, "The input file is gone.", "input_file_id")
            await self._pass(replace(batch, faults=(fault,)), BatchStatus.FAILED)
            return
        faults = checked.faults or self._find_model(checked.model)
        read = replace(batch, total=checked.total, model=checked.model, faults=faults)
        await self._pass(read, BatchStatus.FAILED if faults else BatchStatus.IN_PROGRESS)

    def _find_model(self, model: ModelName | None) -> tuple[LineFault, ...]:
        try:
            self._pool.find(model or "")
        except NotFound as error:
            # While servers start, the model may still be one of theirs.
            if self._pool.ready:
                return (LineFault(error.reason, error.message, "body.model", None),)
        except TokenyardError:
            # It is away now, and will be there when its lines run.
            return ()
        return ()

    async def _execute(self, batch: Batch) -> bool:
        """Run its lines; True when they did not all run because the process stops."""
        execution = Execution(
            batch,
            await self._store.finished_numbers(batch.id),
            folder=self._files.folder,
            runner=self._runner,
            pacer=self._pacer,
            settings=self._settings,
            clock=self._clock,
            log=self._log,
        )
        if self._closed:
            return True
        self._executions[batch.id] = execution
        try:
            stopped = await execution.run()
        finally:
            del self._executions[batch.id]
        if stopped is None:
            await self._pass(batch, BatchStatus.FINALIZING)
            return False
        if stopped.reason is Reason.SHUTTING_DOWN:
            return True
        faults = batch.faults if stopped.fault is None else (*batch.faults, stopped.fault)
        await self._pass(
            replace(batch, stopped=stopped.reason, faults=faults), BatchStatus.FINALIZING
        )
        return False

    async def _finish(self, batch: Batch) -> None:
        writer = ResultWriter(
            batch,
            self._store,
            self._files.folder,
            self._clock,
            self._randomness,
            self._settings.line_bytes_max,
        )
        written = await writer.write()
        end = decide_end(batch.status, batch.stopped)
        poor = batch.stopped is Reason.INSUFFICIENT_BUDGET
        ended = replace(
            self._stamp(batch, end),
            failed=batch.failed + (written.left_out if poor else 0),
            output_file=None if written.output is None else written.output.id,
            error_file=None if written.errors is None else written.errors.id,
        )
        if not await self._store.end_batch(ended, batch.status, written.files):
            await writer.forget(written)
            return
        self._metrics.batch_lines.labels(batch.stopped or "left_out").inc(written.left_out)
        self._note(ended)

    async def _pass(self, batch: Batch, after: BatchStatus) -> bool:
        """Store the batch with its next status; False when it has another one by now."""
        if not await self._store.change_batch(self._stamp(batch, after), batch.status):
            return False
        self._note(self._stamp(batch, after))
        return True

    def _stamp(self, batch: Batch, status: BatchStatus) -> Batch:
        if not may_pass(batch.status, status):
            raise ValueError(f"a batch does not pass from {batch.status} to {status}")
        return replace(batch, status=status, stamps={**batch.stamps, status: self._clock.now()})

    def _note(self, batch: Batch) -> None:
        self._log.info(
            Event.BATCH_CHANGED,
            batch=batch.id,
            status=batch.status,
            lines=batch.total,
            stopped=batch.stopped,
        )

    def _publish(self) -> None:
        counts = Counter(batch.status for batch in self._open.values())
        for status in OPEN:
            self._metrics.batches.labels(status).set(counts[status])

    def _queue_age(self) -> float:
        if not self._open:
            return 0.0
        return self._clock.now() - min(batch.created_at for batch in self._open.values())


def _is_news(batch: Batch, known: Batch | None) -> bool:
    cancelled = batch.status is BatchStatus.CANCELLING
    return known is None or (cancelled and known.status is not BatchStatus.CANCELLING)
