"""A whole Tokenyard as its user starts it: the real command, engine and model, on a free port.

Every process of it is found by the data folder in its environment, so that an orphan cannot hide.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMAND = Path(sys.executable).parent / "tokenyard"
READY_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
# The model of the embedded default.
MODEL = "smollm2-135m-instruct"
_LIFELINE = "lifeline.py"
_ENGINE = re.compile(r"tokenyard(\.engine| engine)\b")


@dataclass
class Answer:
    """A raw HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Yard:
    """A started `tokenyard up`; `url`, `api_key` and `pid` come from its ready file."""

    home: Path
    process: subprocess.Popen[bytes]
    output_path: Path
    ready_path: Path
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.ready["url"]).rstrip("/")

    @property
    def api_key(self) -> str:
        return str(self.ready["api_key"])

    def output(self) -> str:
        """Everything it wrote so far, both streams."""
        return self.output_path.read_text(encoding="utf-8", errors="replace")

    def sign_in_link(self) -> str:
        """A fresh one-time link, as the command line makes it."""
        return run("sign-in-link", "--url", self.url, home=self.home).stdout.strip()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        signed: bool = True,
        base: str | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """One request on a connection of its own; `raw` is sent as it is, `body` as JSON."""
        parts = urlsplit(base or self.url)
        sent = {"authorization": f"Bearer {self.api_key}"} if signed else {}
        data = raw
        if data is None and body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["content-type"] = "application/json"
        sent.update(headers or {})
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body=data, headers=sent)
            answer = connection.getresponse()
            lower = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, lower, answer.read())

    def wait_until_ready(self, seconds_max: float = READY_SECONDS_MAX) -> None:
        """Until the ready file is there; fails at once when the process ends before."""
        deadline = time.monotonic() + seconds_max
        while not self.ready_path.exists():
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not ready after {seconds_max:g} s:\n{self.output()}")
            time.sleep(POLL_SECONDS)
        self.ready = json.loads(self.ready_path.read_text(encoding="utf-8"))

    def is_ready(self) -> bool:
        """What `/health/ready` says; False too when nobody answers."""
        try:
            return self.request("GET", "/health/ready", signed=False, timeout=5).status == 200
        except OSError:
            return False

    def active_generations(self) -> int:
        """Answers in progress, as the gateway's own metric tells."""
        for line in self.request("GET", "/metrics").body.decode().splitlines():
            if line.startswith("tokenyard_gateway_active_generations "):
                return int(float(line.split()[1]))
        raise AssertionError("there is no such metric")

    def processes(self) -> dict[int, str]:
        """Every living process of this yard by pid, with its command line."""
        return find_processes(self.home)

    def engine_pids(self) -> list[int]:
        """The model servers among the processes."""
        return [pid for pid, command in self.processes().items() if _ENGINE.search(command)]

    def engine_address(self) -> str:
        """Where the first model server listens, as it wrote it down."""
        return (self.home / "run" / "engine-0.address").read_text(encoding="utf-8").strip()

    def engine_tokens(self) -> tuple[int, int]:
        """Prompt and generated tokens as the engine itself has counted them since its start."""
        answer = self.request("GET", "/metrics", signed=False, base=self.engine_address())
        counts = dict(line.rsplit(" ", 1) for line in answer.body.decode().splitlines())
        return (
            int(float(counts["tokenyard_engine_prompt_tokens_total"])),
            int(float(counts["tokenyard_engine_generation_tokens_total"])),
        )

    def wait_for_tokens(self, count: int, seconds_max: float = 60.0) -> None:
        """Until the engine has generated that many more tokens than now."""
        goal = self.engine_tokens()[1] + count
        wait_until(lambda: self.engine_tokens()[1] >= goal, seconds_max, f"{count} tokens more")

    def interrupt(self) -> None:
        """Ctrl-C: the terminal signals the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_for_end(self, seconds_max: float = STOP_SECONDS_MAX) -> int:
        """The exit status of the command."""
        try:
            return self.process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs {seconds_max:g} s later:\n{self.output()}") from None

    def destroy(self) -> None:
        """End whatever is left; for the end of a test that failed.

        But for lifelines: nginx and Valkey leave our environment behind, and a lifeline whose
        parent is gone ends them.
        """
        for pid, command in {**self.processes(), self.process.pid: ""}.items():
            if _LIFELINE not in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS_MAX)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.processes(), STOP_SECONDS_MAX, "the end of every service")


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without any TOKENYARD_ variable of the machine, and with this home.

    A model server has one thread: several of them run side by side under test, and threads that
    wait for each other by spinning would take the machine from all.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TOKENYARD_")}
    ours = {"TOKENYARD_HOME": str(home), "TOKENYARD_ENGINE__THREADS": "1"}
    return {**kept, **ours, **(extra or {})}


def run(
    *arguments: str,
    home: Path,
    extra: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """One short command of the command line."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(home, extra),
        capture_output=True,
        text=True,
        check=check,
        timeout=timeout,
    )


def start(
    home: Path,
    folder: Path,
    *arguments: str,
    port: int = 0,
    extra: Mapping[str, str] | None = None,
) -> Yard:
    """Start `tokenyard up`; its output and ready file go to `folder`. Does not wait."""
    folder.mkdir(parents=True, exist_ok=True)
    ready_path = folder / "ready.json"
    ready_path.unlink(missing_ok=True)
    output_path = folder / "output.txt"
    with output_path.open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, "up", "--port", str(port), "--ready-file", ready_path, *arguments],
            env=environment(home, extra),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, so that Ctrl-C can be sent to it as a terminal would.
            start_new_session=True,
        )
    return Yard(home, process, output_path, ready_path)


def find_processes(home: Path) -> dict[int, str]:
    """Living processes whose environment names this data folder (Linux, from /proc)."""
    mark = f"TOKENYARD_HOME={home}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if command:
            found[int(folder.name)] = command.strip()
    return found


def wait_until(condition: Any, seconds_max: float, what: str) -> None:
    """Poll a condition; fails with words when it does not come true in time."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds_max:g} s")
        time.sleep(POLL_SECONDS)
