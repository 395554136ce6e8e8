"""Running the lines of one batch, until each has a result or the batch has to stop.

Reads the input as it goes, so that memory is bounded by one portion of it. Lines that have a result
are passed over. Decides when a batch stops before its end; does not decide how a line ended.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from tokenyard.jobs.batches.folder import FileFolder, Place
from tokenyard.jobs.batches.intake import read_line
from tokenyard.jobs.batches.lines import LineRunner, Work
from tokenyard.jobs.batches.pacer import Pacer, Turn
from tokenyard.jobs.batches.records import Batch, LineFault
from tokenyard.jobs.batches.rules.retrying import Course
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import BatchSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why lines were left out."""

    reason: Reason
    fault: LineFault | None = None


class Execution:
    """One batch that runs. `close_door` keeps further lines from beginning; it then stops with
    the reason `shutting_down` once those that run have ended."""

    def __init__(
        self,
        batch: Batch,
        finished: set[int],
        *,
        folder: FileFolder,
        runner: LineRunner,
        pacer: Pacer,
        settings: BatchSettings,
        clock: Clock,
        log: Log,
    ) -> None:
        self._batch = batch
        self._finished = finished
        self._folder = folder
        self._runner = runner
        self._pacer = pacer
        self._settings = settings
        self._clock = clock
        self._log = log
        self._place: Place | None = Place()
        # Lines at hand that have not begun.
        self._ready: deque[Work] = deque()
        # Lines that have to wait, and until when (monotonic seconds).
        self._later: list[tuple[float, Work]] = []
        self._running = 0
        # Since when no line of this batch could get money (monotonic seconds).
        self._poor_since: float | None = None
        self._closed = False
        self._failure: BaseException | None = None

    @property
    def running(self) -> int:
        """Lines that run now."""
        return self._running

    def close_door(self) -> None:
        """Begin no line any more; those that run may end."""
        self._closed = True

    async def run(self) -> Stopped | None:
        """Run what has no result; None when all lines have one.

        Returns as soon as the batch has to stop; lines that still run are then broken off, without
        a result and without a bill.
        """
        async with TaskSupervisor(self._log.task_failed) as tasks:
            try:
                while True:
                    stopped = self._must_stop()
                    if stopped is not None:
                        return stopped
                    self._wake_sleepers()
                    if self._wants_more():
                        try:
                            await self._read_on()
                        except FileNotFoundError:
                            return _lost()
                    elif not self._ready and not self._later and not self._running:
                        return None
                    elif not self._begin(tasks):
                        await self._pacer.wait()
            finally:
                self._pacer.give_up(self._batch.id)

    def _wants_more(self) -> bool:
        """Whether to read on; lines that wait for their time are in memory, so they are bounded."""
        return not (self._ready or self._place is None or self._closed or self._is_held_up())

    def _is_held_up(self) -> bool:
        return len(self._later) >= self._settings.lines_in_flight_max

    def _must_stop(self) -> Stopped | None:
        if self._failure is not None:
            raise self._failure
        if self._closed and not self._running:
            return Stopped(Reason.SHUTTING_DOWN)
        if self._clock.now() >= self._batch.expires_at:
            return Stopped(Reason.BATCH_EXPIRED)
        poor_since = self._poor_since
        if poor_since is None or self._running:
            return None
        if self._clock.monotonic() - poor_since < self._settings.budget_wait_seconds:
            return None
        message = "The project's monthly budget does not hold another line."
        return Stopped(Reason.INSUFFICIENT_BUDGET, LineFault(Reason.INSUFFICIENT_BUDGET, message))

    async def _read_on(self) -> None:
        assert self._place is not None
        # Others must not wait for a batch that waits for the disk.
        self._pacer.give_up(self._batch.id)
        lines, place = await self._folder.read_lines(
            self._batch.input_file, self._place, line_bytes_max=self._settings.line_bytes_max
        )
        for raw in lines:
            if raw.number in self._finished:
                continue
            try:
                self._ready.append(Work(read_line(raw, self._batch.endpoint)))
            except InvalidRequest:
                # Every line was checked before the first one ran: these are other bytes.
                raise FileNotFoundError(self._batch.input_file) from None
        self._place = place

    def _begin(self, tasks: TaskSupervisor) -> bool:
        """Begin the next line if it may begin now."""
        if not self._ready or self._closed or self._is_held_up():
            self._pacer.give_up(self._batch.id)
            return False
        turn = self._pacer.begin(self._batch.id, self._ready[0].line.model)
        if turn is None:
            return False
        work = self._ready.popleft()
        self._running += 1
        name = f"line {work.line.number} of {self._batch.id}"
        turn.task = tasks.spawn(name, self._run_line(work, turn))
        turn.task.add_done_callback(lambda task: self._after(task, work, turn))
        return True

    async def _run_line(self, work: Work, turn: Turn) -> None:
        again = await self._runner.run(self._batch, work, turn)
        if again is None:
            turn.ended = True
            self._poor_since = None
            return
        if again.course is not Course.NO_MONEY:
            self._poor_since = None
        elif self._poor_since is None:
            self._poor_since = self._clock.monotonic()
        self._later.append((self._clock.monotonic() + again.seconds, work))
        turn.ended = True

    def _after(self, task: "asyncio.Task[None]", work: Work, turn: Turn) -> None:
        """However the line ended; one that was stopped half-way is run again."""
        self._running -= 1
        if not task.cancelled() and task.exception() is not None:
            # Its result cannot be written down; the batch starts again from what is stored.
            self._failure = task.exception()
        if not turn.ended:
            self._ready.appendleft(work)
        self._pacer.end(turn)

    def _wake_sleepers(self) -> None:
        if not self._later:
            return
        now = self._clock.monotonic()
        self._ready.extendleft(work for at, work in self._later if at <= now)
        self._later = [(at, work) for at, work in self._later if at > now]


def _lost() -> Stopped:
    fault = LineFault(Reason.FILE_LOST, "The input file is gone or was changed on the disk.")
    return Stopped(Reason.FILE_LOST, fault)
