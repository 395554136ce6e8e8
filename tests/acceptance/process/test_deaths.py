"""What happens when a process dies without warning."""

import os
import signal
from collections.abc import Callable
from typing import Any

from acceptance.yard import MODEL, Yard, wait_until

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


def begin_story(yard: Yard) -> str:
    """Start a long answer, let some of it be written, and tell its path."""
    asked = {"model": MODEL, "input": STORY, "background": True, "temperature": 0}
    started = yard.request("POST", "/v1/responses", asked).json()
    yard.wait_for_tokens(20)
    return f"/v1/responses/{started['id']}"


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

    def ended() -> bool:
        return bool(yard.request("GET", story).json()["status"] not in {"in_progress", "queued"})

    wait_until(ended, NOTICED_SECONDS_MAX, "the running answer ends")
    body = yard.request("GET", story).json()
    assert body["status"] in {"failed", "incomplete"}
    assert body["error"]["reason"]
    assert len(text_of(yard, story)) > 20, "what was written is lost"

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


def test_a_killed_command_leaves_no_model_server_and_starts_again(make_yard: YardMaker) -> None:
    first = make_yard()
    story = begin_story(first)
    assert first.engine_pids()
    first.process.kill()
    first.process.wait()
    wait_until(lambda: not first.processes(), ORPHAN_SECONDS_MAX, "the model server ends by itself")

    second = make_yard()
    assert second.request("POST", CHAT, BODY).status == 200
    found = second.request("GET", story).json()
    assert found["status"] in {"failed", "incomplete"}, "an answer that nobody writes hangs"


def test_a_command_killed_while_it_loads_leaves_no_model_server(make_yard: YardMaker) -> None:
    yard = make_yard(wait=False)
    wait_until(yard.engine_pids, NOTICED_SECONDS_MAX, "the model server is started")
    yard.process.kill()
    yard.process.wait()
    wait_until(lambda: not yard.processes(), ORPHAN_SECONDS_MAX, "the model server ends by itself")
