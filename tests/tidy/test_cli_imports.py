"""The command line answers at once: printing its help loads no engine, database or server."""

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
ASK_FOR_HELP = """
import sys
sys.argv = ["tokenyard", "--help"]
from tokenyard.cli import main
try:
    main()
finally:
    print(*sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("TOKENYARD_")}


def cpu_seconds_of_help() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = Path(sys.executable).parent / "tokenyard"
    subprocess.run([script, "--help"], check=True, capture_output=True, env=environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_HELP],
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert "Usage:" in done.stdout
    loaded = set(done.stderr.split())
    assert "click" in loaded, "the list of modules was not printed"
    assert not loaded & HEAVY


def test_help_is_fast() -> None:
    best = min(cpu_seconds_of_help() for _ in range(TRIES))
    assert best < CPU_SECONDS_MAX
