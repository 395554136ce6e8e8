"""`python -m tools.gpu_check`: is the engine right on this GPU, and how fast is it?

Needs torch, Triton and transformers, a GPU, and under nine minutes. Writes
benchmarks/results/gpu.json after each phase, so that what was reached is kept. Exit status: 0 all
phases ran and all checks held, 1 one did not, 3 there is no GPU. `--tiny --cpu` goes through all
phases with toy sizes on the CPU; its figures mean nothing and are written only where it is told.
"""

import argparse
import json
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from tokenyard.engine.model.device import AttentionPath
from tokenyard.fleet.rules.roofline import Device
from tools.gpu_check import checks, measures
from tools.gpu_check.models import Machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
SECONDS = 520.0
EXIT_FAILED = 1
EXIT_NO_GPU = 3

Phase = Callable[[], dict[str, Any]]


class Report:
    """What was found so far; written whole after each phase."""

    def __init__(self, path: Path | None, machine: dict[str, Any]) -> None:
        self._path = path
        self.tree: dict[str, Any] = {"machine": machine, "phases": {}}
        self.failed = False

    def run(self, name: str, phase: Phase, *, skipped: bool) -> dict[str, Any]:
        """Run a phase; gives its results, empty when it failed or there was no time for it."""
        started = perf_counter()
        found: dict[str, Any] = {}
        try:
            if skipped:
                raise TimeoutError("there was no time left for this phase")
            with torch.inference_mode():
                found = phase()
            entry: dict[str, Any] = {"state": "done", "results": found}
        except Exception as error:
            # One broken phase must not hide what the others find; the exit status tells of it.
            traceback.print_exc()
            entry = {"state": "failed", "error": f"{type(error).__name__}: {error}"}
            self.failed = True
        entry["seconds"] = round(perf_counter() - started, 2)
        self.tree["phases"][name] = entry
        print(f"{name}: {entry['state']} in {entry['seconds']} s", flush=True)
        if self._path is not None:
            self._path.write_text(json.dumps(self.tree, indent=2) + "\n")
        return found


def main() -> int:
    options = _parse()
    if not options.cpu and not torch.cuda.is_available():
        print("There is no GPU here that torch can use: nothing was checked or measured.")
        return EXIT_NO_GPU
    if options.tiny:
        # Threads would cost more than they give.
        torch.set_num_threads(1)
    asked = AttentionPath(options.attention) if options.attention else None
    machine = Machine(cpu=options.cpu, asked=asked)
    path = options.output or (None if options.tiny or options.cpu else RESULTS)
    watch = measures.Stopwatch(options.seconds)
    report = Report(path, _describe(machine, options))
    tiny = options.tiny

    def run(name: str, phase: Phase) -> dict[str, Any]:
        found = report.run(name, phase, skipped=watch.expired())
        machine.free()
        return found

    run("kernels", lambda: checks.check_kernels(machine, tiny=tiny))
    run("engine", lambda: checks.check_engine(machine, tiny=tiny))
    run("parity", lambda: checks.check_parity(machine, tiny=tiny))
    found = run("peaks", lambda: measures.measure_peaks(machine, tiny=tiny))
    if not found:
        return EXIT_FAILED
    peaks = Device(machine.facts.name, found["copy_bytes_per_second"], found["products_per_second"])
    for kind, measure in (("decode", measures.measure_decode), ("nano", measures.measure_nano)):
        for name in ("Qwen3-0.6B", "Qwen3-8B"):
            run(f"{kind} {name}", partial(measure, machine, name, peaks, watch, tiny=tiny))
    run("transformers", lambda: measures.measure_transformers(machine, watch, tiny=tiny))
    print(json.dumps(report.tree, indent=2))
    return EXIT_FAILED if report.failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="on the CPU, through the same phases")
    parser.add_argument("--tiny", action="store_true", help="with toy sizes")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="no phase starts later")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    parser.add_argument(
        "--attention", choices=[str(path) for path in AttentionPath], help="for prompt chunks"
    )
    return parser.parse_args()


def _describe(machine: Machine, options: argparse.Namespace) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "device": machine.facts.name if machine.is_gpu else "cpu",
        "processors": machine.processors,
        "capability": machine.facts.capability,
        "attention": {
            "chunks": machine.paths.chunks,
            "decodes": machine.paths.decodes,
            "reason": machine.paths.reason,
        },
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "tiny": options.tiny,
    }


if __name__ == "__main__":
    sys.exit(main())
