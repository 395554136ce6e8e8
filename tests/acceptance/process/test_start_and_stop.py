"""`tokenyard up` as a program: what it refuses, how it stops, what the next start finds."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from acceptance.yard import MODEL, Yard, run, wait_until

YardMaker = Callable[..., Yard]
STORY = "Explain in detail how a steam engine works."
REFUSAL_SECONDS_MAX = 60.0


def test_a_signal_to_the_process_alone_is_enough(make_yard: YardMaker) -> None:
    yard = make_yard()
    assert yard.engine_pids(), yard.processes()
    yard.process.send_signal(signal.SIGTERM)
    assert yard.wait_for_end() == 0, yard.output()
    assert not yard.processes()
    assert "Traceback" not in yard.output()


def test_ctrl_c_while_it_loads_is_clean_too(make_yard: YardMaker) -> None:
    yard = make_yard(wait=False)
    wait_until(yard.engine_pids, REFUSAL_SECONDS_MAX, "the model server is started")
    yard.interrupt()
    yard.wait_for_end()
    assert not yard.processes()
    assert "Traceback" not in yard.output()


def test_a_restart_keeps_all_and_a_deleted_home_resets_all(
    make_yard: YardMaker, fresh_home: Path
) -> None:
    # The story is to be cut off: nothing is proved by waiting for more of it.
    hasty = {"TOKENYARD_GATEWAY__DRAIN_SECONDS": "1"}
    yard = make_yard(**hasty)
    key = run("keys", "create", "--name", "kept", home=yard.home).stdout.strip()
    kept = {"authorization": f"Bearer {key}"}
    talk = yard.request("POST", "/v1/conversations", {}).json()["id"]
    asked = {"model": MODEL, "input": STORY, "background": True, "temperature": 0}
    running = yard.request("POST", "/v1/responses", asked).json()["id"]
    yard.wait_for_tokens(5)
    yard.interrupt()
    assert yard.wait_for_end() == 0, yard.output()

    again = make_yard(**hasty)
    assert again.request("GET", f"/v1/conversations/{talk}", headers=kept).status == 200
    found = again.request("GET", f"/v1/responses/{running}", headers=kept).json()
    # An answer that was cut off by the stop goes on in the next life.
    assert found["status"] in {"in_progress", "completed", "incomplete"}
    again.interrupt()
    assert again.wait_for_end() == 0, again.output()

    for path in fresh_home.iterdir():
        if path.name != "models":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    new = make_yard()
    assert new.request("GET", "/v1/models", headers=kept).status == 401
    assert new.request("GET", f"/v1/conversations/{talk}").status == 404


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("TOKENYARD_GATEWAY__DRAIN_SECONDS", "soon", "gateway.drain_seconds"),
        ("TOKENYARD_ENGINE__THREADS", "-1", "engine.threads"),
        ("TOKENYARD_GATEWAY__COLOUR", "red", "colour"),
        ("TOKENYARD_NONSENSE", "1", "nonsense"),
    ],
)
def test_a_bad_setting_is_named(make_yard: YardMaker, name: str, value: str, named: str) -> None:
    yard = make_yard(wait=False, **{name: value})
    assert yard.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    assert named in yard.output()
    assert "Traceback" not in yard.output()


def test_a_bad_line_in_the_file_is_named(make_yard: YardMaker, fresh_home: Path) -> None:
    (fresh_home / "settings.toml").write_text("[gateway]\nport = 'x'\n")
    yard = make_yard(wait=False)
    assert yard.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    assert "gateway.port" in yard.output()


def test_models_are_listed_and_found_and_missed(make_yard: YardMaker, fresh_home: Path) -> None:
    assert MODEL in run("models", "list", home=fresh_home).stdout
    assert Path(run("models", "path", home=fresh_home).stdout.strip()).is_file()
    shutil.rmtree(fresh_home / "models")
    missing = run("models", "path", home=fresh_home, check=False)
    assert missing.returncode != 0
    assert "models pull" in missing.stderr
    yard = make_yard(wait=False)
    assert yard.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    assert "models pull" in yard.output()
    assert not yard.processes()
