"""The command line of jobs from end to end: what can be asked for happens, on a real server."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.job_server import Server, wait_for
from tokenyard.cli.commands import main

NOW = "import os; print('element', os.environ['TOKENYARD_ARRAY_INDEX'] or 'none')"
# Fails until it was tried often enough; its folder is kept through all tries.
STUBBORN = """
from pathlib import Path
tries = Path("tries")
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
raise SystemExit(0 if len(tries.read_text()) > 2 else 7)
"""


class Desk:
    """Commands in this process against one server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._runner = CliRunner()
        self._folder = folder
        self._environment = {
            "TOKENYARD_URL": server.told["url"],
            "TOKENYARD_API_KEY": server.told["api_key"],
        }

    def ask(self, *words: str) -> str:
        result = self._runner.invoke(main, list(words), env=self._environment)
        assert result.exit_code == 0, result.output
        return result.output

    def submit(self, code: str, **spec: Any) -> list[str]:
        file = self._folder / "job.json"
        body = {"name": "one", "python": "main", "files": {"main.py": code}, **spec}
        file.write_text(json.dumps(body))
        return self.ask("jobs", "submit", str(file)).split()

    def show(self, job: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.ask("jobs", "show", job, "--json"))
        return told

    def wait_for(self, job: str, state: str) -> dict[str, Any]:
        wait_for(lambda: self.show(job)["state"] == state)
        return self.show(job)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("commands") / "home"
    home.mkdir()
    (home / "settings.toml").write_text('[[ledger.gpu_prices]]\nkind = "*"\nhour = "3600"\n')
    made = Server(home, TOKENYARD_JOBS__CLERK_SECONDS="0.2")
    try:
        made.start()
        yield made
    finally:
        made.end(signal.SIGTERM)


@pytest.fixture
def desk(server: Server, tmp_path: Path) -> Desk:
    return Desk(server, tmp_path)


def test_an_array_has_an_index_for_each_element(desk: Desk) -> None:
    jobs = desk.submit(NOW, array=3)
    for index, job in enumerate(jobs):
        desk.wait_for(job, "succeeded")
        assert desk.ask("jobs", "logs", job) == f"element {index}\n"


def test_dependencies_wait_for_success_and_fail_with_failure(desk: Desk) -> None:
    (first,) = desk.submit("import time; time.sleep(1)")
    (second,) = desk.submit(NOW, after=[first])
    wait_for(lambda: desk.show(second)["reason"] == "dependency")
    assert first in desk.ask("jobs", "explain", second)
    done = desk.wait_for(second, "succeeded")
    assert done["started_at"] >= desk.show(first)["ended_at"]
    (bad,) = desk.submit("raise SystemExit(1)")
    (never,) = desk.submit(NOW, after=[bad])
    assert desk.wait_for(never, "failed")["reason"] == "dependency_failed"


def test_times_before_and_after_which_nothing_runs(desk: Desk) -> None:
    (later,) = desk.submit(NOW, not_before=time.time() + 2)
    wait_for(lambda: "not to start before" in desk.ask("jobs", "explain", later))
    (late,) = desk.submit("import time; time.sleep(60)", deadline=time.time() + 1.5,
                          checkpoint={"grace_seconds": 0})  # fmt: skip
    assert desk.wait_for(late, "failed")["reason"] == "deadline_passed"
    begun = desk.wait_for(later, "succeeded")
    assert begun["started_at"] - begun["submitted_at"] > 1.5


def test_dead_letters_are_looked_at_and_played_again(desk: Desk) -> None:
    (job,) = desk.submit(STUBBORN, retries={"user_error": 1})
    dead = desk.wait_for(job, "dead")
    assert (dead["failures"], dead["exit_status"]) == ({"user_error": 2}, 7)
    assert job in desk.ask("jobs", "list", "--state", "dead")
    assert "exit status 7" in desk.ask("jobs", "timeline", job)
    assert desk.ask("jobs", "retry", job).strip() in {"queued", "starting"}
    done = desk.wait_for(job, "succeeded")
    assert (done["attempt"], done["failures"]) == (3, {})


def test_who_is_told_to_stop_is_said_to_be(desk: Desk) -> None:
    (job,) = desk.submit("import time; time.sleep(60)")
    desk.wait_for(job, "running")
    assert desk.ask("jobs", "cancel", job).strip() == "running, and told to stop"
    desk.wait_for(job, "cancelled")


def test_priority_and_what_a_job_cost(desk: Desk) -> None:
    roles = [{"gpus": 2}]
    (runs,) = desk.submit("import time; time.sleep(3)", roles=roles)
    desk.wait_for(runs, "running")
    # What it has taken so far is told before it ends.
    wait_for(lambda: desk.show(runs)["gpu_seconds"] > 0)
    (normal,) = desk.submit(NOW, roles=roles)
    (urgent,) = desk.submit(NOW, roles=roles, preemptible=False)
    assert desk.ask("jobs", "priority", urgent, "high").strip() == "high (100)"
    ends = [desk.wait_for(job, "succeeded")["started_at"] for job in (urgent, normal)]
    assert ends[0] < ends[1]
    # Two GPUs at one unit of money for each second.
    wait_for(lambda: "in all" in desk.ask("jobs", "timeline", runs))
    told = json.loads(desk.ask("jobs", "timeline", runs, "--json"))
    assert told["cost"]["nanos"] == pytest.approx(desk.show(runs)["gpu_seconds"] * 1e9, rel=0.01)
    assert "2 GPU" in desk.ask("jobs", "timeline", runs) or told["attempts"][0]["gpu_seconds"] > 2


def test_a_drained_job_says_at_which_step_it_goes_on(desk: Desk) -> None:
    code = """
import json, os, time
from pathlib import Path
said = os.environ["TOKENYARD_RESUMED_STEP"]
Path(os.environ["TOKENYARD_CHECKPOINT_FILE"]).write_text(json.dumps({"step": 1200}))
time.sleep(0 if said else 60)
"""
    (job,) = desk.submit(code)
    wait_for(lambda: desk.show(job)["saved_step"] == 1200)
    desk.ask("cluster", "node", "local", "draining")
    desk.wait_for(job, "queued")
    assert "resumes at       step 1200" in desk.ask("jobs", "explain", job)
    desk.ask("cluster", "node", "local", "open")
    desk.wait_for(job, "succeeded")
    assert "at step 1200" in desk.ask("jobs", "show", job)
    told = desk.ask("jobs", "timeline", job)
    for words in ("saved at step 1200", "on local, resumed at step 1200", "try 2:"):
        assert words in told
    spoken = json.loads(desk.ask("jobs", "timeline", job, "--json"))
    assert [one["step"] for one in spoken["events"] if one["kind"] == "launched"] == [None, 1200]
    assert [one["resumed_step"] for one in spoken["attempts"]] == [None, 1200]


def test_a_cordoned_node_takes_nobody(desk: Desk) -> None:
    desk.ask("cluster", "node", "local", "cordoned")
    (job,) = desk.submit(NOW)
    wait_for(lambda: desk.show(job)["reason"] == "nodes_closed")
    assert "cordoned" in desk.ask("cluster")
    desk.ask("cluster", "node", "local", "open")
    desk.wait_for(job, "succeeded")
