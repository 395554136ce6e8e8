"""The process beside each member: starts it, bounds it, keeps its log, and sees to its end.

Run as a file by a bare interpreter, with the standard library only, so that it costs little. What
it is to do is in a JSON file; commands come as lines on standard input: `stop SECONDS` and
`quit SECONDS`. When that pipe closes, our server is dead, and so is the member at once. How it
ended is written to a file before the keeper goes, so that nothing is lost with either of them.
"""

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.2
_CHUNK_BYTES = 65_536
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def elapsed() -> float:
    """Seconds that never run backwards."""
    return os.times().elapsed


class LogFile:
    """A log that is cut when it grows too long; what was before is kept once, as `….1`."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._file = path.open("wb", buffering=0)
        self._size = 0
        # Bytes of the whole log that lie before the current file.
        self._before = 0

    def write(self, data: bytes) -> None:
        """Append, changing the file as often as need be."""
        while data:
            if self._size >= self._bytes_max:
                self._change()
            part = data[: self._bytes_max - self._size]
            self._file.write(part)
            self._size += len(part)
            data = data[len(part) :]

    def _change(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        previous, self._before = self._before, self._before + self._size
        bases = {"previous": previous, "current": self._before}
        write_whole(self._path.with_name(self._path.name + ".base"), bases)
        self._file = self._path.open("wb", buffering=0)
        self._size = 0


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader finds all of it or nothing."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def descendants(root: int) -> list[int]:
    """All processes below that one, children before their own children."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, ValueError, IndexError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                # The name in parentheses may hold anything.
                parent = int(stat.rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry))
    found, todo = [], list(parents.get(root, ()))
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo.extend(parents.get(pid, ()))
    return found


def resident_bytes(pids: list[int]) -> int:
    """Memory that those processes hold."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return total


class Keeper:
    """One member and its fate."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._log = LogFile(Path(spec["log"]), spec["log_bytes_max"])
        self._signal = signal.Signals[f"SIG{spec['signal']}"]
        self._commands = b""
        self._open = [0]
        self._kill_at: float | None = None
        # Told to stop, or to quit because our server stops.
        self._told: str | None = None
        self._phase = "exited"
        self._detail: str | None = None
        self._status: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Until the member has ended; then write how."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # The polite signal is for the member; we hear of it by the lifeline.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._start()
        except OSError as error:
            self._phase, self._detail = "launch_failed", f"{error.strerror}: {error.filename}"
        else:
            self._watch()
        self._finish()

    def _start(self) -> None:
        reader, writer = os.pipe()
        try:
            self._child = subprocess.Popen(
                self._spec["command"],
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                cwd=self._spec["folder"],
                env=self._spec["environment"],
                start_new_session=True,
                preexec_fn=self._bound,  # noqa: PLW1509 - the keeper has one thread
            )
        except subprocess.SubprocessError as error:
            raise OSError(0, str(error)) from None
        finally:
            os.close(writer)
        self._open.append(reader)
        write_whole(Path(self._spec["started"]), {"group": self._child.pid})

    def _bound(self) -> None:
        """In the child, before its program: it dies with us, and has limits."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        files = self._spec["open_files"]
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        bound = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (bound, bound))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        seconds = self._spec["cpu_seconds"]
        if seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))

    def _watch(self) -> None:
        while self._status is None:
            ready, _, _ = select.select(self._open, [], [], _POLL_SECONDS)
            for source in ready:
                data = os.read(source, _CHUNK_BYTES)
                if source == 0:
                    self._hear(data)
                elif data:
                    self._log.write(data)
                else:
                    self._open.remove(source)
            self._reap()
            if self._kill_at is not None and elapsed() >= self._kill_at:
                self._kill()
            self._weigh()

    def _hear(self, data: bytes) -> None:
        if not data:
            # Our server is dead, and nobody else would end the member.
            self._open.remove(0)
            self._phase, self._detail = "lost", "the server died"
            self._kill()
            return
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            word, _, seconds = line.decode().partition(" ")
            deadline = elapsed() + float(seconds)
            if self._told is None and deadline > elapsed():
                self._send(self._signal)
            self._told = word
            self._kill_at = deadline if self._kill_at is None else min(self._kill_at, deadline)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if self._child is not None and pid == self._child.pid:
                    self._status = self._child.returncode = os.waitstatus_to_exitcode(status)

    def _weigh(self) -> None:
        bound = self._spec["memory_bytes"]
        if not bound or self._status is not None or self._phase != "exited":
            return
        held = resident_bytes(descendants(os.getpid()))
        if held > bound:
            self._phase = "out_of_memory"
            self._detail = f"it held {held >> 20} MiB and may hold {bound >> 20}"
            self._kill()

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None and self._status is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    def _kill(self) -> None:
        self._send(signal.SIGKILL)
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _finish(self) -> None:
        """What the member left running goes too; then its last words, and how it ended."""
        self._kill()
        self._reap()
        while len(self._open) > 0 and self._open[-1] != 0:
            source = self._open[-1]
            ready, _, _ = select.select([source], [], [], _POLL_SECONDS)
            data = os.read(source, _CHUNK_BYTES) if ready else b""
            if not data:
                break
            self._log.write(data)
        if self._told == "quit":
            self._phase, self._detail = "lost", "the server stopped"
        write_whole(
            Path(self._spec["ended"]),
            {
                "phase": self._phase,
                "status": self._status,
                "detail": self._detail,
                "stopped": self._told is not None,
            },
        )


if __name__ == "__main__":
    Keeper(json.loads(Path(sys.argv[1]).read_text())).run()
