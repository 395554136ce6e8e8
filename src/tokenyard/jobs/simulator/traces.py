"""Trace files: opened, unpacked, and recognised by their columns.

Decides which reader suits a file; what columns mean is `workload`'s.
"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, TypeVar, cast

from tokenyard.jobs.simulator.workload import Arrival, read_jobs

Read = TypeVar("Read")


def read(path: Path, reader: Callable[[TextIO], Read]) -> Read:
    """Read a file with that reader, gzipped if its name says so; raises OSError."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt") as packed:
            return reader(cast("TextIO", packed))
    with path.open() as file:
        return reader(file)


def read_arrivals(path: Path, node_gpus: int) -> list[Arrival]:
    """Jobs of any trace with the columns submit_s, duration_s and num_gpus, by submission."""
    found = read(path, lambda file: read_jobs(file, node_gpus))
    return sorted(found, key=lambda arrival: arrival.job.submitted_at)
