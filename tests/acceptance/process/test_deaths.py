"""What happens when a process dies without warning."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

from acceptance.yard import MODEL, Yard, wait_until
from tokenyard.protocol.sse import SseParser

YardMaker = Callable[..., Yard]
NOTICED_SECONDS_MAX = 30.0
RESTART_SECONDS_MAX = 120.0
ORPHAN_SECONDS_MAX = 20.0
CHAT = "/v1/chat/completions"
STORY = "Explain in detail how a steam engine works."
BODY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 8,
    "temperature": 0,
}


# Drawn, not the likeliest: what goes on has to draw what the other process would have drawn.
TOLD: dict[str, Any] = {
    "model": MODEL,
    "input": STORY,
    "temperature": 0.9,
    "seed": 7,
    "max_output_tokens": 160,
}


def begin_story(yard: Yard) -> str:
    """Start a long answer, let some of it be written, and tell its path."""
    started = yard.request("POST", "/v1/responses", {**TOLD, "background": True}).json()
    yard.wait_for_tokens(20)
    return f"/v1/responses/{started['id']}"


def check_ended_as_if_nothing_had_happened(yard: Yard, path: str) -> None:
    """The text of an undisturbed run, each event once, and one bill of the engine's own count."""

    def ended() -> bool:
        return bool(yard.request("GET", path).json()["status"] != "in_progress")

    wait_until(ended, RESTART_SECONDS_MAX, "the answer goes on to its end")
    body = yard.request("GET", path).json()
    whole = yard.request("POST", "/v1/responses", TOLD).json()
    assert body["status"] == whole["status"] == "incomplete"
    assert text_of(yard, path) == text_of(yard, f"/v1/responses/{whole['id']}")
    assert body["usage"]["output_tokens"] == TOLD["max_output_tokens"]
    assert body["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    events = SseParser().feed(yard.request("GET", f"{path}?stream=true").body)
    told = [json.loads(event.data) for event in events]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    assert "".join(one.get("delta", "") for one in told) == text_of(yard, path)
    assert "response.reset" not in {one["type"] for one in told}


def text_of(yard: Yard, path: str) -> str:
    output = yard.request("GET", path).json()["output"]
    return "".join(part["text"] for item in output for part in item["content"])


def test_a_killed_engine_is_started_again_and_serves(make_yard: YardMaker) -> None:
    yard = make_yard()
    before = yard.request("POST", CHAT, BODY).json()["choices"][0]["message"]["content"]
    story = begin_story(yard)
    (engine,) = yard.engine_pids()
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: not yard.is_ready(), NOTICED_SECONDS_MAX, "the death is noticed")

    during = yard.request("POST", CHAT, BODY)
    assert during.status in {502, 503}, during.body
    assert during.json()["error"]["code"] in {"upstream_unavailable", "model_loading"}

    wait_until(yard.is_ready, RESTART_SECONDS_MAX, "a new model server is ready")
    after = yard.request("POST", CHAT, BODY).json()["choices"][0]["message"]["content"]
    assert after == before
    (new,) = yard.engine_pids()
    assert new != engine
    metrics = yard.request("GET", "/metrics").body.decode()
    assert "tokenyard_gateway_replica_restarts_total 1.0" in metrics
    check_ended_as_if_nothing_had_happened(yard, story)


def test_a_killed_command_leaves_no_model_server_and_starts_again(make_yard: YardMaker) -> None:
    first = make_yard()
    story = begin_story(first)
    assert first.engine_pids()
    first.process.kill()
    first.process.wait()
    wait_until(lambda: not first.processes(), ORPHAN_SECONDS_MAX, "the model server ends by itself")

    second = make_yard()
    assert second.request("POST", CHAT, BODY).status == 200
    check_ended_as_if_nothing_had_happened(second, story)


def test_a_command_killed_while_it_loads_leaves_no_model_server(make_yard: YardMaker) -> None:
    yard = make_yard(wait=False)
    wait_until(yard.engine_pids, NOTICED_SECONDS_MAX, "the model server is started")
    yard.process.kill()
    yard.process.wait()
    wait_until(lambda: not yard.processes(), ORPHAN_SECONDS_MAX, "the model server ends by itself")
