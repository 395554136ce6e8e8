"""A real server, its command line and its client: a job survives the server's death."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tokenyard.protocol.jobs import CheckpointSpec, JobSpec, RoleSpec
from tokenyard.upstreams.jobs_client import JobsClient, ServerRefused
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.reasons import Reason

COUNTS = """
import os, sys, time
from pathlib import Path
done = Path("done")
done.write_text(done.read_text() + "x" if done.exists() else "x")
print("pid", os.getpid(), flush=True)
time.sleep(60 if len(done.read_text()) < 2 else 0.1)
"""


class Server:
    """`tokenyard up` in a folder of its own, and the command line against it."""

    def __init__(self, home: Path) -> None:
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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "home")
    made.start()
    yield made
    made.end(signal.SIGTERM)


def test_a_job_survives_the_death_of_its_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(COUNTS)
    job_file = tmp_path / "job.yaml"
    command = f"command: [{sys.executable}, {tmp_path / 'count.py'}]"
    job_file.write_text(f"name: counts\n{command}\nroles: [{{gpus: 2}}]\n")
    job = server.ask("jobs", "submit", str(job_file)).strip()
    wait_for(lambda: "pid" in server.ask("jobs", "logs", job))
    pid = int(server.ask("jobs", "logs", job).split()[1])
    waiting = server.ask("jobs", "submit", str(job_file)).strip()
    wait_for(lambda: "Too little is free" in server.ask("jobs", "explain", waiting))
    assert "0/2" in server.ask("cluster")
    assert "default" in server.ask("queues")
    assert server.ask("jobs", "cancel", waiting).strip() == "cancelled"
    server.end(signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    server.start()
    wait_for(lambda: server.state(job) == "succeeded")
    told = json.loads(server.ask("jobs", "show", job, "--json"))
    assert (told["attempt"], told["failures"]) == (2, {"node_lost": 1})
    timeline = server.ask("jobs", "timeline", job)
    assert "the server died" in timeline
    # Each attempt ran once.
    assert (server.home / "jobs" / job / "work" / "done").read_text() == "xx"
    followed = server.ask("jobs", "logs", "-f", job)
    assert followed.startswith("pid")


def test_mistakes_are_told_in_words(server: Server, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "x"\n\n[[roles]]\ngpsu = 1\n')
    assert "bad.toml:4:" in server.ask("jobs", "submit", str(bad), status=1)
    assert "There is no such job" in server.ask("jobs", "show", "job_none", status=1)
    server.told["api_key"] = ""
    assert "TOKENYARD_API_KEY" in server.ask("jobs", "list", status=1)


async def test_the_client_in_a_program(server: Server) -> None:
    url, key = server.told["url"], server.told["api_key"]
    async with JobsClient(url, key) as client:
        spec = JobSpec(
            name="array",
            python="json.tool",
            command=("--help",),
            array=3,
            roles=(RoleSpec(cpus=0.1),),
            checkpoint=CheckpointSpec(grace_seconds=0),
        )
        page = await client.submit(spec)
        assert [job.array_index for job in page.data] == [0, 1, 2]
        pieces = [piece async for piece in client.follow(page.data[2].id)]
        assert "usage" in "".join(piece.text for piece in pieces)
        assert (await client.show(page.data[2].id)).state == "succeeded"
        assert (await client.history()).data
        with pytest.raises(ServerRefused) as refused:
            await client.cancel(page.data[2].id)
        assert refused.value.reason is Reason.JOB_ENDED
    async with JobsClient(url, "ty-wrong") as stranger:
        with pytest.raises(ServerRefused) as refused:
            await stranger.queues()
        assert refused.value.status == 401
    server.end(signal.SIGTERM)
    async with JobsClient(url, key) as nobody:
        with pytest.raises(UpstreamFailed):
            await nobody.queues()
