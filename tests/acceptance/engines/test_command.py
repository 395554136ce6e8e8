"""Model servers of the operator's own, by a command or by their address, behind our gateway."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from acceptance import yard as yards
from acceptance.yard import Yard, wait_until

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "other_server.py"
MODEL = "Other/Model-1B"
TEXT = "One two three."
KEY = "sk-of-the-other-server"
SECONDS_MAX = 30.0
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
SETTINGS = f"""
[engine]
kind = "vllm"
model = "{MODEL}"
command = "{sys.executable} {PROGRAM} --model {{model}} --port {{port}}"
"""
Opener = Callable[..., Yard]


def ask(yard: Yard, **changes: Any) -> Any:
    answer = yard.request("POST", CHAT, {**BODY, **changes})
    assert answer.status == 200, answer.body
    return answer.json()


def servers_of(yard: Yard) -> list[int]:
    """The other server's own processes, without the one of ours that watches it."""
    return [pid for pid, command in yard.processes().items() if PROGRAM.name in command]


def test_it_is_started_routed_to_and_taken_down_with_all_it_started(open_yard: Opener) -> None:
    yard = open_yard(SETTINGS)
    listed = yard.request("GET", "/v1/models").json()["data"]
    windows = {model["id"]: model["context_window"] for model in listed}
    assert windows[MODEL] == 4096
    body = ask(yard)
    assert body["choices"][0]["message"]["content"] == TEXT
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (9, 4)
    streamed = yard.request("POST", CHAT, {**BODY, "stream": True}).body.decode()
    chunks = [json.loads(part[6:]) for part in streamed.split("\n\n") if part[6:7] == "{"]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == TEXT
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert not [chunk for chunk in chunks if chunk.get("usage")]
    # The gateway, the process that watches, the server, and a worker that ignores SIGTERM.
    assert len(yard.processes()) == 4
    yard.interrupt()
    assert yard.wait_for_end() == 0, yard.output()
    assert not yard.processes()


@pytest.mark.parametrize("victim", ["the server", "the one that watches"])
def test_a_dead_one_is_started_again_and_leaves_nothing(open_yard: Opener, victim: str) -> None:
    yard = open_yard(SETTINGS)
    before = set(yard.processes()) - {yard.process.pid}
    (server,), (watcher,) = servers_of(yard), yard.engine_pids()
    os.kill(server if victim == "the server" else watcher, signal.SIGKILL)
    wait_until(lambda: not before & set(yard.processes()), SECONDS_MAX, "all of the old ones end")
    wait_until(yard.is_ready, SECONDS_MAX, "a new one is ready")
    assert ask(yard)["choices"][0]["message"]["content"] == TEXT


def test_nothing_outlives_a_gateway_that_is_killed(open_yard: Opener) -> None:
    yard = open_yard(SETTINGS)
    yard.process.kill()
    yard.process.wait()
    wait_until(lambda: not yard.processes(), SECONDS_MAX, "all of it ends")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('[engine]\nkind = "vllm"\ncommand = "no-such-program --port {port}"', "no-such-program"),
        ('[engine]\nkind = "vllm"\ncommand = "vllm serve"', "engine.command"),
        ('[engine]\nkind = "vllm"\ncommand = "sh \'{port}"', "engine.command"),
        ('[engine]\nkind = "sglang"', "engine.kind"),
        ("[[upstreams.servers]]\nname = 'a'\nurl = 'ftp://h/'", "upstreams.servers[0].url"),
        ("[[upstreams.servers]]\nname = 'a'\nurl = 'http://me:pw@h'", "upstreams.servers[0].url"),
        ("[[upstreams.servers]]\nname = 'engine-0'\nurl = 'http://h'", "upstreams.servers[0].name"),
        ("[[upstreams.servers]]\nurl = 'http://h'", "name"),
        ("[[upstreams.servers]]\nname = 'a'\nurl = 'http://h'\nkey = 'sk-1'", "key"),
        (
            "[engine]\nkind = 'vllm'\ncommand = 'sh {port}'\n"
            "[[upstreams.servers]]\nname = 'a'\nurl = 'http://h'\napi_key_variable = 'NOT_SET_1'",
            "NOT_SET_1",
        ),
        (
            "[engine]\nkind = 'vllm'\ncommand = 'sh {port}'\n"
            "[[upstreams.servers]]\nname = 'a'\nurl = 'http://h'\n"
            "[[upstreams.servers]]\nname = 'a'\nurl = 'http://i'",
            "twice",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name(
    open_yard: Opener, settings: str, told: str
) -> None:
    yard = open_yard(settings, wait=False)
    assert yard.wait_for_end() == 1
    assert told in yard.output()
    assert "sk-1" not in yard.output()
    assert "Traceback" not in yard.output()


@contextmanager
def running_server(*options: str) -> Iterator[str]:
    """Another's server on a port of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "--model", MODEL, "--port", str(port), *options],
        start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def servers_settings(url: str, **more: str) -> str:
    lines = [f'{name} = "{value}"' for name, value in more.items()]
    text = f"[fleet]\nengines = 0\n[[upstreams.servers]]\nname = 'other'\nurl = '{url}'\n"
    return text + f"models = ['{MODEL}']\n" + "\n".join(lines)


def test_a_server_that_runs_already_is_used_with_its_key(open_yard: Opener) -> None:
    with running_server("--key", KEY) as url:
        settings = servers_settings(url, api_key_variable="OTHER_KEY", kind="vllm")
        yard = open_yard(settings, OTHER_KEY=KEY)
        assert [model["id"] for model in yard.request("GET", "/v1/models").json()["data"]] == [
            MODEL
        ]
        assert ask(yard)["choices"][0]["message"]["content"] == TEXT
        assert yard.request("POST", CHAT, {**BODY, "model": "another"}).status == 404
        logs = "".join(path.read_text() for path in (yard.home / "run").iterdir())
        assert KEY not in logs + yard.output()


def test_a_wrong_key_is_not_the_caller_s_fault_and_is_not_told(open_yard: Opener) -> None:
    with running_server("--key", KEY) as url:
        settings = servers_settings(url, api_key_variable="OTHER_KEY")
        yard = open_yard(settings, wait=False, OTHER_KEY="sk-wrong")
        run = yard.home / "run"
        wait_until(lambda: "process.started" in read(run / "gateway.log"), SECONDS_MAX, "it serves")
        port = json.loads(read(run / "gateway.log").partition('"url":')[2].split(",")[0])
        yard.ready = {"url": port, "api_key": new_key(yard)}
        answer = yard.request("POST", CHAT, BODY)
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "upstream_unavailable"
        assert KEY.encode() not in answer.body


def test_a_server_that_goes_away_is_told_so(open_yard: Opener) -> None:
    with running_server() as url:
        yard = open_yard(servers_settings(url))
        assert ask(yard)["choices"][0]["message"]["content"] == TEXT
    wait_until(lambda: not yard.is_ready(), SECONDS_MAX, "its end is noticed")
    answer = yard.request("POST", CHAT, BODY)
    assert (answer.status, answer.json()["error"]["code"]) == (503, "upstream_unavailable")


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def new_key(yard: Yard) -> str:
    return yards.run("keys", "create", "--name", "test", home=yard.home).stdout.strip()
