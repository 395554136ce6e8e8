"""The model server as a process: it listens before it loads, drains, and leaves no orphan."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import tiny_model

START = """
import os, sys
from pathlib import Path
from tokenyard.engine.server import serve
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.randomness import SystemRandomness
from tokenyard.runtime.settings import load_settings
from tokenyard.telemetry.logs import open_log
from tokenyard.vocabulary.errors import StartError

home, clock = Path(sys.argv[1]), RealClock()
try:
    sys.exit(serve(
        load_settings(home, os.environ).engine, home, address_file=home / "address",
        exit_with_parent=sys.argv[2] == "watch", log=open_log(clock, "info"), clock=clock,
        randomness=SystemRandomness(),
    ))
except StartError as error:
    sys.exit(error.message)
"""
SECONDS_MAX = 60


class Server:
    """A child process that serves the tiny model."""

    def __init__(self, home: Path, *, watch: bool = False, **settings: str) -> None:
        named = {f"TOKENYARD_ENGINE__{key.upper()}": value for key, value in settings.items()}
        source = str(Path(__file__).parents[3] / "src")
        self._home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(home), "watch" if watch else "alone"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source, **named},
        )
        self.log: list[dict[str, Any]] = []
        self.errors = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            text = line.decode()
            if text.startswith("{"):
                self.log.append(json.loads(text))
            else:
                self.errors += text

    @property
    def address(self) -> str:
        file = self._home / "address"
        self.wait_until(file.exists)
        return file.read_text()

    def wait_until(self, holds: Any) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not holds():
            assert self.process.poll() is None, self.errors
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def health(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=10) as answer:
                return answer.status, json.load(answer)["status"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["status"]

    def ask(self, **change: Any) -> Any:
        body = {"model": "tiny", "prompt": "hello", "ignore_eos": True, "max_tokens": 8, **change}
        request = urllib.request.Request(
            f"{self.address}/v1/completions", json.dumps(body).encode()
        )
        return urllib.request.urlopen(request, timeout=SECONDS_MAX)

    def end(self) -> int:
        """Wait for the exit; gives the status."""
        status = self.process.wait(timeout=SECONDS_MAX)
        self.close()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def events(self) -> list[str]:
        return [line["event"] for line in self.log]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model.write_model(tmp_path / "tiny.gguf", context=4096)


@pytest.fixture
def started(tmp_path: Path, model: Path) -> Iterator[Any]:
    servers: list[Server] = []

    def start(**settings: Any) -> Server:
        server = Server(tmp_path, **{"model": str(model), "kv_cache_bytes": "9000000", **settings})
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def test_it_listens_loads_serves_and_drains(started: Any) -> None:
    server = started(drain_seconds="20")
    assert server.health() == (503, "loading")
    server.wait_until(lambda: server.health() == (200, "ok"))
    with server.ask() as answer:
        body = json.load(answer)
    assert body["usage"]["completion_tokens"] == 8
    # An answer in progress is finished after the stop signal, and then the process ends well.
    with server.ask(stream=True, max_tokens=300) as answer:
        first = answer.readline()
        server.process.send_signal(signal.SIGTERM)
        rest = answer.read()
    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in rest
    assert server.end() == 0
    assert server.errors == ""
    assert server.events() == [
        "process.started",
        "model.loaded",
        "process.stopping",
        "process.stopped",
    ]


def test_the_drain_has_a_deadline(started: Any) -> None:
    server = started(drain_seconds="1")
    server.wait_until(lambda: server.health() == (200, "ok"))
    with server.ask(stream=True, max_tokens=4000) as answer:
        answer.readline()
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
        assert time.monotonic() - began < 5


def test_it_ends_with_its_parent(started: Any) -> None:
    server = started(watch=True)
    assert server.health()[0] == 503
    server.process.stdin.close()
    assert server.end() == 1


def test_a_signal_while_loading_ends_it(started: Any) -> None:
    server = started()
    assert server.health()[0] == 503
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0
    assert time.monotonic() - began < 1.5


def test_a_truncated_model_is_said_and_ends_the_process(started: Any, model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-1000])
    server = started()
    assert server.end() == 1
    said = [line["message"] for line in server.log if "message" in line]
    assert ["beyond the end of the file" in line for line in said] == [True]


def test_a_missing_model_and_a_taken_port_are_said_in_words(started: Any, tmp_path: Path) -> None:
    server = started(model=str(tmp_path / "gone.gguf"))
    assert server.end() == 1
    assert "cannot be read" in server.errors
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = started(port=str(port))
        assert server.end() == 1
    assert "Set engine.port" in server.errors
