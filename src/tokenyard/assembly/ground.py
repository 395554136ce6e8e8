"""What every part of the platform stands on: settings, clock, store, tasks, measures, log."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tokenyard.runtime.clock import Clock, RealClock
from tokenyard.runtime.randomness import Randomness, SystemRandomness
from tokenyard.runtime.settings import Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import SqlStore, open_sql_store
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.telemetry.tracing import Tracing, open_tracing

DATABASE_NAME = "tokenyard.sqlite3"
FILES_FOLDER = "files"
MODELS_FOLDER = "models"
JOBS_FOLDER = "jobs"
RUN_FOLDER = "run"


class Part(Enum):
    """Which part of the platform a process is."""

    # Everything but what runs elsewhere by the settings.
    WHOLE = "whole"
    # One of the gateways of this machine: answers requests, and nothing else.
    GATEWAY = "gateway"
    # What there is once beside the gateways: starts them, keeps the jobs and the batches.
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class Ground:
    """One of each for the whole process.

    A part that has something to close puts it on the stack, so that it is closed before what it
    stands on.
    """

    stack: AsyncExitStack
    settings: Settings
    home: Path
    part: Part
    store: SqlStore
    tasks: TaskSupervisor
    clock: Clock
    randomness: Randomness
    metrics: GatewayMetrics
    log: Log
    tracing: Tracing

    @property
    def shares_store(self) -> bool:
        """Whether other processes may keep their truth in the same place."""
        return self.settings.storage.database_url.startswith("postgresql:")


async def open_ground(
    stack: AsyncExitStack, settings: Settings, home: Path, log: Log, part: Part = Part.WHOLE
) -> Ground:
    """Open the store and all that needs no other part; closed with the stack."""
    clock = RealClock()
    tracing = open_tracing(settings.telemetry)
    stack.push_async_callback(asyncio.to_thread, tracing.close)
    # The store's writer outlives every other task: what they end with is still to be written.
    writers = await stack.enter_async_context(TaskSupervisor(log.task_failed))
    store = await stack.enter_async_context(
        open_sql_store(
            settings.storage.database_url or home / DATABASE_NAME,
            supervisor=writers,
            log=log,
            clock=clock,
            settings=settings.storage,
        )
    )
    tasks = await stack.enter_async_context(TaskSupervisor(log.task_failed))
    return Ground(
        stack=stack,
        settings=settings,
        home=home,
        part=part,
        store=store,
        tasks=tasks,
        clock=clock,
        randomness=SystemRandomness(),
        metrics=GatewayMetrics(),
        log=log,
        tracing=tracing,
    )
