"""Traces as nodes and jobs.

Decides how the columns of the published traces become requests; knows nothing of policies. Readers
take an open text file, so that the caller chooses plain or gzipped. A row that makes no sense is an
InvalidRequest that names the line.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.workload import GPU_MILLI, Job, Request, Role
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

# The request of a container that names no CPU counts as this much (the Kubernetes default).
CPU_MILLI_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job of a trace, and how long it will really run: what the scheduler must not know."""

    job: Job
    run_seconds: float


def _rows(file: TextIO, columns: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(file)
    missing = columns - set(reader.fieldnames or ())
    if missing:
        raise InvalidRequest(f"Line 1: no column {', '.join(sorted(missing))}.", param="trace")
    for row in reader:
        yield reader.line_num, row


def _number(row: dict[str, str], column: str, line: int) -> int:
    try:
        number = float(row[column])
    except ValueError:
        message = f"Line {line}: {column} is {row[column]!r}, not a number."
        raise InvalidRequest(message, param="trace") from None
    if not 0 <= number < float("inf"):
        raise InvalidRequest(f"Line {line}: {column} cannot be {number}.", param="trace")
    return int(number)


def read_openb_nodes(file: TextIO) -> list[Node]:
    """Nodes of the Alibaba 2023 trace ("openb"), in file order."""
    columns = {"sn", "cpu_milli", "memory_mib", "gpu", "model"}
    return [
        Node(
            NodeName(row["sn"]),
            gpus=_number(row, "gpu", line),
            cpu_milli=_number(row, "cpu_milli", line),
            memory_mib=_number(row, "memory_mib", line),
            model=row["model"],
        )
        for line, row in _rows(file, columns)
    ]


def read_openb_pods(file: TextIO) -> list[Request]:
    """Requests of the Alibaba 2023 trace, sorted by name as its authors' simulator does."""
    columns = {"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"}
    pods = []
    for line, row in _rows(file, columns):
        gpus = _number(row, "num_gpu", line)
        models = frozenset(part for part in (row.get("gpu_spec") or "").split("|") if part)
        request = Request(
            gpus=gpus,
            gpu_milli=min(_number(row, "gpu_milli", line), GPU_MILLI) if gpus else GPU_MILLI,
            cpu_milli=_number(row, "cpu_milli", line) or CPU_MILLI_DEFAULT,
            memory_mib=_number(row, "memory_mib", line),
            gpu_models=models if gpus else frozenset(),
        )
        pods.append((row["name"], request))
    return [request for _, request in sorted(pods, key=lambda pod: pod[0])]


def gang_of(gpus: int, node_gpus: int) -> tuple[Role, ...]:
    """A consolidated gang: one member if a node is large enough, else the largest equal ones."""
    if gpus <= node_gpus:
        return (Role(Request(gpus=gpus)),)
    size = next(size for size in range(node_gpus, 0, -1) if gpus % size == 0)
    count = gpus // size
    return (Role(Request(gpus=size), count, count),)


def read_jobs(file: TextIO, node_gpus: int = 8) -> list[Arrival]:
    """Jobs of a trace with the columns submit_s, duration_s and num_gpus.

    Optional: vc (the queue), job_id, estimate_s (what the scheduler is told; the true length
    without it). Philly 2017 as reduced for Pollux and Sia has this form, and so has Muri 2022.
    """
    arrivals = []
    gangs: dict[int, tuple[Role, ...]] = {}
    for line, row in _rows(file, {"submit_s", "duration_s", "num_gpus"}):
        seconds = float(_number(row, "duration_s", line))
        gpus = _number(row, "num_gpus", line)
        told = float(_number(row, "estimate_s", line)) if row.get("estimate_s") else seconds
        number = _number(row, "job_id", line) if row.get("job_id") else line - 2
        job = Job(
            id=JobId(f"job_{number:06d}"),
            queue=QueueName(row.get("vc") or "all"),
            # One object for each size: equal requests are then found faster.
            roles=gangs.setdefault(gpus, gang_of(gpus, node_gpus)),
            submitted_at=float(_number(row, "submit_s", line)),
            estimate_seconds=told,
        )
        arrivals.append(Arrival(job, seconds))
    return arrivals


def queues_of(arrivals: Iterable[Arrival]) -> list[QueueName]:
    """The queues that the jobs name, sorted."""
    return sorted({arrival.job.queue for arrival in arrivals})
