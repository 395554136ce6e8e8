"""Published tables beside our figures for the same set-ups.

Decides which cells are compared: GPU allocation and fragmentation on the Alibaba 2023 trace (Weng
et al., USENIX ATC 2023) and completion times on the Muri traces (Zhao et al., SIGCOMM 2022). The
published values come from files beside the traces.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TextIO

from tokenyard.jobs.rules.profile import SRSF, SRTF
from tokenyard.jobs.simulator.experiments import fill, muri
from tokenyard.jobs.simulator.report import summarise
from tokenyard.jobs.simulator.traces import read, read_arrivals
from tokenyard.jobs.simulator.workload import read_openb_nodes, read_openb_pods
from tokenyard.runtime.randomness import SeededRandomness

FILL_WORKLOADS = ("default", "multigpu50")
# Our names, theirs, and how many points we may be off; cold, ours knows no past jobs.
FILL_POLICIES = (
    ("random", "01-Random", 1.5),
    ("best_fit", "05-BestFit", 0.5),
    ("fgd", "06-FGD", 0.5),
    ("yard", "06-FGD", None),
    ("yard_cold", "06-FGD", None),
)
# `_pr`: the same jobs, all submitted at once.
MURI_TRACES = ("trace3", "trace3_pr", "trace1", "trace1_pr")
MURI_PERCENT = 9.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure: ours, theirs, how far we are off in the unit named, and how far we may be."""

    table: str
    workload: str
    policy: str
    figure: str
    ours: float
    published: float
    off: float
    unit: str
    allowed: float | None
    by_seed: tuple[float, ...] = ()


def fill_cells(
    folder: Path, seeds: Sequence[int], workloads: Sequence[str] = FILL_WORKLOADS
) -> Iterator[Cell]:
    """Allocated and fragmented GPUs, percent of all, as means over seeds (theirs: 42 to 51)."""
    alibaba = folder / "alibaba2023"
    published = read(alibaba / "fgd_expected.csv", _read_fill)
    for workload in workloads:
        pods = read(alibaba / f"openb_pod_list_{workload}.csv.gz", read_openb_pods)
        for policy, theirs, points in FILL_POLICIES:
            runs = []
            for seed in seeds:
                nodes = read(alibaba / "openb_node_list_gpu_node.csv.gz", read_openb_nodes)
                runs.append(fill(nodes, pods, policy, SeededRandomness(seed), seed))
            for figure, metric, values, allowed in (
                ("allocated", "gpu_alloc_pct", [run.allocated_percent for run in runs], points),
                ("in pieces", "frag_gpu_pct_of_total", [r.fragmented_percent for r in runs], None),
            ):
                known = published.get((workload, theirs, metric))
                if known is None:
                    continue
                ours = fmean(values)
                by_seed = tuple(round(value, 2) for value in values)
                yield Cell(
                    "alibaba2023", workload, policy, figure, ours, known, ours - known, "points",
                    allowed, by_seed,
                )  # fmt: skip


def muri_cells(folder: Path, traces: Sequence[str] = MURI_TRACES) -> Iterator[Cell]:
    """Average completion times, seconds."""
    with (folder / "muri2022" / "published.csv").open() as file:
        published = {
            (row["trace"], row["policy"]): float(row["avg_jct_s"]) for row in csv.DictReader(file)
        }
    for trace in traces:
        name, _, at_once = trace.partition("_")
        arrivals = read_arrivals(folder / "muri2022" / f"{name}.csv.gz", 8)
        if at_once:
            arrivals = [replace(a, job=replace(a.job, submitted_at=0.0)) for a in arrivals]
        for profile in (SRTF, SRSF):
            summary = summarise(profile.name, muri(arrivals, profile).run())
            ours, theirs = summary.completion_seconds_mean, published[trace, profile.name.upper()]
            yield Cell(
                "muri2022", trace, profile.name, "mean completion", ours, theirs,
                100 * (ours / theirs - 1), "percent", MURI_PERCENT,
            )  # fmt: skip


def say_cells(cells: Sequence[Cell]) -> str:
    """A line for each cell; `!` where it is further off than it may be."""
    head = ("table", "workload", "policy", "figure", "ours", "published", "off", "")
    rows = [
        (
            cell.table, cell.workload, cell.policy, cell.figure, f"{cell.ours:,.2f}",
            f"{cell.published:,.2f}", f"{cell.off:+.2f} {cell.unit}",
            "!" if cell.allowed is not None and abs(cell.off) > cell.allowed else "",
        )
        for cell in cells
    ]  # fmt: skip
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


def _read_fill(file: TextIO) -> dict[tuple[str, str, str], float]:
    prefix = "openb_pod_list_"
    return {
        (row["workload"].removeprefix(prefix), row["policy"], row["metric"]): float(row["mean"])
        for row in csv.DictReader(file)
        if row["arrived_gpu_pct"] == "130"
    }
