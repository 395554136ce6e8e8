"""The life of a process: one instance per data folder, and a stop signal that is heard once.

A second signal while stopping ends the process the hard way, as people expect of Ctrl-C.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenyard.vocabulary.errors import StartError

_LOCK_NAME = "tokenyard.lock"


@contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Own the data folder; raises StartError naming the process that owns it already."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # It holds what people wrote; fetching a model may have made it for all to read.
        home.chmod(0o700)
        handle = os.open(home / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(
            f"The data folder {home} cannot be used: {error.strerror}. "
            "Choose another one with TOKENYARD_HOME."
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise StartError(
                f"Tokenyard is running already on {home} (process {owner}). "
                "Stop it first, or choose another folder with TOKENYARD_HOME."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


class StopSignal:
    """Set by SIGINT or SIGTERM; a second one falls back to the operating system's default."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def listen(self) -> None:
        """Take over both signals; needs a running event loop in the main thread."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._heard)

    async def wait(self) -> None:
        """Wait until the process is asked to stop."""
        await self._event.wait()

    @property
    def is_set(self) -> bool:
        """True once the process was asked to stop."""
        return self._event.is_set()

    def _heard(self) -> None:
        self._event.set()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
