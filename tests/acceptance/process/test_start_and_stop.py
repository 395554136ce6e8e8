"""`tokenyard up` as a program: what it prints, what it refuses, what it leaves."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from acceptance import yard as yards
from acceptance.yard import MODEL, Yard, run, wait_until

YardMaker = Callable[..., Yard]
STORY = "Explain in detail how a steam engine works."
REFUSAL_SECONDS_MAX = 15.0


def test_it_prints_what_a_newcomer_needs(make_yard: YardMaker) -> None:
    yard = make_yard()
    told = yard.output()
    for part in (yard.url, str(yard.ready["sign_in_link"]), yard.api_key, "curl ", "from openai"):
        assert part in told, told
    assert set(yard.ready) >= {"url", "sign_in_link", "api_key", "pid"}
    assert yard.ready["pid"] == yard.process.pid


def test_the_printed_snippets_work_when_pasted(make_yard: YardMaker, tmp_path: Path) -> None:
    yard = make_yard()
    lines = yard.output().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip().startswith("curl "))
    end = begin
    while lines[end].rstrip().endswith("\\"):
        end += 1
    curl = "\n".join(lines[begin : end + 1])
    if shutil.which("curl"):
        done = subprocess.run(
            ["sh", "-c", curl], capture_output=True, text=True, timeout=60, check=True
        )
        assert "choices" in done.stdout, done.stdout + done.stderr
    start = next(number for number, line in enumerate(lines) if "from openai import" in line)
    indent = len(lines[start]) - len(lines[start].lstrip())
    code = []
    for line in lines[start:]:
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            break
        code.append(line[indent:])
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, "\n".join(code) + done.stderr
    assert done.stdout.strip()


def test_ctrl_c_leaves_nothing_running(make_yard: YardMaker) -> None:
    yard = make_yard()
    assert yard.engine_pids(), yard.processes()
    yard.interrupt()
    assert yard.wait_for_end() == 0, yard.output()
    assert not yard.processes()
    assert "Traceback" not in yard.output()


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_alone_is_enough(
    make_yard: YardMaker, kind: signal.Signals
) -> None:
    yard = make_yard()
    yard.process.send_signal(kind)
    assert yard.wait_for_end() == 0, yard.output()
    assert not yard.processes()


def test_ctrl_c_while_it_loads_is_clean_too(make_yard: YardMaker) -> None:
    yard = make_yard(wait=False)
    wait_until(yard.engine_pids, 30, "the model server is started")
    yard.interrupt()
    yard.wait_for_end()
    assert not yard.processes()
    assert "Traceback" not in yard.output()


def test_a_running_answer_is_finished_or_ended_by_ctrl_c(make_yard: YardMaker) -> None:
    yard = make_yard()
    body = {"model": MODEL, "input": STORY, "background": True, "temperature": 0}
    started = yard.request("POST", "/v1/responses", body).json()
    yard.interrupt()
    assert yard.wait_for_end() == 0, yard.output()
    again = make_yard()
    found = again.request("GET", f"/v1/responses/{started['id']}")
    assert found.status == 200
    assert found.json()["status"] in {"completed", "incomplete", "failed", "cancelled"}


def test_a_taken_port_is_said_in_words(make_yard: YardMaker) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        yard = make_yard(wait=False, port=port)
        assert yard.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    told = yard.output()
    assert str(port) in told
    assert "port" in told.lower()
    assert "Traceback" not in told
    assert not yard.processes()


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


def test_a_second_one_on_the_same_home_says_who_runs(make_yard: YardMaker) -> None:
    first = make_yard()
    second = make_yard(wait=False)
    assert second.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    assert str(first.process.pid) in second.output()
    assert "Traceback" not in second.output()
    assert first.is_ready(), "the first one was disturbed"


def test_a_deleted_home_resets_everything(
    make_yard: YardMaker, fresh_home: Path, models_folder: Path
) -> None:
    yard = make_yard()
    old_key = yard.api_key
    talk = yard.request("POST", "/v1/conversations", {}).json()["id"]
    yard.interrupt()
    yard.wait_for_end()
    for path in fresh_home.iterdir():
        if path.name != "models":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = make_yard()
    old = {"authorization": f"Bearer {old_key}"}
    assert again.request("GET", "/v1/models", headers=old).status == 401
    assert again.request("GET", f"/v1/conversations/{talk}").status == 404


def test_a_restart_keeps_keys_and_conversations(make_yard: YardMaker) -> None:
    yard = make_yard()
    key = run("keys", "create", "--name", "kept", home=yard.home).stdout.strip()
    talk = yard.request("POST", "/v1/conversations", {}).json()["id"]
    yard.interrupt()
    yard.wait_for_end()
    again = make_yard()
    kept = {"authorization": f"Bearer {key}"}
    assert again.request("GET", f"/v1/conversations/{talk}", headers=kept).status == 200


def test_a_new_key_is_alone_on_standard_output(make_yard: YardMaker, fresh_home: Path) -> None:
    done = run("keys", "create", "--name", "script", home=fresh_home)
    (key,) = done.stdout.split("\n")[:-1]
    assert key.startswith("ty-")
    assert " " not in key
    yard = make_yard()
    headers = {"authorization": f"Bearer {key}"}
    assert yard.request("GET", "/v1/models", headers=headers).status == 200
    assert key not in run("keys", "list", home=fresh_home).stdout
    stored = [path for path in fresh_home.rglob("*") if path.is_file() and path.suffix != ".gguf"]
    assert not [path for path in stored if key.encode() in path.read_bytes()]


def test_a_sign_in_link_works_once(make_yard: YardMaker) -> None:
    yard = make_yard()
    for link in (str(yard.ready["sign_in_link"]), yard.sign_in_link()):
        assert link.startswith(yard.url)
        path = link.removeprefix(yard.url)
        first = yard.request("GET", path, signed=False)
        assert first.status == 303
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite" in cookie.lower()
        second = yard.request("GET", path, signed=False)
        assert "set-cookie" not in second.headers
        session = yard.request(
            "GET", "/api/session", signed=False, headers={"cookie": cookie.split(";")[0]}
        )
        assert session.status == 200


def test_no_file_of_the_data_folder_is_readable_by_others(make_yard: YardMaker) -> None:
    yard = make_yard()
    assert yard.home.stat().st_mode & 0o077 == 0, oct(yard.home.stat().st_mode)


def test_models_can_be_listed_and_found(fresh_home: Path) -> None:
    assert MODEL in run("models", "list", home=fresh_home).stdout
    path = Path(run("models", "path", home=fresh_home).stdout.strip())
    assert path.is_file()
    shutil.rmtree(fresh_home / "models")
    missing = run("models", "path", home=fresh_home, check=False)
    assert missing.returncode != 0
    assert "models pull" in missing.stderr


def test_up_without_a_model_says_how_to_get_it(make_yard: YardMaker, fresh_home: Path) -> None:
    shutil.rmtree(fresh_home / "models")
    yard = make_yard(wait=False)
    assert yard.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    assert "models pull" in yard.output()
    assert not yard.processes()


def test_the_ready_file_is_private_json(make_yard: YardMaker) -> None:
    yard = make_yard()
    assert json.loads(yard.ready_path.read_text()) == yard.ready
    assert yard.ready_path.stat().st_mode & 0o077 == 0


def test_processes_are_really_found(make_yard: YardMaker) -> None:
    """The test of the tests: what `processes` must find is there, and only while it runs."""
    yard = make_yard()
    found = yard.processes()
    assert yard.process.pid in found
    assert len(found) >= 2
    yard.interrupt()
    yard.wait_for_end()
    assert not yards.find_processes(yard.home)
