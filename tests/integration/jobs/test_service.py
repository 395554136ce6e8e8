"""A real server, its command line and its client: a job survives the server's death."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.job_server import Server, is_alive, wait_for
from tokenyard.protocol.jobs import CheckpointSpec, JobSpec, RoleSpec
from tokenyard.upstreams.jobs_client import JobsClient
from tokenyard.upstreams.server_client import ServerRefused
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
