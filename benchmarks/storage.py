"""How many usage rows a second does the SQLite store commit, together and one by one?

`python -m benchmarks.storage` runs both ways in turns on the same disk, three rounds each, and
keeps the median. "One by one" is the same store with batches of one, so that only the gathering
differs. Results go to benchmarks/results/storage.json.
"""

import asyncio
import json
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenyard.chat.records import Response, ResponseStatus
from tokenyard.ledger.records import UsageRow
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import SqlStore, open_sql_store
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.generation import FinishReason, SamplingParameters, Usage
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, DEFAULT_USER
from tokenyard.vocabulary.ids import KeyId, ModelName, ResponseId
from tokenyard.vocabulary.money import Money

RESULTS = Path(__file__).parent / "results" / "storage.json"
ROUNDS = 3
WRITERS = (1, 8, 64, 256)
SECONDS = 1.0
CLOCK = RealClock()
USED = Usage(100, 200)


@dataclass(frozen=True)
class Figure:
    """One way of writing under one load."""

    what: str
    grouped: bool
    durability: str
    writers: int
    per_second: float
    cpu_us: float
    wait_ms_p50: float
    wait_ms_p99: float


def bill(id: str) -> UsageRow:
    return UsageRow(
        id=id,
        at=CLOCK.now(),
        user=DEFAULT_USER,
        project=DEFAULT_PROJECT,
        key=KeyId("key_benchmark"),
        model=ModelName("tiny"),
        usage=USED,
        cost=Money(1_000),
        finish=FinishReason.STOP,
    )


async def write_row(store: SqlStore, id: str) -> None:
    assert await store.ledger.add_usage(bill(id))


async def answer(store: SqlStore, id: str) -> None:
    """Two writes: a response is opened, and then ended together with its bill."""
    opened = Response(
        id=ResponseId(id),
        project=DEFAULT_PROJECT,
        user=DEFAULT_USER,
        key=None,
        model=ModelName("tiny"),
        status=ResponseStatus.IN_PROGRESS,
        created_at=CLOCK.now(),
        sampling=SamplingParameters(),
    )
    await store.chat.open_response(opened, [], CLOCK.now())
    ended = Response(
        **{
            **{name: getattr(opened, name) for name in Response.__slots__},
            "status": ResponseStatus.COMPLETED,
            "finished_at": CLOCK.now(),
            "usage": USED,
        }
    )
    assert await store.chat.finish_response(ended, bill(id))


WORK = {"usage row": write_row, "opened and finished response": answer}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(what: str, grouped: bool, durability: str, writers: int) -> Figure:
    """Let that many writers write back to back for a second."""
    settings = StorageSettings(durability=durability, batch_writes_max=256 if grouped else 1)
    log = Log(sys.stderr, CLOCK, level="error")
    waits: list[float] = []
    work = WORK[what]
    with tempfile.TemporaryDirectory(dir=RESULTS.parent) as folder:
        path = Path(folder) / "t.db"
        async with (
            TaskSupervisor(log.task_failed) as supervisor,
            open_sql_store(
                path, supervisor=supervisor, log=log, clock=CLOCK, settings=settings
            ) as store,
        ):
            end = CLOCK.monotonic() + SECONDS

            async def write(writer: int) -> None:
                number = 0
                while (began := CLOCK.monotonic()) < end:
                    number += 1
                    await work(store, f"resp_{writer}_{number}")
                    waits.append(CLOCK.monotonic() - began)

            began, used = CLOCK.monotonic(), cpu_seconds()
            await asyncio.gather(*(write(writer) for writer in range(writers)))
            took, used = CLOCK.monotonic() - began, cpu_seconds() - used
        check(path, len(waits))
    waits.sort()
    return Figure(
        what=what,
        grouped=grouped,
        durability=durability,
        writers=writers,
        per_second=round(len(waits) / took),
        cpu_us=round(used / len(waits) * 1e6, 1),
        wait_ms_p50=round(waits[len(waits) // 2] * 1e3, 2),
        wait_ms_p99=round(waits[len(waits) * 99 // 100] * 1e3, 2),
    )


def check(path: Path, expected: int) -> None:
    """What was acknowledged is there, or the figure means nothing."""
    connection = sqlite3.connect(path)
    (rows,) = connection.execute("SELECT count(*) FROM usage_rows").fetchone()
    connection.close()
    assert rows == expected, f"{rows} rows of {expected}"


def median(rounds: list[Figure]) -> Figure:
    return sorted(rounds, key=lambda figure: figure.per_second)[len(rounds) // 2]


def machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "at": round(CLOCK.now()),
    }


async def main() -> None:
    cases = [
        (what, durability, writers)
        for what in WORK
        for durability in ("full", "normal")
        for writers in WRITERS
    ]
    figures = []
    for what, durability, writers in cases:
        rounds: dict[bool, list[Figure]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for grouped, seen in rounds.items():
                seen.append(await measure(what, grouped, durability, writers))
        single, group = median(rounds[False]), median(rounds[True])
        figures += [single, group]
        gain = statistics.median(
            one.per_second / other.per_second
            for one, other in zip(rounds[True], rounds[False], strict=True)
        )
        sys.stdout.write(
            f"{what:29} {durability:6} {writers:3} writers: one by one {single.per_second:6.0f}/s "
            f"p99 {single.wait_ms_p99:7.2f} ms, together {group.per_second:6.0f}/s "
            f"p99 {group.wait_ms_p99:6.2f} ms, {group.cpu_us:5.0f} us CPU each, x{gain:.1f}\n"
        )
    tree = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
    RESULTS.write_text(json.dumps(tree, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
