"""The same model served by llama.cpp, through our gateway, as a client sees it."""

import http.client
import json
import os
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from acceptance import yard as yards
from acceptance.conftest import make_home
from acceptance.wire import check
from acceptance.yard import MODEL, Yard, wait_until

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BODY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Name three colours."}],
    "max_tokens": 16,
    "temperature": 0,
}
RESTART_SECONDS_MAX = 60.0
ABORT_SECONDS_MAX = 10.0
ORPHAN_SECONDS_MAX = 20.0


@pytest.fixture(autouse=True)
def known_prompts(llamacpp: Yard) -> None:
    """Ask once before each test: with its own rounding, llama.cpp may say other words at
    temperature 0 to a prompt that it reads than to one that it finds in its cache."""
    for path in (CHAT, TEXT):
        ask(llamacpp, path, max_tokens=1)


def ask(yard: Yard, path: str = CHAT, **changes: Any) -> Any:
    body = {**BODY, **changes}
    if path == TEXT:
        body = {**body, "prompt": "Once upon a time"}
        del body["messages"]
    answer = yard.request("POST", path, body)
    assert answer.status == 200, answer.body
    return answer.json()


def events_of(yard: Yard, path: str = CHAT, **changes: Any) -> list[Any]:
    body = {**BODY, "stream": True, **changes}
    if path == TEXT:
        body = {**body, "prompt": "Once upon a time"}
        del body["messages"]
    answer = yard.request("POST", path, body)
    assert answer.status == 200, answer.body
    frames = [part for part in answer.body.decode().split("\n\n") if part.startswith("data: ")]
    assert frames[-1] == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


def busy_slots(yard: Yard) -> int:
    """Requests that llama.cpp itself says it runs."""
    answer = yard.request("GET", "/metrics", base=yard.engine_address(), signed=False)
    for line in answer.body.decode().splitlines():
        if line.startswith("llamacpp:requests_processing "):
            return int(float(line.split()[1]))
    raise AssertionError("llama.cpp has no such metric")


def test_no_package_of_our_own_engine_is_loaded(llamacpp: Yard) -> None:
    """Neither the gateway's process nor llama.cpp's maps a file of torch, numpy or tokenizers."""
    for pid in llamacpp.processes():
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert "torch" not in mapped
        assert "numpy" not in mapped
        assert "tokenizers" not in mapped
    (engine,) = llamacpp.engine_pids()
    assert "xllamacpp" in Path(f"/proc/{engine}/maps").read_text()


def test_the_model_is_listed_with_its_window(llamacpp: Yard) -> None:
    listing = llamacpp.request("GET", "/v1/models").json()
    check("models", listing)
    (model,) = listing["data"]
    assert (model["id"], model["context_window"]) == (MODEL, 8192)


def test_a_whole_answer_is_what_openai_describes(llamacpp: Yard) -> None:
    body = ask(llamacpp)
    check("chat", body)
    assert body["choices"][0]["message"]["content"]
    assert body["usage"]["completion_tokens"] <= 16
    assert body["cost"]["nanos"] > 0
    text = ask(llamacpp, TEXT)
    check("completion", text)
    assert text["choices"][0]["text"]


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_stream_says_the_same_and_its_usage_only_when_asked(llamacpp: Yard, path: str) -> None:
    whole = ask(llamacpp, path)
    silent = events_of(llamacpp, path)
    told = events_of(llamacpp, path, stream_options={"include_usage": True})

    def text(events: list[Any]) -> str:
        choices = [choice for event in events for choice in event["choices"]]
        return "".join(
            choice["text"] if path == TEXT else choice["delta"].get("content", "")
            for choice in choices
        )

    said = whole["choices"][0]
    expected = said["text"] if path == TEXT else said["message"]["content"]
    assert text(silent) == text(told) == expected
    assert len(silent) > 5, "tokens came in one piece"
    for events in (silent, told):
        ends = [choice["finish_reason"] for event in events for choice in event["choices"]]
        assert ends[-1] == said["finish_reason"]
        assert not any(ends[:-1])
        if path == CHAT:
            for event in events:
                check("chat.stream", event)
    assert not [event for event in silent if event.get("usage")]
    assert told[-1]["choices"] == []
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [told[-1]["usage"][name] for name in counts] == [whole["usage"][name] for name in counts]
    assert told[-1]["cost"]


def test_stop_ends_the_text_before_it(llamacpp: Yard) -> None:
    whole = ask(llamacpp)["choices"][0]["message"]["content"]
    stop = whole.split()[2]
    choice = ask(llamacpp, stop=[stop])["choices"][0]
    assert choice["message"]["content"] == whole[: whole.index(stop)]
    assert choice["finish_reason"] == "stop"


def test_a_seed_makes_the_same_words_again(llamacpp: Yard) -> None:
    def words(**changes: Any) -> str:
        said = ask(llamacpp, temperature=1.5, **changes)["choices"][0]["message"]["content"]
        return str(said)

    for seed in (7, -7, 2**63 - 1, 2**32 - 1):
        assert words(seed=seed) == words(seed=seed)
    assert len({words(seed=seed) for seed in range(4)}) > 1


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        (
            {"messages": [{"role": "user", "content": "word " * 9000}]},
            "context_length_exceeded",
            None,
        ),
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"temperature": 3}, "invalid_value", "temperature"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_it_refuses_is_told_by_name(
    llamacpp: Yard, changes: dict[str, Any], code: str, param: str | None, stream: bool
) -> None:
    answer = llamacpp.request("POST", CHAT, {**BODY, **changes, "stream": stream})
    assert answer.status == 400, answer.body
    check("error", answer.json())
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["param"] == param


def test_a_client_that_leaves_stops_the_work_and_pays_for_what_was_made(llamacpp: Yard) -> None:
    parts = urlsplit(llamacpp.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    headers = {
        "authorization": f"Bearer {llamacpp.api_key}", "content-type": "application/json"
    }  # fmt: skip
    story = {**BODY, "max_tokens": 4000, "stream": True, "ignore_eos": True}
    with closing(connection):
        connection.request("POST", CHAT, json.dumps(story), headers)
        answer = connection.getresponse()
        seen = b""
        while seen.count(b"data: ") < 5:
            seen += answer.read1()
        assert busy_slots(llamacpp) == 1
        connection.sock.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: busy_slots(llamacpp) == 0, ABORT_SECONDS_MAX, "llama.cpp stops")
    wait_until(lambda: llamacpp.active_generations() == 0, ABORT_SECONDS_MAX, "the call ends")
    answer_id = answer.headers["x-request-id"]
    wait_until(lambda: find_bills(llamacpp, answer_id), ABORT_SECONDS_MAX, "the bill is written")
    (row,) = find_bills(llamacpp, answer_id)
    assert row["finish"] == "abort"
    assert row["prompt_tokens"] > 10
    assert 3 <= row["completion_tokens"] < 1000


def find_bills(yard: Yard, answer_id: str) -> list[Any]:
    """The usage rows of one answer, from the database."""
    with closing(sqlite3.connect(yard.home / "tokenyard.sqlite3")) as database:
        database.row_factory = sqlite3.Row
        return database.execute("SELECT * FROM usage_rows WHERE id = ?", (answer_id,)).fetchall()


def test_a_conversation_works_as_with_our_engine(llamacpp: Yard) -> None:
    made = llamacpp.request(
        "POST", "/v1/responses", {"model": MODEL, "input": "Say hello.", "max_output_tokens": 8}
    ).json()
    check("response", made)
    assert made["status"] in {"completed", "incomplete"}
    assert made["output"][0]["content"][0]["text"]


def test_a_killed_llamacpp_is_started_again(llamacpp: Yard) -> None:
    (engine,) = llamacpp.engine_pids()
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: not llamacpp.is_ready(), RESTART_SECONDS_MAX, "the death is noticed")
    wait_until(llamacpp.is_ready, RESTART_SECONDS_MAX, "a new one is ready")
    assert ask(llamacpp)["choices"][0]["message"]["content"]


def test_a_stop_signal_lets_a_running_answer_finish(llamacpp: Yard) -> None:
    (engine,) = llamacpp.engine_pids()
    parts = urlsplit(llamacpp.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    headers = {
        "authorization": f"Bearer {llamacpp.api_key}", "content-type": "application/json"
    }  # fmt: skip
    story = {**BODY, "max_tokens": 40, "stream": True, "ignore_eos": True}
    with closing(connection):
        connection.request("POST", CHAT, json.dumps(story), headers)
        answer = connection.getresponse()
        seen = answer.read1()
        os.kill(engine, signal.SIGTERM)
        while piece := answer.read1():
            seen += piece
    assert seen.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in seen
    # A new process is only started once the old one is out of the pool.
    wait_until(
        lambda: set(llamacpp.engine_pids()) - {engine}, RESTART_SECONDS_MAX, "a new one is started"
    )
    wait_until(llamacpp.is_ready, RESTART_SECONDS_MAX, "a new one is ready")


def test_llamacpp_ends_with_a_gateway_that_is_killed_while_it_loads(
    models_folder: Path, tmp_path: Path
) -> None:
    yard = yards.start(make_home(models_folder, tmp_path / "h"), tmp_path, "--engine", "llamacpp")
    try:
        address = yard.home / "run" / "engine-0.address"
        # Written right before it begins to load, which holds Python's lock.
        wait_until(address.exists, RESTART_SECONDS_MAX, "it begins to load")
        yard.process.kill()
        yard.process.wait()
        wait_until(lambda: not yard.processes(), ORPHAN_SECONDS_MAX, "it ends at once")
    finally:
        yard.destroy()


def test_a_text_becomes_tokens_and_text_again(llamacpp: Yard) -> None:
    asked = {"model": MODEL, "prompt": "Once upon a time"}
    told = llamacpp.request("POST", "/tokenize", asked).json()
    assert told["count"] == len(told["tokens"]) > 2
    back = {"model": MODEL, "tokens": told["tokens"]}
    assert llamacpp.request("POST", "/detokenize", back).json()["prompt"] == "Once upon a time"
    chat = {"model": MODEL, "messages": BODY["messages"]}
    counted = llamacpp.request("POST", "/v1/chat/completions/input_tokens", chat).json()
    assert counted["input_tokens"] == ask(llamacpp, max_tokens=1)["usage"]["prompt_tokens"]
