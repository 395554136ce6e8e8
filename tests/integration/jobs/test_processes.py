"""Processes: their output is kept, their group dies with them, and none outlives us."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tokenyard.jobs.executors import processes
from tokenyard.jobs.executors.processes import ProcessSpec, run_command, start_process

# Starts a child of its own that ignores the polite signal, and says both process ids.
PARENT = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(child.pid, flush=True)
signal.pause()
"""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def wait_for_text(path: Path) -> str:
    async with asyncio.timeout(20):
        while not (path.exists() and path.read_text().endswith("\n")):
            await asyncio.sleep(0.01)
    return path.read_text()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie whose parent has not looked yet is dead all the same.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def test_output_status_and_environment(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['WORD']); print('e', file=sys.stderr); sys.exit(3)"
    log = tmp_path / "logs" / "one.log"
    process = await start_process(ProcessSpec(python(code), log, {"WORD": "hello"}))
    assert await process.wait() == 3
    assert sorted(log.read_text().split()) == ["e", "hello"]
    assert await process.stop(1) == 3


async def test_stop_asks_first_and_then_kills_the_whole_group(tmp_path: Path) -> None:
    log = tmp_path / "parent.log"
    process = await start_process(ProcessSpec(python(PARENT), log))
    child = int(await wait_for_text(log))
    assert alive(child)
    assert await process.stop(grace_seconds=0.05) == -signal.SIGKILL
    async with asyncio.timeout(20):
        while alive(child):
            await asyncio.sleep(0.01)


async def test_polite_process_ends_politely(tmp_path: Path) -> None:
    code = (
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); "
        "print(1, flush=True); signal.pause()"
    )
    log = tmp_path / "polite.log"
    process = await start_process(ProcessSpec(python(code), log))
    await wait_for_text(log)
    assert await process.stop(grace_seconds=20) == 0


async def test_lifeline_ends_with_us(tmp_path: Path) -> None:
    """A child that reads its standard input hears when the process that started it is killed."""
    log = tmp_path / "child.log"
    child = "import sys; print('up', flush=True); sys.stdin.read(); print('alone', flush=True)"
    middle = (
        "import asyncio, pathlib, sys\n"
        "from tokenyard.jobs.executors.processes import ProcessSpec, start_process\n"
        "async def main():\n"
        f"    await start_process(ProcessSpec((sys.executable, '-c', {child!r}), "
        f"pathlib.Path({str(log)!r})))\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    supervisor = await start_process(ProcessSpec(python(middle), tmp_path / "middle.log"))
    await wait_for_text(log)
    supervisor.kill()
    async with asyncio.timeout(20):
        while "alone" not in log.read_text():
            await asyncio.sleep(0.01)
    await supervisor.wait()


async def test_long_log_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10)
    log = tmp_path / "one.log"
    for word in ("first-long-line", "second"):
        process = await start_process(ProcessSpec(python(f"print({word!r})"), log))
        await process.wait()
    assert log.read_text() == "second\n"
    assert (tmp_path / "one.log.1").read_text() == "first-long-line\n"


async def test_command_hands_on_its_lines() -> None:
    lines: list[str] = []
    assert (
        await run_command(python("print('a'); print('b'); raise SystemExit(2)"), lines.append) == 2
    )
    assert lines == ["a", "b"]


async def test_program_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-program"):
        await start_process(ProcessSpec(("no-such-program",), tmp_path / "x.log"))
