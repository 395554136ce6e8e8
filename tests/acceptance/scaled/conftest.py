"""The scaled form as its user starts it, over model servers without weights that start at once."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from acceptance import yard as yards
from acceptance.yard import Yard, wait_until
from support.scripted_engine import MODEL

ENGINE = Path(__file__).parents[2] / "support" / "scripted_engine.py"
TESTS = Path(__file__).parents[2]
GATEWAYS = 3
TOKEN_SECONDS = 0.004
_SETTINGS = """
[fleet]
engines = 0
silent_seconds = 2
start_seconds_max = 10

[gateway]
heartbeat_seconds = 1

[limits]
requests_per_minute = 100000
requests_burst = 10000
concurrent_requests_per_key = 200
"""
_SERVER = """
[[upstreams.servers]]
name = "server-{number}"
url = "http://127.0.0.1:{port}"
kind = "own"
models = ["{model}"]
"""


@dataclass
class ScaledYard:
    """A running scaled form, and its processes by what they are."""

    yard: Yard
    engines: list[subprocess.Popen[bytes]]

    @property
    def gateways(self) -> list[str]:
        """The addresses behind nginx."""
        return [str(url) for url in self.yard.ready["gateways"]]

    def pids(self, pattern: str) -> list[int]:
        """Processes of it whose command line matches."""
        return [pid for pid, line in self.yard.processes().items() if re.search(pattern, line)]

    def gateway_pid(self, number: int) -> int:
        (pid,) = self.pids(rf"tokenyard gateway gateway-{number}\b")
        return pid

    def metric(self, gateway: str, name: str) -> float:
        """A figure of one gateway, summed over its labels."""
        answer = self.yard.request("GET", "/metrics", base=gateway)
        lines = [line for line in answer.body.decode().splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def is_ready(self, gateway: str) -> bool:
        try:
            return self.yard.request("GET", "/health/ready", base=gateway, timeout=5).status == 200
        except OSError:
            return False

    def wait_until_whole(self) -> None:
        """Every gateway answers again, after a test has killed one."""
        wait_until(lambda: all(map(self.is_ready, self.gateways)), 30, "all gateways")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def scripted_engines() -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """Two model servers, by port."""
    running = {}
    for port in (free_port(), free_port()):
        running[port] = subprocess.Popen(
            [
                sys.executable,
                str(ENGINE),
                "--port",
                str(port),
                "--token-seconds",
                str(TOKEN_SECONDS),
            ],
            env={**os.environ, "PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"},
        )
    yield running
    for process in running.values():
        process.send_signal(signal.SIGKILL)
        process.wait()


def write_settings(home: Path, ports: list[int], more: str = "") -> None:
    home.mkdir(parents=True, exist_ok=True)
    servers = [
        _SERVER.format(number=number, port=port, model=MODEL) for number, port in enumerate(ports)
    ]
    (home / "settings.toml").write_text(_SETTINGS + more + "".join(servers))


@pytest.fixture(scope="session")
def scaled(
    scripted_engines: dict[int, subprocess.Popen[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScaledYard]:
    """The one that all tests share; one that breaks something waits until it is whole again."""
    folder = tmp_path_factory.mktemp("scaled")
    write_settings(folder / "home", list(scripted_engines))
    yard = yards.start(folder / "home", folder, "--replicas", str(GATEWAYS))
    try:
        yard.wait_until_ready()
        yield ScaledYard(yard, list(scripted_engines.values()))
        yard.interrupt()
        status = yard.wait_for_end()
        assert status == 0, yard.output()
        left = yard.processes()
        assert not left, f"left running: {left}\n{yard.output()}"
    finally:
        yard.destroy()
