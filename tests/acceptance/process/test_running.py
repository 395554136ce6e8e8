"""What a started `tokenyard up` shows and keeps; nothing here disturbs it, so all share one."""

import json
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from acceptance import yard as yards
from acceptance.yard import Yard, run

REFUSAL_SECONDS_MAX = 60.0


def snippet(lines: list[str], first: int) -> str:
    """The lines from there on that are indented as deep as the first, without that indent."""
    indent = len(lines[first]) - len(lines[first].lstrip())
    taken = []
    for line in lines[first:]:
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            break
        taken.append(line[indent:])
    return "\n".join(taken).strip()


def test_it_prints_what_a_newcomer_needs(yard: Yard) -> None:
    told = yard.output()
    for part in (yard.url, str(yard.ready["sign_in_link"]), yard.api_key, "curl ", "from openai"):
        assert part in told, told
    assert set(yard.ready) >= {"url", "sign_in_link", "api_key", "pid"}
    assert yard.ready["pid"] == yard.process.pid


def test_the_printed_snippets_work_when_pasted(yard: Yard) -> None:
    lines = yard.output().splitlines()
    curl = snippet(lines, next(n for n, line in enumerate(lines) if "curl http" in line))
    python = snippet(lines, next(n for n, line in enumerate(lines) if "import OpenAI" in line))
    assert shutil.which("curl"), "the printed line needs curl"
    for command in (["sh", "-c", curl], [sys.executable, "-c", python]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command[-1]}\n{done.stderr}"
        assert done.stdout.strip()
    assert json.loads(
        subprocess.run(["sh", "-c", curl], capture_output=True, timeout=120, check=True).stdout
    )["choices"]


def test_a_second_one_on_the_same_home_says_who_runs(yard: Yard, tmp_path: Path) -> None:
    second = yards.start(yard.home, tmp_path)
    assert second.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    assert str(yard.process.pid) in second.output()
    assert "Traceback" not in second.output()
    assert yard.is_ready(), "the first one was disturbed"


def test_a_taken_port_is_said_in_words(fresh_home: Path, tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = yards.start(fresh_home, tmp_path, port=port)
        assert refused.wait_for_end(REFUSAL_SECONDS_MAX) != 0
    told = refused.output()
    assert str(port) in told
    assert "port" in told.lower()
    assert "Traceback" not in told
    assert not refused.processes()


def test_a_new_key_is_alone_on_standard_output(yard: Yard) -> None:
    done = run("keys", "create", "--name", "script", home=yard.home)
    (key,) = done.stdout.split("\n")[:-1]
    assert key.startswith("ty-")
    assert " " not in key
    headers = {"authorization": f"Bearer {key}"}
    assert yard.request("GET", "/v1/models", headers=headers).status == 200
    assert key not in run("keys", "list", home=yard.home).stdout
    stored = [path for path in yard.home.rglob("*") if path.is_file() and path.suffix != ".gguf"]
    assert len(stored) > 3
    assert not [path for path in stored if key.encode() in path.read_bytes()]


def test_a_sign_in_link_works_once(yard: Yard) -> None:
    link = yard.sign_in_link()
    assert link.startswith(yard.url)
    path = link.removeprefix(yard.url)
    first = yard.request("GET", path, signed=False)
    assert first.status == 303
    cookie = first.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite" in cookie.lower()
    second = yard.request("GET", path, signed=False)
    assert "set-cookie" not in second.headers
    session = yard.request(
        "GET", "/api/session", signed=False, headers={"cookie": cookie.split(";")[0]}
    )
    assert session.status == 200


def test_the_data_folder_is_private(yard: Yard) -> None:
    assert yard.home.stat().st_mode & 0o077 == 0, oct(yard.home.stat().st_mode)


def test_the_ready_file_is_private_json(yard: Yard) -> None:
    assert json.loads(yard.ready_path.read_text()) == yard.ready
    assert yard.ready_path.stat().st_mode & 0o077 == 0


def test_its_processes_are_really_found(yard: Yard) -> None:
    """The test of the tests: what must be gone at the end is there now."""
    found = yard.processes()
    assert yard.process.pid in found
    assert yard.engine_pids()
    assert set(yard.engine_pids()) < set(found)
