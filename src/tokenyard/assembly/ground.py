"""What every part of the platform stands on: settings, clock, store, tasks, measures, log."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness
from tokenyard.runtime.settings import Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import SqlStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics

DATABASE_NAME = "tokenyard.sqlite3"
FILES_FOLDER = "files"
MODELS_FOLDER = "models"
JOBS_FOLDER = "jobs"
RUN_FOLDER = "run"


@dataclass(frozen=True, slots=True)
class Ground:
    """One of each for the whole process.

    A part that has something to close puts it on the stack, so that it is closed before what it
    stands on.
    """

    stack: AsyncExitStack
    settings: Settings
    home: Path
    store: SqlStore
    tasks: TaskSupervisor
    clock: Clock
    randomness: Randomness
    metrics: GatewayMetrics
    log: Log
