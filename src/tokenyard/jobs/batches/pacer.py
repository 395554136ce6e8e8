"""The one place where lines of all batches ask whether they may begin, and are told to make way.

Keeps the state that `rules.pacing` decides on. Does not know what a line is, nor how it ends.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from tokenyard.jobs.batches.rules.pacing import (
    Claim,
    Pace,
    PaceLimits,
    allow,
    allow_of,
    answer,
    choose,
    close,
    refuse,
    yield_lines,
)
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import BatchSettings
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.ids import BatchId, ModelName
from tokenyard.vocabulary.reasons import Reason

YIELDED = "yielded"


@dataclass(eq=False, slots=True)
class Turn:
    """A line's right to run, from `Pacer.begin` to `Pacer.end`."""

    batch: BatchId
    model: ModelName
    # Set once the task runs; stopping the line is cancelling it.
    task: "asyncio.Task[None] | None" = None
    # A line that writes its result down is not stopped any more.
    settling: bool = False
    stopped: bool = False
    # Set once the line has a result or a time to be run again; else it is run again at once.
    ended: bool = False


class Pacer:
    """Counts the lines that run; `keep_pace` is its task."""

    def __init__(
        self,
        settings: BatchSettings,
        *,
        interactive: Callable[[], int],
        clock: Clock,
        metrics: GatewayMetrics,
    ) -> None:
        self._limits = PaceLimits(
            settings.lines_in_flight_max,
            settings.lines_beside_interactive,
            settings.yield_seconds,
            settings.calm_seconds,
        )
        self._poll_seconds = settings.poll_seconds
        self._interactive = interactive
        self._clock = clock
        self._metrics = metrics
        # In the order in which they began.
        self._turns: list[Turn] = []
        # Batches with a line at hand, and its model.
        self._claims: dict[BatchId, Claim] = {}
        self._models: dict[BatchId, ModelName] = {}
        # Only models whose servers refused something lately have one.
        self._paces: dict[ModelName, Pace] = {}
        self._crowded_since: float | None = None
        # When an interactive answer was last seen in progress.
        self._disturbed_at: float | None = None
        self._served = 0
        self._changed: asyncio.Future[None] | None = None
        # Set while there is a pace to keep.
        self._busy = asyncio.Event()

    @property
    def running(self) -> int:
        """Lines that run now."""
        return len(self._turns)

    def begin(self, batch: BatchId, model: ModelName) -> Turn | None:
        """The right to run the line at hand, or None while it is not this batch's turn.

        Who got None has to `wait` and ask again, or to `give_up`: others wait for its choice.
        """
        self._busy.set()
        if batch not in self._claims:
            running = sum(turn.batch == batch for turn in self._turns)
            self._claims[batch] = Claim(running, self._served)
            self._models[batch] = model
        if not self._is_next(batch):
            return None
        turn = Turn(batch, model)
        self._turns.append(turn)
        self._served += 1
        self._claims[batch] = Claim(self._claims[batch].running + 1, self._served)
        self._publish()
        # There may be room for a line of another batch too.
        self._announce()
        return turn

    def give_up(self, batch: BatchId) -> None:
        """The batch has no line to begin for now."""
        self._models.pop(batch, None)
        if self._claims.pop(batch, None) is not None:
            self._announce()

    def end(self, turn: Turn) -> None:
        """The line has ended, however it did."""
        self._turns.remove(turn)
        claim = self._claims.get(turn.batch)
        if claim is not None:
            self._claims[turn.batch] = Claim(claim.running - 1, claim.served)
        self._publish()
        self._announce()

    def note_answer(self, model: ModelName) -> None:
        """A model server answered a line."""
        pace = self._paces.get(model)
        if pace is None:
            return
        pace = answer(pace, self._limits)
        if pace.cap < self._limits.lines_max:
            self._paces[model] = pace
        else:
            del self._paces[model]

    def note_refusal(
        self, model: ModelName, wait_seconds: float, reason: Reason, *, away: bool
    ) -> None:
        """A model server was full, or none was there."""
        pace = self._paces.get(model) or Pace(self._limits.lines_max)
        now = self._clock.monotonic()
        change = close if away else refuse
        self._paces[model] = change(pace, wait_seconds=wait_seconds, now=now)
        self._metrics.batch_yields.labels(reason).inc()

    async def wait(self) -> None:
        """Until something changed, or `poll_seconds` have passed."""
        self._busy.set()
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def keep_pace(self) -> None:
        """Fit the lines to what else runs, for ever."""
        while True:
            if not self._turns and not self._claims and self._changed is None:
                self._busy.clear()
                await self._busy.wait()
            self._make_way()
            self._publish()
            self._announce()
            await self._clock.sleep(self._poll_seconds)

    def _is_next(self, batch: BatchId) -> bool:
        if len(self._turns) >= self._allowed():
            return False
        now = self._clock.monotonic()
        running: dict[ModelName, int] = {}
        for turn in self._turns:
            running[turn.model] = running.get(turn.model, 0) + 1
        ready = {
            name: claim
            for name, claim in self._claims.items()
            if running.get(self._models[name], 0) < self._allow_of(self._models[name], now)
        }
        return batch in ready and choose(ready) == batch

    def _allowed(self) -> int:
        now = self._clock.monotonic()
        if self._interactive():
            self._disturbed_at = now
        quiet = math.inf if self._disturbed_at is None else now - self._disturbed_at
        return allow(self._limits, quiet_seconds=quiet)

    def _allow_of(self, model: ModelName, now: float) -> int:
        pace = self._paces.get(model)
        return self._limits.lines_max if pace is None else allow_of(pace, now)

    def _make_way(self) -> None:
        self._crowded_since, excess = yield_lines(
            self._limits,
            running=sum(not turn.stopped for turn in self._turns),
            interactive=self._interactive(),
            crowded_since=self._crowded_since,
            now=self._clock.monotonic(),
        )
        for turn in reversed(self._turns):
            if excess <= 0:
                break
            if turn.stopped or turn.task is None:
                continue
            excess -= 1
            if turn.settling:
                # It makes way by itself in a moment.
                continue
            turn.stopped = True
            turn.task.cancel(YIELDED)
            self._metrics.batch_yields.labels(YIELDED).inc()

    def _announce(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    def _publish(self) -> None:
        self._metrics.batch_lines_running.set(len(self._turns))
        self._metrics.batch_lines_allowed.set(self._allowed())
