"""Files and batches put together over one store, one folder and one set of model servers."""

from collections.abc import Callable
from dataclasses import dataclass

from tokenyard.jobs.batches.batches import Batches
from tokenyard.jobs.batches.files import Files
from tokenyard.jobs.batches.folder import FileFolder
from tokenyard.jobs.batches.lines import LineRunner
from tokenyard.jobs.batches.pacer import Pacer
from tokenyard.jobs.batches.ports import BatchStore, FileStore
from tokenyard.jobs.batches.watch import BatchWatch
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness
from tokenyard.runtime.settings import Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool


@dataclass(frozen=True, slots=True)
class BatchOffice:
    """What the gateway serves; `start` comes before the first request."""

    files: Files
    batches: Batches
    watch: BatchWatch
    pacer: Pacer
    tasks: TaskSupervisor

    async def start(self) -> None:
        """Sweep what a crash left, then take up the batches that had not ended."""
        await self.files.start()
        self.tasks.spawn("sweep of files", self.files.keep_swept())
        self.tasks.spawn("pace of batches", self.pacer.keep_pace())
        await self.watch.look(leads=True)

    def share(self, leads: Callable[[], bool]) -> None:
        """In the place of `start`, for one of several processes over one store.

        leads: whether this one is to do what one has to do for all. What a crash left of uploads is
        not swept, as it may be an upload that another process takes in.
        """
        self.tasks.spawn("sweep of files", self.files.keep_swept())
        self.tasks.spawn("pace of batches", self.pacer.keep_pace())
        self.tasks.spawn("batches of all", self.watch.keep(leads))


def make_office(
    settings: Settings,
    *,
    files: FileStore,
    batches: BatchStore,
    folder: FileFolder,
    interactive: Callable[[], int],
    pool: UpstreamPool,
    ledger: Ledger,
    tasks: TaskSupervisor,
    clock: Clock,
    randomness: Randomness,
    log: Log,
    metrics: GatewayMetrics,
) -> BatchOffice:
    """All parts. interactive: how many answers that somebody waits for are in progress."""
    pacer = Pacer(settings.batches, interactive=interactive, clock=clock, metrics=metrics)
    runner = LineRunner(
        batches,
        settings.batches,
        pacer=pacer,
        pool=pool,
        ledger=ledger,
        clock=clock,
        randomness=randomness,
        log=log,
        metrics=metrics,
    )
    desk = Files(
        files,
        folder,
        settings.files,
        clock=clock,
        randomness=randomness,
        log=log,
        metrics=metrics,
    )
    made = Batches(
        batches,
        desk,
        settings.batches,
        runner=runner,
        pacer=pacer,
        pool=pool,
        tasks=tasks,
        clock=clock,
        randomness=randomness,
        log=log,
        metrics=metrics,
    )
    return BatchOffice(desk, made, BatchWatch(batches, made, clock, log), pacer, tasks)
