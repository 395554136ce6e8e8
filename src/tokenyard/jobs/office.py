"""The parts of the job scheduler, put together once for everyone who runs them."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenyard.jobs.clerk import Clerk
from tokenyard.jobs.observation import Observer
from tokenyard.jobs.ports import Cashier, Executor, JobStore
from tokenyard.jobs.queue import JobQueue
from tokenyard.jobs.queues import profile_named, queue_specs
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.randomness import Randomness
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import JobMetrics

_HOLDER_BYTES = 8


@dataclass(frozen=True, slots=True)
class JobOffice:
    """What the gateway serves, and the scheduler that has to be run."""

    queue: JobQueue
    scheduler: Scheduler
    clerk: Clerk
    settings: JobSettings
    metrics: JobMetrics


def make_job_office(
    settings: JobSettings,
    *,
    store: JobStore,
    executors: Sequence[Executor],
    on_loopback: bool,
    clock: Clock,
    randomness: Randomness,
    log: Log,
    cashier: Cashier | None = None,
) -> JobOffice:
    """Raises StartError when the settings name no profile or no tree of queues."""
    metrics = JobMetrics()
    observer = Observer(store, settings, metrics)
    scheduler = Scheduler(
        f"scheduler-{randomness.bytes(_HOLDER_BYTES).hex()}",
        store=store,
        executors=executors,
        queues=queue_specs(settings),
        profile=profile_named(settings),
        settings=settings,
        clock=clock,
        log=log,
        observer=observer,
    )
    queue = JobQueue(
        store,
        scheduler,
        executors,
        observer,
        settings,
        on_loopback=on_loopback,
        clock=clock,
        randomness=randomness,
        log=log,
    )
    clerk = Clerk(store, scheduler, executors, cashier, settings, clock=clock, log=log)
    return JobOffice(queue, scheduler, clerk, settings, metrics)
