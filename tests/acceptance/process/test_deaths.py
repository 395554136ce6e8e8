"""What happens when a process dies without warning."""

import os
import signal
from collections.abc import Callable
from typing import Any

from acceptance.yard import MODEL, Yard, wait_until

YardMaker = Callable[..., Yard]
RESTART_SECONDS_MAX = 60.0
ORPHAN_SECONDS_MAX = 10.0
STORY = "Explain in detail how a steam engine works."
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 8,
    "temperature": 0,
}


def test_a_killed_engine_is_started_again_and_serves(make_yard: YardMaker) -> None:
    yard = make_yard()
    before = yard.request("POST", CHAT, BODY).json()["choices"][0]["message"]["content"]
    (engine,) = yard.engine_pids()
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: not yard.is_ready(), RESTART_SECONDS_MAX, "the death is noticed")
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


def test_an_answer_whose_engine_dies_ends_with_a_named_reason(make_yard: YardMaker) -> None:
    yard = make_yard()
    asked = {"model": MODEL, "input": STORY, "background": True, "temperature": 0}
    started = yard.request("POST", "/v1/responses", asked).json()
    path = f"/v1/responses/{started['id']}"

    def text() -> str:
        output = yard.request("GET", path).json()["output"]
        return "".join(part["text"] for item in output for part in item["content"])

    wait_until(lambda: len(text()) > 20, 30, "the first words are written")
    (engine,) = yard.engine_pids()
    os.kill(engine, signal.SIGKILL)

    def ended() -> bool:
        return bool(yard.request("GET", path).json()["status"] not in {"in_progress", "queued"})

    wait_until(ended, RESTART_SECONDS_MAX, "the answer ends")
    body = yard.request("GET", path).json()
    assert body["status"] in {"failed", "incomplete"}
    assert body["error"]["reason"]
    assert len(text()) > 20, "what was written is lost"


def test_no_model_server_outlives_the_command(make_yard: YardMaker) -> None:
    yard = make_yard()
    assert yard.engine_pids()
    yard.process.kill()
    yard.process.wait()
    wait_until(lambda: not yard.processes(), ORPHAN_SECONDS_MAX, "the model server ends by itself")


def test_no_model_server_outlives_a_command_killed_while_it_loads(make_yard: YardMaker) -> None:
    yard = make_yard(wait=False)
    wait_until(yard.engine_pids, 30, "the model server is started")
    yard.process.kill()
    yard.process.wait()
    wait_until(lambda: not yard.processes(), ORPHAN_SECONDS_MAX, "the model server ends by itself")


def test_the_next_start_after_a_kill_works(make_yard: YardMaker) -> None:
    first = make_yard()
    asked = {"model": MODEL, "input": STORY, "background": True, "temperature": 0}
    running = first.request("POST", "/v1/responses", asked).json()["id"]
    first.process.kill()
    first.process.wait()
    wait_until(lambda: not first.processes(), ORPHAN_SECONDS_MAX, "the rest ends")
    second = make_yard()
    assert second.request("POST", CHAT, BODY).status == 200
    found = second.request("GET", f"/v1/responses/{running}").json()
    assert found["status"] in {"failed", "incomplete"}, (
        "an answer that nobody writes hangs for ever"
    )
