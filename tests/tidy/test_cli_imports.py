"""The command line answers at once, and each process loads only what it needs."""

import os
import resource
import subprocess
import sys
from pathlib import Path

CPU_SECONDS_MAX = 0.3
TRIES = 3
HEAVY = {
    "torch", "numpy", "ray", "sqlalchemy", "aiosqlite", "alembic", "aiohttp", "starlette",
    "uvicorn", "uvloop", "transformers", "tokenizers", "jinja2", "prometheus_client",
}  # fmt: skip
STORES = {"sqlalchemy", "aiosqlite", "alembic"}
TELL_LOADED = """
import sys
from tokenyard.cli import main
try:
    main()
finally:
    print("loaded", *sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("TOKENYARD_")}


def cpu_seconds_of_help() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = Path(sys.executable).parent / "tokenyard"
    subprocess.run([script, "--help"], check=True, capture_output=True, env=environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def run(*words: str, **more: str) -> tuple[str, set[str]]:
    """What a command says, and the packages that it has loaded by its end."""
    done = subprocess.run(
        [sys.executable, "-c", TELL_LOADED, *words],
        check=False,
        capture_output=True,
        text=True,
        env={**environment(), **more},
    )
    said, _, loaded = done.stderr.rpartition("loaded ")
    assert "click" in loaded, "the list of modules was not printed"
    return done.stdout + said, set(loaded.split())


def test_help_loads_nothing_heavy() -> None:
    said, loaded = run("--help")
    assert "Usage:" in said
    assert not loaded & HEAVY


def test_a_wrong_setting_is_told_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    said, loaded = run("up", TOKENYARD_HOME=str(tmp_path), TOKENYARD_NONSENSE="1")
    assert "nonsense" in said
    assert not loaded & HEAVY


def test_a_model_server_loads_no_store(tmp_path: Path) -> None:
    said, loaded = run("engine", TOKENYARD_HOME=str(tmp_path))
    assert "models pull" in said
    assert "uvicorn" in loaded, "it did not come as far as its server"
    assert not loaded & STORES


def test_help_is_fast() -> None:
    best = min(cpu_seconds_of_help() for _ in range(TRIES))
    assert best < CPU_SECONDS_MAX
