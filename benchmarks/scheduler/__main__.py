"""How good and how fast is the plan? One question per command; see README.md."""

import argparse
import gc
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.decisions import Start
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.profile import (
    FIFO_EASY,
    FIFO_SKIP,
    QUOTA_PROTECTING,
    SRSF,
    SRTF,
    YARD,
    YARD_SHORT,
    Order,
    Profile,
)
from tokenyard.jobs.rules.twin import twin_of
from tokenyard.jobs.rules.workload import Job, Request, Role
from tokenyard.jobs.simulator.__main__ import read
from tokenyard.jobs.simulator.experiments import (
    busiest_window,
    fill,
    gpu_nodes,
    kueue_baseline,
    muri,
    philly,
)
from tokenyard.jobs.simulator.report import percentile, summarise
from tokenyard.jobs.simulator.run import with_estimates
from tokenyard.jobs.simulator.workload import (
    read_muri,
    read_openb_nodes,
    read_openb_pods,
    read_philly,
)
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.vocabulary.ids import JobId, QueueName

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "tests" / "traces"
Json = dict[str, Any]


def fill_default(quick: bool) -> Json:
    """The default workload of the Alibaba 2023 trace."""
    return _fill("default", quick)


def fill_multigpu50(quick: bool) -> Json:
    """The workload in which half of the GPU tasks ask for several GPUs."""
    return _fill("multigpu50", quick)


def _fill(workload: str, quick: bool) -> Json:
    """Means over the seeds 42 to 51; published values beside them."""
    seeds = range(42, 43 if quick else 52)
    found: Json = {"seeds": list(seeds)}
    alibaba = TRACES / "alibaba2023"
    pods = read(alibaba / f"openb_pod_list_{workload}.csv.gz", read_openb_pods)
    for policy in ("random", "best_fit", "fgd"):
        runs = []
        for seed in seeds:
            nodes = read(alibaba / "openb_node_list_gpu_node.csv.gz", read_openb_nodes)
            runs.append(fill(nodes, pods, policy, SeededRandomness(seed), seed))
        allocated = [round(run.allocated_percent, 2) for run in runs]
        theirs = _PUBLISHED_FILL[workload, policy]
        found[policy] = {
            "allocated_percent_mean": round(fmean(allocated), 3),
            "published": theirs,
            "off_points": round(fmean(allocated) - theirs, 3),
            "by_seed": allocated,
            "fragmented_percent_mean": round(fmean(r.fragmented_percent for r in runs), 3),
        }
    return found


def muri_traces(quick: bool) -> Json:
    """Average completion times on two traces, with the authors' figures beside them."""
    found: Json = {}
    for trace in ("trace3",) if quick else ("trace1", "trace3"):
        arrivals = read(TRACES / "muri2022" / f"{trace}.csv.gz", read_muri)
        for profile in (SRTF, SRSF):
            summary = summarise(profile.name, muri(arrivals, profile).run())
            theirs = _PUBLISHED_MURI[trace, profile.name]
            found[f"{trace}/{profile.name}"] = {
                **summary.as_json(),
                "published_completion_seconds_mean": theirs,
                "off_percent": round(100 * (summary.completion_seconds_mean / theirs - 1), 2),
            }
    return found


# fgd_expected.csv (GPU allocation at 130 % arrived load) and published.csv (average JCT).
_PUBLISHED_FILL = {
    ("default", "random"): 87.470,
    ("default", "best_fit"): 93.076,
    ("default", "fgd"): 95.391,
    ("multigpu50", "random"): 90.275,
    ("multigpu50", "best_fit"): 95.738,
    ("multigpu50", "fgd"): 97.178,
}
_PUBLISHED_MURI = {
    ("trace1", "srtf"): 1370603.2,
    ("trace1", "srsf"): 980140.6,
    ("trace3", "srtf"): 193081.8,
    ("trace3", "srsf"): 185021.9,
}


def baseline(quick: bool) -> Json:
    """Kueue's scenario; waits by class are from submission to admission, seconds."""
    found: Json = {}
    for profile in (YARD,) if quick else (YARD, QUOTA_PROTECTING, FIFO_SKIP):
        simulation = kueue_baseline(profile)
        began, cpu = time.perf_counter(), time.process_time()
        outcome = simulation.run()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        units = {"small": 1, "medium": 5, "large": 20}
        jobs = [(job.split("-")[4], record) for job, record in outcome.records.items()]
        work = sum(record.run_seconds * units[kind] for kind, record in jobs)
        span = outcome.ended_at - outcome.started_at
        waits = {
            kind: [r.first_start - r.submitted_at for k, r in jobs if k == kind] for kind in units
        }
        found[profile.name] = {
            "wall_seconds": round(wall, 2),
            "cpu_seconds": round(cpu, 2),
            "jobs": len(jobs),
            "makespan_seconds": round(span, 2),
            "use_percent": round(100 * work / (600 * span), 2),
            "admission_seconds_mean": {k: round(fmean(v), 2) for k, v in waits.items()},
            "cycles": outcome.cycles,
        }
    found["kueue_published"] = {
        "wall_seconds": 351.1,
        "use_percent_min": 55.9,
        "admission_seconds_mean": {"small": 215.5, "medium": 76.8, "large": 16.5},
    }
    return found


def _loaded(nodes: int, queued: int, randomness: SeededRandomness) -> Board:
    """A full cluster, and that many jobs of 32 kinds waiting in 30 queues."""
    kinds = [(Role(Request(gpus=gpus), members, members),)
             for gpus in (1, 2, 4, 8) for members in (1, 2, 3, 4, 6, 8, 12, 16)]  # fmt: skip
    root = QueueName("root")
    names = [QueueName(f"team-{n:02d}") for n in range(30)]
    board = Board(gpu_nodes(nodes), [QueueSpec(root), *(QueueSpec(n, root) for n in names)], YARD)
    for number in range(nodes + queued):
        roles = (Role(Request(gpus=8)),)
        if number >= nodes:
            roles = kinds[int(randomness.uniform(0, len(kinds)))]
        seconds = randomness.uniform(600, 36_000)
        queue = names[int(randomness.uniform(0, len(names)))]
        job = Job(JobId(f"job_{number:07d}"), queue, roles, submitted_at=float(number) / 100,
                  priority=int(randomness.uniform(0, 3)), estimate_seconds=seconds)  # fmt: skip
        board.submit(job)
        if number == nodes - 1:
            apply(board, plan(board, 0.0).decisions, 0.0)
    return board


def cycles(quick: bool) -> Json:
    """Milliseconds of CPU for the first cycle and for warm ones with 1 % of the nodes freed."""
    found: Json = {}
    sizes: Sequence[tuple[int, int]] = [(1_000, 10_000)]
    if not quick:
        # The largest last: the memory figure is the process's peak so far.
        sizes = [(1_000, 10_000), (10_000, 10_000), (1_000, 100_000), (10_000, 100_000)]
    for nodes, queued in sizes:
        board = _loaded(nodes, queued, SeededRandomness(7))
        now = 2_000.0
        began = time.process_time()
        cold_board = twin_of(board)
        built = time.process_time() - began
        cold, _ = _timed(cold_board, now)
        del cold_board
        # As a scheduler process should after loading: or the garbage collector walks all jobs.
        gc.collect()
        gc.freeze()
        _timed(board, now)
        warm, started = [], 0
        for _ in range(20):
            now += 1.0
            for entry in list(board.running.values())[: max(1, nodes // 100)]:
                board.finish(entry.job.id)
            seconds, count = _timed(board, now)
            warm.append(seconds)
            started += count
        ordered = sorted(warm)
        found[f"{nodes}x{queued}"] = {
            "lines": len(board.lines),
            "build_from_nothing_ms": round(built * 1000, 1),
            "cold_cycle_ms": round(cold * 1000, 1),
            "warm_ms_p50": round(median(warm) * 1000, 1),
            "warm_ms_max": round(percentile(ordered, 100) * 1000, 1),
            "started_per_second_of_cycle": round(started / sum(warm)),
            "memory_mib_peak_of_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            // 1024,
        }
    return found


def cycles_million(quick: bool) -> Json:
    """The same with 1,000,000 queued jobs on 10,000 nodes; without a copy, for memory's sake."""
    nodes, queued = (1_000, 20_000) if quick else (10_000, 1_000_000)
    began = time.process_time()
    board = _loaded(nodes, queued, SeededRandomness(7))
    built = time.process_time() - began
    gc.collect()
    gc.freeze()
    cold, _ = _timed(board, 20_000.0)
    warm = []
    for step in range(10):
        for entry in list(board.running.values())[: max(1, nodes // 100)]:
            board.finish(entry.job.id)
        warm.append(_timed(board, 20_001.0 + step)[0])
    return {
        f"{nodes}x{queued}": {
            "lines": len(board.lines),
            "build_from_nothing_ms": round(built * 1000, 1),
            "cold_cycle_ms": round(cold * 1000, 1),
            "warm_ms_p50": round(median(warm) * 1000, 1),
            "warm_ms_max": round(max(warm) * 1000, 1),
            "memory_mib_peak_of_process": _memory_mib(),
        }
    }


def _memory_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _timed(board: Board, now: float) -> tuple[float, int]:
    began = time.process_time()
    decided = plan(board, now)
    apply(board, decided.decisions, now)
    seconds = time.process_time() - began
    return seconds, sum(isinstance(d, Start) for d in decided.decisions)


def simulated_time(quick: bool) -> Json:
    """Simulated seconds for each second of CPU on the Philly trace."""
    arrivals = read(TRACES / "philly2017" / "philly_jobs.csv.gz", read_philly)
    if quick:
        arrivals = arrivals[:5_000]
    found: Json = {}
    for nodes in (128,) if quick else (160, 80):
        simulation = philly(arrivals, YARD, nodes)
        cpu = time.process_time()
        outcome = simulation.run()
        cpu = time.process_time() - cpu
        found[f"{nodes} nodes"] = {
            **summarise("yard", outcome).as_json(),
            "cpu_seconds": round(cpu, 1),
            "simulated_per_cpu_second": round((outcome.ended_at - outcome.started_at) / cpu),
        }
    return found


def policies(quick: bool) -> Json:
    """Profiles side by side on the busiest window of Philly; the same simulator for all.

    Once with true run times as estimates, once with estimates off by a factor of up to 4 either way
    (log-uniform, one seed). FIFO-like profiles without reservations do not look at estimates.
    """
    arrivals = read(TRACES / "philly2017" / "philly_jobs.csv.gz", read_philly)
    window = busiest_window(arrivals, 1_000 if quick else 5_000)
    draw = SeededRandomness(42)
    wrong = with_estimates(window, lambda: 4.0 ** draw.uniform(-1.0, 1.0))
    found: Json = {"jobs": len(window)}
    for nodes in (48, 40):
        for name, jobs in (("true", window), ("wrong", wrong)):
            rows = found[f"{nodes} nodes, {name} estimates"] = {}
            for profile in POLICIES:
                summary = summarise(profile.name, philly(jobs, profile, nodes).run())
                rows[profile.name] = summary.as_json()
    return found


POLICIES = (
    FIFO_SKIP,
    FIFO_EASY,
    # Heads of all queues by priority, then age; whoever fits passes (Kueue's BestEffortFIFO).
    replace(QUOTA_PROTECTING, name="kueue_like"),
    # The queue with the smallest share first, no reservations (Volcano's drf and proportion).
    Profile("volcano_like", order=(Order.SHARE, Order.PRIORITY, Order.AGE)),
    YARD,
    YARD_SHORT,
)
COMMANDS: dict[str, Callable[[bool], Json]] = {
    "fill-default": fill_default,
    "fill-multigpu50": fill_multigpu50,
    "muri": muri_traces,
    "baseline": baseline,
    "cycles": cycles,
    "cycles-million": cycles_million,
    "philly": simulated_time,
    "policies": policies,
}


def machine() -> Json:
    """Where and on what the figures were taken."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        "commit": commit.stdout.strip(),
    }


def main() -> int:
    """Run one command and print its JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.scheduler", description=__doc__)
    parser.add_argument("question", choices=list(COMMANDS))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    found = COMMANDS[arguments.question](arguments.quick)
    answer = {"question": arguments.question, "quick": arguments.quick, **machine(), **found}
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
