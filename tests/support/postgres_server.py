"""A real Postgres server for tests: one for the whole run, with databases made when asked for."""

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tokenyard.fleet.services.postgres import database_url, find_postgres

# Nothing in a test has to survive a loss of power.
HASTE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=16MB")


class PostgresServer:
    """A server that can be killed, frozen and started again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self._programs = find_postgres()
        self._folder = folder
        self._data = folder / "data"
        self._programs.make_folder(folder)
        subprocess.run(
            [*self._programs.initialise(self._data), "--no-sync"], check=True, capture_output=True
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._programs.serve(self._data, self.port, *HASTE), stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=1).close()
                return
            assert self.process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def url(self, database: str) -> str:
        return database_url(self.port, database=database)

    def make_database(self) -> str:
        """A new, empty database; returns its address."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            # What a test asks is written in the test.
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """As a crash: every connection is cut, nothing is finished."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """A server in a folder of its own, short enough and open for the user that it runs as."""
    with tempfile.TemporaryDirectory(prefix="tokenyard-pg-") as folder:
        os.chmod(folder, 0o711)
        server = PostgresServer(Path(folder) / "postgres")
        try:
            yield server
        finally:
            server.process.kill()
            server.process.wait(30)
