"""How many answers a second do one, two and three gateways keep in one Postgres, and in SQLite?

`python -m benchmarks.postgres` starts a Postgres of its own with its usual durability, and lets
1, 2 and 3 processes write side by side (an answer is opened, then ended together with its bill: two
writes), gathered as they are in production and one by one; and then one process into SQLite on the
same disk. Every bill is counted afterwards. Results go to benchmarks/results/postgres.json.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from benchmarks.storage import CLOCK, answer, machine
from tokenyard.fleet.engines.contract import free_port
from tokenyard.fleet.services.postgres import database_url, find_postgres
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import open_sql_store
from tokenyard.telemetry.logs import Log

RESULTS = Path(__file__).parent / "results" / "postgres.json"
SECONDS = 3.0
# Answers in progress in each process: a quiet gateway, and a busy one.
WRITERS = (1, 64)
PROCESSES = (1, 2, 3)
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Figure:
    """So many processes at one store."""

    store: str
    processes: int
    writers: int
    grouped: bool
    per_second: float
    wait_ms_p50: float
    wait_ms_p99: float


async def write(place: str, name: str, writers: int, grouped: bool, began: float) -> list[float]:
    """What one process does; gives how long each answer took to keep."""
    settings = StorageSettings(batch_writes_max=256 if grouped else 1)
    log = Log(sys.stderr, CLOCK, level="error")
    waits: list[float] = []
    async with (
        TaskSupervisor(log.task_failed) as supervisor,
        open_sql_store(
            place, supervisor=supervisor, log=log, clock=CLOCK, settings=settings
        ) as store,
    ):
        # All processes begin together, when the slowest of them has loaded.
        await asyncio.sleep(max(0.0, began - CLOCK.now()))
        end = began + SECONDS

        async def one(writer: int) -> None:
            number = 0
            while (start := CLOCK.now()) < end:
                number += 1
                await answer(store, f"resp_{name}_{writer}_{number}")
                waits.append(CLOCK.now() - start)

        await asyncio.gather(*(one(writer) for writer in range(writers)))
    return waits


def measure(store: str, place: str, processes: int, writers: int, grouped: bool) -> Figure:
    began = CLOCK.now() + 2.0 + processes
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.postgres", "--child", place, *map(str, asked)],
            stdout=subprocess.PIPE,
        )
        for number in range(processes)
        if (asked := (number, writers, int(grouped), began))
    ]
    waits: list[float] = []
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        waits += json.loads(out)
    waits.sort()
    return Figure(
        store=store,
        processes=processes,
        writers=writers,
        grouped=grouped,
        per_second=round(len(waits) / SECONDS),
        wait_ms_p50=round(waits[len(waits) // 2] * 1e3, 2),
        wait_ms_p99=round(waits[len(waits) * 99 // 100] * 1e3, 2),
    )


@contextmanager
def run_postgres() -> Iterator[str]:
    """A server on this disk with its own defaults; gives its address."""
    programs = find_postgres()
    folder = Path(tempfile.mkdtemp(prefix="tokenyard-bench-"))
    folder.chmod(0o711)
    home = folder / "postgres"
    programs.make_folder(home)
    subprocess.run(programs.initialise(home / "data"), check=True, capture_output=True)
    port = free_port(LOOPBACK, 0)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(programs.serve(home / "data", port), stdout=log, stderr=log)
    try:
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(database_url(port)).close()
                break
            time.sleep(0.05)
        yield database_url(port)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder)


def make_database(url: str) -> str:
    """An empty one; gives its address."""
    name = f"b{CLOCK.now():.6f}".replace(".", "_")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{url.rpartition('/')[0]}/{name}"


def main() -> None:
    figures = []

    def note(figure: Figure) -> None:
        figures.append(figure)
        way = "together" if figure.grouped else "one by one"
        sys.stdout.write(
            f"{figure.store:9} {figure.processes} x {figure.writers:3} {way:10} "
            f"{figure.per_second:6.0f} answers/s  p50 {figure.wait_ms_p50:7.2f} ms  "
            f"p99 {figure.wait_ms_p99:7.2f} ms\n"
        )
        sys.stdout.flush()

    with run_postgres() as url:
        for grouped, writers in ((False, 64), *((True, writers) for writers in WRITERS)):
            for processes in PROCESSES:
                place = make_database(url)
                figure = measure("postgres", place, processes, writers, grouped)
                with psycopg.connect(place) as connection:
                    row = connection.execute("SELECT count(*) FROM usage_rows").fetchone()
                # What was acknowledged is there, or the figure means nothing.
                assert row is not None
                assert round(row[0] / SECONDS) == figure.per_second, row
                note(figure)
    for writers in WRITERS:
        with tempfile.TemporaryDirectory(prefix="tokenyard-bench-") as folder:
            note(measure("sqlite", f"{folder}/t.db", 1, writers, grouped=True))
    tree = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
    RESULTS.write_text(json.dumps(tree, indent=1) + "\n")


if __name__ == "__main__":
    if "--child" in sys.argv:
        place, name, writers, grouped, began = sys.argv[2:]
        waits = asyncio.run(write(place, name, int(writers), grouped == "1", float(began)))
        os.write(1, json.dumps(waits).encode())
    else:
        main()
