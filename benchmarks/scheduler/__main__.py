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
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.decisions import Start
from tokenyard.jobs.rules.explain import explain
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.profile import FIFO_SKIP, QUOTA_PROTECTING, YARD
from tokenyard.jobs.rules.twin import twin_of
from tokenyard.jobs.rules.workload import Job, Request, Role
from tokenyard.jobs.simulator.experiments import PEERS, gpu_nodes, kueue_baseline, replay
from tokenyard.jobs.simulator.published import MURI_TRACES, fill_cells, muri_cells
from tokenyard.jobs.simulator.report import percentile, summarise
from tokenyard.jobs.simulator.run import with_estimates
from tokenyard.jobs.simulator.traces import read_arrivals
from tokenyard.jobs.simulator.workload import Arrival
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.vocabulary.ids import JobId, QueueName

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "tests" / "traces"
Json = dict[str, Any]


def alibaba(quick: bool) -> Json:
    """Weng 2023, figure 7: allocation and fragmentation, means over the seeds 42 to 51."""
    cells = fill_cells(TRACES, range(42, 43 if quick else 52))
    return {"cells": [asdict(cell) for cell in cells]}


def muri_traces(quick: bool) -> Json:
    """Average completion times on all four traces, with the authors' figures beside them."""
    cells = muri_cells(TRACES, ("trace3",)) if quick else muri_cells(TRACES)
    return {"cells": [asdict(cell) for cell in cells]}


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
    sizes: Sequence[tuple[int, int]] = [(1_000, 10_000)]
    if not quick:
        # The largest last: the memory figure is the process's peak so far.
        sizes = [(1_000, 10_000), (10_000, 10_000), (1_000, 100_000), (10_000, 100_000)]
    return {f"{nodes}x{queued}": _size_cycles(nodes, queued) for nodes, queued in sizes}


def _size_cycles(nodes: int, queued: int) -> Json:
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
    told = [_explained(board, now) for _ in range(5)]
    return {
        "explain_ms_max": round(max(told) * 1000, 1),
        "lines": len(board.lines),
        "build_from_nothing_ms": round(built * 1000, 1),
        "cold_cycle_ms": round(cold * 1000, 1),
        "warm_ms_p50": round(median(warm) * 1000, 1),
        "warm_ms_max": round(max(warm) * 1000, 1),
        "started_per_second_of_cycle": round(started / sum(warm)),
        "memory_mib_peak_of_process": _memory_mib(),
    }


def _explained(board: Board, now: float) -> float:
    """Seconds to say why the last job in its line waits, and when it should start."""
    line = max(board.lines.values(), key=lambda one: len(one.entries))
    decided = plan(board, now)
    began = time.process_time()
    explain(board, line.entries[-1].job.id, now, decided=decided)
    return time.process_time() - began


def cycles_million(quick: bool) -> Json:
    """The same with 1,000,000 queued jobs; without a copy, for memory's sake."""
    queued = 20_000 if quick else 1_000_000
    return {f"{nodes}x{queued}": _loaded_cycles(nodes, queued) for nodes in (1_000, 10_000)}


def _loaded_cycles(nodes: int, queued: int) -> Json:
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
    told = {
        "lines": len(board.lines),
        "build_from_nothing_ms": round(built * 1000, 1),
        "cold_cycle_ms": round(cold * 1000, 1),
        "warm_ms_p50": round(median(warm) * 1000, 1),
        "warm_ms_max": round(max(warm) * 1000, 1),
        "explain_ms_max": round(1000 * max(_explained(board, 20_011.0) for _ in range(3)), 1),
        "memory_mib_peak_of_process": _memory_mib(),
    }
    gc.unfreeze()
    return told


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
    arrivals = read_arrivals(TRACES / "philly2017" / "philly_jobs.csv.gz", 8)
    if quick:
        arrivals = arrivals[:5_000]
    found: Json = {}
    for nodes in (128,) if quick else (160, 80):
        simulation = replay(arrivals, YARD, nodes)
        cpu = time.process_time()
        outcome = simulation.run()
        cpu = time.process_time() - cpu
        found[f"{nodes} nodes"] = {
            **summarise("yard", outcome).as_json(),
            "cpu_seconds": round(cpu, 1),
            "simulated_per_cpu_second": round((outcome.ended_at - outcome.started_at) / cpu),
        }
    return found


WINDOW_JOBS = 4_000


def _windows() -> list[list[Arrival]]:
    """The Philly trace in pieces of consecutive jobs."""
    arrivals = read_arrivals(TRACES / "philly2017" / "philly_jobs.csv.gz", 8)
    count = len(arrivals) // WINDOW_JOBS
    return [arrivals[n * WINDOW_JOBS : (n + 1) * WINDOW_JOBS] for n in range(count)]


def _nodes_for(window: Sequence[Arrival], load: float) -> int:
    """8-GPU nodes on which the work that falls into the window's time is so large a load."""
    first, last = window[0].job.submitted_at, window[-1].job.submitted_at
    work = sum(
        min(one.run_seconds, last - one.job.submitted_at) * one.job.amount_min.gpu_milli / 1000
        for one in window
    )
    largest = max(one.job.amount_min.gpu_milli for one in window) // 8000
    return max(int(work / (last - first) / 8 / load) + 1, largest)


def policies(quick: bool) -> Json:
    """Profiles side by side on windows of Philly that our default was not tuned on.

    Played at three loads, with true lengths as estimates, and at the highest load also with
    estimates off by up to a factor of 4 either way (log-uniform, one seed). Waits are pooled over
    all windows.
    """
    rows: list[Json] = []
    waits: dict[tuple[float, str, str], list[float]] = {}
    for number, window in _held_out(quick):
        cases = (
            (0.9, "true", window),
            (1.0, "true", window),
            (1.1, "true", window),
            (1.1, "wrong", _misjudged(window)),
        )
        for (load, estimates, jobs), profile in product(cases, POLICIES):
            nodes = _nodes_for(window, load)
            outcome = replay(jobs, profile, nodes).run()
            told = summarise(profile.name, outcome)
            pooled = waits.setdefault((load, estimates, profile.name), [])
            pooled += [one.waited_seconds for one in outcome.records.values()]
            rows.append(
                {
                    "window": number,
                    "load": load,
                    "nodes": nodes,
                    "estimates": estimates,
                    "policy": profile.name,
                    "wait_seconds_mean": round(told.wait_seconds_mean),
                    "wait_seconds_p99": round(told.wait_seconds_p99),
                    **{name: round(getattr(told, name), 2) for name in _SHARES},
                }
            )
    return {"pooled": [_pooled(key, waits[key], rows) for key in waits], "windows": rows}


# Chosen on: 1, 2, 5, 6, 9, 10, 13, 14, 17, 18.
HELD_OUT = (3, 7, 11)


def _held_out(quick: bool) -> list[tuple[int, list[Arrival]]]:
    """Windows by number on which neither the stretch nor the power of the width was chosen."""
    found = [(number, one) for number, one in enumerate(_windows()) if number in HELD_OUT]
    return found[: 1 if quick else None]


# Stretch, and the power of its GPUs by which a job's length is multiplied.
TRADE = ((0.25, 1.0), (8.0, -1.0), (32.0, -1.75))


def trade(quick: bool) -> Json:
    """The same windows at load 1.1, true lengths, by how far short and wide work goes ahead."""
    named = [
        replace(
            YARD,
            name=f"yard, stretch {stretch:g}, width {power:g}",
            stretch=stretch,
            stretch_width_power=power,
        )
        for stretch, power in TRADE
    ]
    rows: list[Json] = []
    for profile in (*(one for one in POLICIES if one is not YARD), *named):
        waits: list[float] = []
        told = []
        for _, window in _held_out(quick):
            outcome = replay(window, profile, _nodes_for(window, 1.1)).run()
            waits += [one.waited_seconds for one in outcome.records.values()]
            told.append(summarise(profile.name, outcome))
        rows.append(
            {
                "policy": profile.name,
                "wait_seconds_mean": round(fmean(waits)),
                "wait_seconds_p99": round(percentile(sorted(waits), 99)),
                **{name: round(fmean(getattr(t, name) for t in told), 2) for name in _SHARES},
            }
        )
    return {"policies": rows}


_SHARES = ("gpu_use_percent", "gpu_use_percent_arriving", "gpu_fragmented_percent")


def _misjudged(window: Sequence[Arrival]) -> list[Arrival]:
    draw = SeededRandomness(42)
    return with_estimates(window, lambda: 4.0 ** draw.uniform(-1.0, 1.0))


def _pooled(key: tuple[float, str, str], waits: list[float], rows: list[Json]) -> Json:
    load, estimates, policy = key
    mine = [row for row in rows if (row["load"], row["estimates"], row["policy"]) == key]
    return {
        "load": load,
        "estimates": estimates,
        "policy": policy,
        "wait_seconds_mean": round(fmean(waits)),
        "wait_seconds_p99": round(percentile(sorted(waits), 99)),
        **{name: round(fmean(row[name] for row in mine), 2) for name in _SHARES},
    }


# Whom the table is about, and ours.
POLICIES = (PEERS["fifo_easy"], PEERS["kueue_like"], PEERS["volcano_like"], YARD)


def targets(quick: bool) -> Json:
    """Every figure that issue and README promise, with its bound: a minute or two, CPU time."""
    kueue = baseline(True)["yard"]
    size = _size_cycles(10_000, 2_000 if quick else 100_000)
    philly = simulated_time(quick)
    fills = [
        cell
        for cell in fill_cells(TRACES, range(42, 43 if quick else 52), workloads=("default",))
        if cell.figure == "allocated"
    ]
    found = [
        _target("Kueue's baseline, use", kueue["use_percent"], 95, "percent at least"),
        _target("Kueue's baseline, CPU", kueue["cpu_seconds"], 20, "seconds at most"),
        _target("cycle, warm, median", size["warm_ms_p50"], 500, "milliseconds at most"),
        _target("cycle, warm, longest", size["warm_ms_max"], 500, "milliseconds at most"),
        _target("cycle from nothing", size["cold_cycle_ms"], 5_000, "milliseconds at most"),
        *(
            _target(f"Philly, {name}", run["simulated_per_cpu_second"], 20_000, "times at least")
            for name, run in philly.items()
        ),
    ]
    for cell in [*fills, *muri_cells(TRACES, ("trace3",) if quick else MURI_TRACES)]:
        name = f"{cell.table} {cell.workload} {cell.policy}, off by"
        if cell.policy == "yard":
            fgd = next(one.ours for one in fills if one.policy == "fgd")
            over = round(cell.ours - fgd, 3)
            found.append(_target("our allocation over FGD's", over, 0, "points at least"))
        elif cell.allowed is not None:
            unit = f"{cell.unit} at most"
            found.append(_target(name, round(abs(cell.off), 2), cell.allowed, unit))
    return {"all_met": all(one["met"] for one in found), "targets": found}


def _target(name: str, measured: float, bound: float, unit: str) -> Json:
    met = measured >= bound if unit.endswith("at least") else measured <= bound
    return {"name": name, "measured": measured, "bound": bound, "unit": unit, "met": met}


COMMANDS: dict[str, Callable[[bool], Json]] = {
    "alibaba": alibaba,
    "muri": muri_traces,
    "baseline": baseline,
    "cycles": cycles,
    "cycles-million": cycles_million,
    "philly": simulated_time,
    "policies": policies,
    "trade": trade,
    "targets": targets,
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
    parser.add_argument("--store", action="store_true", help="write results/QUESTION.json too")
    arguments = parser.parse_args()
    found = COMMANDS[arguments.question](arguments.quick)
    answer = {"question": arguments.question, "quick": arguments.quick, **machine(), **found}
    text = json.dumps(answer, indent=2) + "\n"
    sys.stdout.write(text)
    if arguments.store:
        (Path(__file__).parent / "results" / f"{arguments.question}.json").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
