"""Processes on this machine: each in a group of its own, with a log file and a lifeline.

The lifeline is the child's standard input: a pipe that only we hold. When we die, however hard, the
kernel closes it, and a child that reads end-of-file there stops by itself: no orphans. Does not
decide when to start or stop anything.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

LOG_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. `environment` is added to ours.

    log: takes both output streams; None leaves them ours. own_group: whether it leads a group of
    its own; one that does not ends with ours.
    """

    command: tuple[str, ...]
    log: Path | None
    environment: Mapping[str, str] = field(default_factory=dict)
    own_group: bool = True


class LocalProcess:
    """One child process; `wait` tells its exit status, negative for a signal."""

    def __init__(self, child: asyncio.subprocess.Process, *, own_group: bool) -> None:
        self._child = child
        self._own_group = own_group

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.returncode is None

    def tell(self, line: str) -> None:
        """Send a line down the lifeline; quiet when the process is dead."""
        lifeline = self._child.stdin
        if lifeline is not None and self.running and not lifeline.is_closing():
            lifeline.write(f"{line}\n".encode())

    async def wait(self) -> int:
        """Wait for its end."""
        return await self._child.wait()

    async def stop(self, grace_seconds: float) -> int:
        """Ask politely, wait, then kill the whole group; returns the exit status.

        What a dead leader left behind in its group is killed too, so that it holds no memory.
        """
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                return await self._child.wait()
        except TimeoutError:
            self.kill()
            return await self._child.wait()
        finally:
            self._sweep()

    def kill(self) -> None:
        """End the process and everything that it started, at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self.running:
            return
        try:
            if self._own_group:
                os.killpg(self._child.pid, number)
            else:
                os.kill(self._child.pid, number)
        except ProcessLookupError:
            return

    def _sweep(self) -> None:
        """The kernel gives a group's number to nobody else while a member of it lives."""
        if self._own_group and not self.running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)


async def start_process(spec: ProcessSpec) -> LocalProcess:
    """Start it; raises OSError when the program cannot be run."""
    with nullcontext(None) if spec.log is None else _open_log(spec.log) as log:
        child = await asyncio.create_subprocess_exec(
            *spec.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **spec.environment},
            start_new_session=spec.own_group,
        )
    return LocalProcess(child, own_group=spec.own_group)


async def run_command(command: tuple[str, ...], line: Callable[[str], None]) -> int:
    """Run a program to its end, handing on each line that it prints; returns its exit status."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        if child.stdout is not None:
            async for raw in child.stdout:
                line(raw.decode(errors="replace").rstrip())
        return await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def _open_log(path: Path) -> IO[bytes]:
    """Open for appending; a log that has grown too long is kept once, as `….1`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")
