"""Simulations from the command line: `python -m tokenyard.jobs.simulator --help`.

Decides how files and names become experiments; prints a table, or JSON with `--json`.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TextIO, TypeVar, cast

from tokenyard.jobs.rules.explain import explain
from tokenyard.jobs.rules.profile import PROFILES, Profile
from tokenyard.jobs.simulator.experiments import busiest_window, fill, kueue_baseline, muri, philly
from tokenyard.jobs.simulator.report import Summary, curve_svg, summarise, table
from tokenyard.jobs.simulator.run import Simulation
from tokenyard.jobs.simulator.workload import (
    Arrival,
    read_muri,
    read_openb_nodes,
    read_openb_pods,
    read_philly,
)
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import JobId

Read = TypeVar("Read")


def read(path: Path, reader: Callable[[TextIO], Read]) -> Read:
    """Read a file with that reader, gzipped if its name says so."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt") as packed:
            return reader(cast("TextIO", packed))
    with path.open() as file:
        return reader(file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tokenyard.jobs.simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    filling = commands.add_parser("fill", help="how much of a cluster can be given out")
    filling.add_argument("nodes", type=Path)
    filling.add_argument("pods", type=Path)
    filling.add_argument("--policy", choices=["random", "best_fit", "fgd"], action="append")
    filling.add_argument("--seeds", type=int, default=10, help="from 42 on (default 10)")
    replay = commands.add_parser("replay", help="play a job trace under one or more profiles")
    replay.add_argument("trace", type=Path)
    replay.add_argument("--format", choices=["philly", "muri"], default="philly")
    replay.add_argument("--nodes", type=int, default=128, help="8-GPU nodes (muri: always 8)")
    replay.add_argument("--jobs", type=int, help="only the busiest window of so many jobs")
    replay.add_argument("--plot", type=Path, help="folder for one SVG picture per profile")
    replay.add_argument("--explain", metavar="JOB", help="why this job waits, at the time --at")
    replay.add_argument("--at", type=float, help="stop the replay there (seconds)")
    baseline = commands.add_parser("baseline", help="Kueue's performance baseline")
    for command in (replay, baseline):
        command.add_argument("--profile", choices=sorted(PROFILES), action="append")
    for command in (filling, replay, baseline):
        command.add_argument("--json", action="store_true", dest="as_json")
    return parser


def _fill(arguments: argparse.Namespace) -> dict[str, object]:
    found: dict[str, object] = {}
    pods = read(arguments.pods, read_openb_pods)
    for policy in arguments.policy or ["random", "best_fit", "fgd"]:
        runs = []
        for seed in range(42, 42 + arguments.seeds):
            nodes = read(arguments.nodes, read_openb_nodes)
            runs.append(fill(nodes, pods, policy, SeededRandomness(seed), seed))
        allocated = [round(run.allocated_percent, 3) for run in runs]
        found[policy] = {
            "allocated_percent_mean": round(fmean(allocated), 3),
            "fragmented_percent_mean": round(fmean(run.fragmented_percent for run in runs), 3),
            "allocated_percent_by_seed": allocated,
        }
    return found


def _simulation(arguments: argparse.Namespace, profile: Profile) -> Simulation:
    if arguments.command == "baseline":
        return kueue_baseline(profile)
    if arguments.format == "muri":
        return muri(read(arguments.trace, read_muri), profile)
    arrivals: list[Arrival] = read(arguments.trace, read_philly)
    if arguments.jobs:
        arrivals = busiest_window(arrivals, arguments.jobs)
    keeps_curve = arguments.plot is not None
    return philly(arrivals, profile, arguments.nodes, keeps_curve=keeps_curve)


def _explain(arguments: argparse.Namespace) -> str:
    """Play up to a time and say why a job waits there."""
    profile = PROFILES[(arguments.profile or ["yard"])[0]]
    simulation = _simulation(arguments, profile)
    simulation.rules = replace(simulation.rules, until=arguments.at)
    simulation.run()
    told = explain(simulation.board, JobId(arguments.explain), simulation.now)
    if told is None:
        return f"{arguments.explain} runs."
    start = "unknown" if told.predicted_start is None else f"{told.predicted_start:.0f} s"
    lines = [f"{told.reason}: {told.sentence}", f"{told.ahead_count} ahead of it in its queue."]
    lines += [f"Predicted start: {start}.", *(f"What if: {words}." for words in told.what_if)]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run one command; 2 and a sentence when its input makes no sense."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "fill":
            sys.stdout.write(json.dumps(_fill(arguments), indent=2) + "\n")
            return 0
        if getattr(arguments, "explain", None):
            sys.stdout.write(_explain(arguments) + "\n")
            return 0
        summaries: list[Summary] = []
        seconds: dict[str, float] = {}
        clock = RealClock()
        for name in arguments.profile or ["yard"]:
            simulation = _simulation(arguments, PROFILES[name])
            began = clock.monotonic()
            outcome = simulation.run()
            seconds[name] = clock.monotonic() - began
            summaries.append(summarise(name, outcome))
            if getattr(arguments, "plot", None) is not None:
                picture = arguments.plot / f"{name}.svg"
                picture.write_text(curve_svg(outcome, name))
    except (TokenyardError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if arguments.as_json:
        rows = [{**s.as_json(), "wall_seconds": round(seconds[s.name], 2)} for s in summaries]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        sys.stdout.write(table(summaries) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
