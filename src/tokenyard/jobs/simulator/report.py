"""What a run says, as numbers and as a table.

Decides how figures are aggregated, nothing else. Percentiles are nearest-rank. All times are
seconds of the simulation; shares are percent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import ceil

from tokenyard.jobs.simulator.run import Outcome


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in numbers."""

    name: str
    jobs: int
    finished: int
    completion_seconds_mean: float
    completion_seconds_p99: float
    wait_seconds_mean: float
    wait_seconds_p50: float
    wait_seconds_p95: float
    wait_seconds_p99: float
    wait_seconds_max: float
    makespan_seconds: float
    # GPU time in use, of all GPU time from the first arrival to the last end.
    gpu_use_percent: float
    # The same until the last arrival: what a policy makes of a cluster on which people wait.
    gpu_use_percent_arriving: float
    # The same while jobs waited; and what of that time was free on partly used nodes.
    gpu_use_percent_waiting: float
    gpu_fragmented_percent: float
    # GPU time held for preemptors whose victims had not gone yet.
    gpu_held_percent: float
    preemptions: int
    gpu_seconds_lost: float
    releases: int
    cycles: int
    decisions: int

    def as_json(self) -> dict[str, object]:
        """Plain values, rounded to milliseconds and thousandths."""
        return {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values; 0 for none."""
    if not ordered:
        return 0.0
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]


def summarise(name: str, outcome: Outcome) -> Summary:
    """The figures of one run; only finished jobs count in times."""
    done = [record for record in outcome.records.values() if record.finished_at >= 0]
    waits = sorted(record.waited_seconds for record in done)
    completions = sorted(record.completion_seconds for record in done)
    makespan = outcome.ended_at - outcome.started_at
    whole = outcome.gpu_milli_capacity * makespan
    return Summary(
        name=name,
        jobs=len(outcome.records),
        finished=len(done),
        completion_seconds_mean=_mean(completions),
        completion_seconds_p99=percentile(completions, 99),
        wait_seconds_mean=_mean(waits),
        wait_seconds_p50=percentile(waits, 50),
        wait_seconds_p95=percentile(waits, 95),
        wait_seconds_p99=percentile(waits, 99),
        wait_seconds_max=waits[-1] if waits else 0.0,
        makespan_seconds=makespan,
        gpu_use_percent=_part(outcome.gpu_milli_seconds_busy, whole),
        gpu_use_percent_arriving=_part(
            outcome.gpu_milli_seconds_busy_arriving,
            outcome.gpu_milli_capacity * (outcome.last_arrival_at - outcome.started_at),
        ),
        gpu_use_percent_waiting=_part(
            outcome.gpu_milli_seconds_busy_waiting,
            outcome.gpu_milli_capacity * outcome.seconds_waited_for,
        ),
        gpu_fragmented_percent=_part(
            outcome.gpu_milli_seconds_fragmented,
            outcome.gpu_milli_capacity * outcome.seconds_waited_for,
        ),
        gpu_held_percent=_part(outcome.gpu_milli_seconds_held, whole),
        preemptions=sum(record.preemptions for record in outcome.records.values()),
        gpu_seconds_lost=outcome.gpu_seconds_lost,
        releases=sum(record.releases for record in outcome.records.values()),
        cycles=outcome.cycles,
        decisions=outcome.decisions,
    )


def _part(value: float, whole: float) -> float:
    return 100 * value / whole if whole > 0 else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


_COLUMNS = (
    ("policy", "name"),
    ("jobs", "finished"),
    ("JCT mean", "completion_seconds_mean"),
    ("JCT p99", "completion_seconds_p99"),
    ("wait mean", "wait_seconds_mean"),
    ("wait p95", "wait_seconds_p95"),
    ("wait p99", "wait_seconds_p99"),
    ("wait max", "wait_seconds_max"),
    ("makespan", "makespan_seconds"),
    ("GPU use %", "gpu_use_percent"),
    ("arriving %", "gpu_use_percent_arriving"),
    ("waiting %", "gpu_use_percent_waiting"),
    ("in pieces %", "gpu_fragmented_percent"),
    ("preempted", "preemptions"),
    ("GPU-s lost", "gpu_seconds_lost"),
)


def table(summaries: Iterable[Summary]) -> str:
    """The runs side by side, one line each; seconds and percent."""
    rows = [[title for title, _ in _COLUMNS]]
    for summary in summaries:
        values = [getattr(summary, attribute) for _, attribute in _COLUMNS]
        rows.append([f"{v:,.1f}" if isinstance(v, float) else str(v) for v in values])
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
