"""The import contracts hold, and each of them breaks when somebody breaks it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = "Rooms import downward only"
RULES = "rules/ decide and do nothing else"
TORCH = "torch only in engine/model"
DATABASES = "databases only in storage"
SERVER = "the HTTP server only in gateway and in the engine's own server"
CLIENTS = "HTTP clients only in upstreams"
PROCESSES = "processes only in jobs/executors"
TRACES = "OpenTelemetry only in telemetry"
CLOCK = "clock and randomness only in runtime"

INJECTIONS = [
    (LAYERS, "vocabulary/intruder.py", "import tokenyard.runtime.clock"),
    (LAYERS, "chat/intruder.py", "import tokenyard.jobs.executors"),
    (LAYERS, "storage/intruder.py", "import tokenyard.gateway.ports"),
    (LAYERS, "ledger/intruder.py", "def late() -> None:\n    import tokenyard.assembly"),
    (LAYERS, "misc/__init__.py", ""),
    (RULES, "chat/rules/intruder.py", "import time"),
    (RULES, "jobs/rules/intruder.py", "from tokenyard.runtime.clock import Clock"),
    (RULES, "gateway/rules/intruder.py", "import msgspec"),
    (TORCH, "engine/rules/intruder.py", "import torch"),
    (TORCH, "upstreams/intruder.py", "from torch import nn"),
    (DATABASES, "ledger/intruder.py", "import sqlite3"),
    (DATABASES, "gateway/intruder.py", "from sqlalchemy import select"),
    (SERVER, "chat/intruder.py", "from starlette.requests import Request"),
    (SERVER, "engine/intruder.py", "import uvicorn"),
    (CLIENTS, "gateway/intruder.py", "import aiohttp"),
    (CLIENTS, "chat/intruder.py", "from aiohttp import ClientSession"),
    (PROCESSES, "fleet/intruder.py", "import subprocess"),
    (PROCESSES, "storage/intruder.py", "import multiprocessing"),
    (TRACES, "gateway/intruder.py", "from opentelemetry import trace"),
    (CLOCK, "telemetry/intruder.py", "from time import time"),
    (CLOCK, "ledger/intruder.py", "from uuid import uuid4"),
]


def lint(root: Path) -> tuple[int, str]:
    """Exit status and output of import-linter on that tree, not on the installed package."""
    command = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def broken(output: str) -> list[str]:
    return re.findall(r"^(.+?) BROKEN", output, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that may be spoiled."""
    root = tmp_path_factory.mktemp("contracts")
    ignore = shutil.ignore_patterns("_web", "__pycache__")
    shutil.copytree(ROOT / "src" / "tokenyard", root / "src" / "tokenyard", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@pytest.fixture
def spoiled(tree: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The copy with one more module in it, taken out again afterwards."""
    place, code = request.param
    path = tree / "src" / "tokenyard" / place
    made = [folder for folder in [path.parent, *path.parent.parents] if not folder.exists()]
    for folder in reversed(made):
        folder.mkdir()
        (folder / "__init__.py").write_text('"""Not a room."""\n')
    path.write_text(f'"""Injected."""\n\n{code}\n')
    yield tree
    path.unlink()
    for folder in made:
        shutil.rmtree(folder)


def test_the_contracts_hold() -> None:
    status, output = lint(ROOT)
    assert status == 0, output
    assert not broken(output)


@pytest.mark.parametrize(
    ("contract", "spoiled"),
    [(contract, (place, code)) for contract, place, code in INJECTIONS],
    indirect=["spoiled"],
    ids=[f"{place}: {code or 'a new room'}" for _, place, code in INJECTIONS],
)
def test_a_violation_is_caught(contract: str, spoiled: Path) -> None:
    status, output = lint(spoiled)
    assert status != 0
    assert contract in broken(output), output


def test_every_contract_is_tried() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {entry["name"] for entry in configured["tool"]["importlinter"]["contracts"]}
    assert names == {contract for contract, _, _ in INJECTIONS}
