"""A real `tokenyard up` without model servers, and its command line against it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Server:
    """`tokenyard up` in a folder of its own, and the command line against it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self.told: dict[str, Any] = {}
        kept = {name: v for name, v in os.environ.items() if not name.startswith("TOKENYARD_")}
        self.environment = {
            **kept,
            "TOKENYARD_HOME": str(home),
            "TOKENYARD_FLEET__ENGINES": "0",
            "TOKENYARD_GATEWAY__PORT": "0",
            "TOKENYARD_JOBS__NODE__GPUS": "2",
            "TOKENYARD_JOBS__LEASE_SECONDS": "1.5",
            "TOKENYARD_JOBS__BACK_OFF_SECONDS": "0.2",
            **settings,
        }

    def start(self) -> None:
        ready = self.home.with_name("ready.json")
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tokenyard", "up", "--ready-file", str(ready)]
        with self.home.with_name("up.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_for(ready.exists)
        self.told = json.loads(ready.read_text())

    def end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def ask(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tokenyard", *words],
            env={
                **self.environment,
                "TOKENYARD_URL": self.told["url"],
                "TOKENYARD_API_KEY": self.told["api_key"],
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    def state(self, job: str) -> str:
        return str(json.loads(self.ask("jobs", "show", job, "--json"))["state"])


def wait_for(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
