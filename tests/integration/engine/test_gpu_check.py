"""The GPU check says when there is no GPU, and its dry run goes through all phases."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tokenyard.engine.model.device import PathReason
from tools.gpu_check.__main__ import main

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
PHASES = [
    "kernels",
    "engine",
    "parity",
    "peaks",
    "decode Qwen3-0.6B",
    "decode Qwen3-8B",
    "nano Qwen3-0.6B",
    "nano Qwen3-8B",
    "transformers",
]


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.gpu_check", *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def when_written() -> float | None:
    return RESULTS.stat().st_mtime if RESULTS.exists() else None


def test_without_a_gpu_it_says_so_and_ends(tmp_path: Path) -> None:
    """Nor does it need a package that a GPU machine lacks.

    Only torch, numpy, Triton and transformers may be asked for.
    """
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in ('msgspec', 'starlette', 'uvicorn', 'aiohttp', 'gguf', 'hypothesis'):\n"
        "    sys.modules[name] = None\n"
    )
    before = when_written()
    # Also where there is one.
    done = run(CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3, done.stderr
    assert "no GPU" in done.stdout
    assert when_written() == before


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    before = when_written()
    output = tmp_path_factory.mktemp("gpu") / "gpu.json"
    done = run("--tiny", "--cpu", "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    assert when_written() == before, "toy figures must not be taken for results"
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_the_dry_run_goes_through_all_phases(dry: dict[str, Any]) -> None:
    assert list(dry["phases"]) == PHASES
    assert {phase["state"] for phase in dry["phases"].values()} == {"done"}
    assert dry["machine"]["device"] == "cpu"
    assert dry["machine"]["torch"] == torch.__version__
    assert dry["machine"]["attention"]["reason"] in set(PathReason)
    checked = {name: dry["phases"][name]["results"] for name in PHASES[:3]}
    assert checked["kernels"]["cases"] > 0
    assert checked["engine"]["ways_with_equal_texts"] == 10
    assert checked["parity"]["equal_texts"] == {"Llama": 3, "Qwen2": 3, "Qwen3": 3}


def test_no_time_left_is_a_failure_and_not_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "gpu.json"
    options = ["--tiny", "--cpu", "--seconds", "0", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["gpu_check", *options])
    # In this process: it proves nothing for which torch and Triton have to be started once more.
    threads = torch.get_num_threads()
    try:
        assert main() == 1
    finally:
        torch.set_num_threads(threads)
    assert {one["state"] for one in json.loads(output.read_text())["phases"].values()} == {"failed"}
