"""A process that dies does not leave its own children behind, even those that ignore signals."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tokenyard.jobs.executors.processes import ProcessSpec, start_process

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_what_a_killed_leader_started_is_swept_up(tmp_path: Path) -> None:
    log = tmp_path / "parent.log"
    process = await start_process(ProcessSpec((sys.executable, "-c", PARENT), log))
    async with asyncio.timeout(20):
        while not log.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
        child = int(log.read_text())
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        assert alive(child)
        assert await process.stop(1) == -signal.SIGKILL
        while alive(child):
            await asyncio.sleep(0.01)


async def test_one_that_shares_our_group_is_stopped_alone(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; sys.stdin.read()")
    process = await start_process(ProcessSpec(command, log=None, own_group=False))
    assert os.getpgid(process.pid) == os.getpgrp()
    assert await process.stop(20) == -signal.SIGTERM
