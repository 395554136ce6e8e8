"""`tokenyard jobs`, `queues` and `cluster`: they ask a running server over its API, with a key."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from tokenyard.gateway.server import run
from tokenyard.jobs.spec import job_file_schema, read_job_file
from tokenyard.protocol.jobs import JobBody, JobSpec
from tokenyard.runtime.clock import Clock, RealClock
from tokenyard.upstreams.jobs_client import JobsClient
from tokenyard.vocabulary.errors import InvalidRequest, StartError

T = TypeVar("T")
WATCH_SECONDS = 2.0
_CLEAR = "\x1b[2J\x1b[H"


class Desk:
    """Where the server is, and how its answers are shown."""

    def __init__(self, url: str, key: str | None, *, as_json: bool) -> None:
        self._url = url
        self._key = need_key(key)
        self._as_json = as_json

    def show(
        self, ask: Callable[[JobsClient], Awaitable[T]], say: Callable[[T], str], *, watch: bool
    ) -> None:
        """Print an answer once, or again and again until Ctrl-C."""

        async def main() -> None:
            clock = RealClock()
            async with self._client() as client:
                while True:
                    answer = await ask(client)
                    text = self._spell(answer, say)
                    click.echo(_CLEAR + text if watch else text)
                    if not watch:
                        return
                    await clock.sleep(WATCH_SECONDS)

        _until_interrupted(main)

    def follow(self, job: str, *, attempt: int | None, rank: int, follow: bool) -> None:
        """Print a log as it is, or as it grows."""

        async def main() -> None:
            async with self._client() as client:
                if follow:
                    async for piece in client.follow(job, attempt=attempt, rank=rank):
                        click.echo(piece.text, nl=False)
                    return
                offset = 0
                while True:
                    piece = await client.logs(job, attempt=attempt, rank=rank, offset=offset)
                    click.echo(piece.text, nl=False)
                    if not piece.text:
                        return
                    offset = piece.next_offset

        _until_interrupted(main)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[JobsClient]:
        async with JobsClient(self._url, self._key) as client:
            yield client

    def _spell(self, answer: T, say: Callable[[T], str]) -> str:
        if not self._as_json:
            return say(answer)
        return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def _until_interrupted(main: Callable[[], Any]) -> None:
    try:
        run(main())
    except KeyboardInterrupt:
        click.echo()


def need_key(key: str | None) -> str:
    """The key; raises StartError where there is none."""
    if not key:
        raise StartError(
            "Say who you are: set TOKENYARD_API_KEY or give --key. "
            "`tokenyard keys create --name NAME` makes a key."
        )
    return key


def read_spec(path: str) -> JobSpec:
    """The spec of a job file, or of standard input for `-`."""
    if path == "-":
        return read_job_file(sys.stdin.read(), "standard input")
    try:
        return read_job_file(Path(path).read_text(encoding="utf-8"), path)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} cannot be read: it is not UTF-8 text.") from None


def schema_text() -> str:
    """The JSON schema of a job file."""
    return msgspec.json.format(msgspec.json.encode(job_file_schema()), indent=2).decode()


def say_job(job: JobBody) -> str:
    """One job, line by line."""
    rows = [
        ("id", job.id),
        ("name", job.name),
        ("type", job.type),
        ("queue", job.queue),
        ("priority", f"{job.priority_class} ({job.priority})"),
        ("state", job.state),
        ("reason", job.reason or "-"),
        ("detail", job.detail or "-"),
        ("why", job.why or "-"),
        ("attempt", str(job.attempt)),
        ("submitted", moment(job.submitted_at)),
        ("started", moment(job.started_at)),
        ("ended", moment(job.ended_at)),
        ("exit status", "-" if job.exit_status is None else str(job.exit_status)),
        ("GPUs", f"{job.gpus:g}"),
        ("GPU-seconds", f"{job.gpu_seconds:.0f}, lost {job.lost_gpu_seconds:.0f}"),
        ("saved", "-" if job.saved_step is None else f"at step {job.saved_step}"),
        ("failures", _counts(job.failures)),
        ("preemptions", str(job.preemptions)),
    ]
    lines = [f"{name:12} {value}" for name, value in rows]
    for seat in job.seats:
        gpus = ",".join(map(str, seat.gpus)) or "-"
        lines.append(f"  rank {seat.rank:<4} {seat.role:12} {seat.node:16} GPUs {gpus}")
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "-"


def when(at: float | None) -> str:
    """A moment for people, in UTC."""
    if at is None:
        return "-"
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def moment(at: float | None) -> str:
    """The same where no heading says that it is UTC."""
    return "-" if at is None else f"{when(at)} UTC"


def lasted(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f}s"
    if seconds < 7200:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.1f}h"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as they have to be."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


def say_jobs(jobs: list[JobBody], clock: Clock) -> str:
    """A table of jobs."""
    if not jobs:
        return "No jobs."
    now = clock.now()
    rows = []
    for job in jobs:
        since = job.ended_at or now
        ran = None if job.started_at is None else since - job.started_at
        waited = (job.started_at or since) - job.submitted_at
        name = job.name if job.array_index is None else f"{job.name}[{job.array_index}]"
        gpus = f"{job.gpus:g}"
        why = job.reason or ""
        rows.append(
            (job.id, name[:30], job.queue, job.state, gpus, lasted(waited), lasted(ran), why)
        )
    return table(("id", "name", "queue", "state", "GPUs", "waited", "ran", "reason"), rows)
