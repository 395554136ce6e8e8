"""OpenAI's Node client: chat, stream, stop and errors, as a JavaScript developer meets them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import openai
import pytest

from acceptance.yard import MODEL, Yard, wait_until

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "acceptance" / "node"


def ask(yard: Yard, what: str) -> Any:
    """Run one wish of client.mjs and decode what it printed."""
    if not (FOLDER / "node_modules" / "openai").is_dir():
        pytest.fail("the Node client is not installed; make test installs it", pytrace=False)
    done = subprocess.run(
        [ROOT / "tools" / "with-node", "node", "client.mjs", what],
        cwd=FOLDER,
        env={**os.environ, "YARD_URL": yard.url, "YARD_KEY": yard.api_key, "YARD_MODEL": MODEL},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_chat_and_stream_say_the_same_as_in_python(yard: Yard, client: openai.OpenAI) -> None:
    python = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Count from one to fifty in words."}],
        temperature=0,
        max_tokens=24,
    )
    whole = ask(yard, "chat")
    streamed = ask(yard, "stream")
    assert whole["text"] == streamed["text"] == python.choices[0].message.content
    assert streamed["pieces"] > 5
    assert streamed["ms"] > 0
    assert streamed["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 24


def test_a_stopped_stream_frees_the_engine(yard: Yard) -> None:
    assert ask(yard, "abort")["pieces"] == 5
    wait_until(lambda: yard.active_generations() == 0, 10, "the stopped answer ends")


def test_errors_have_their_own_classes(yard: Yard) -> None:
    errors = ask(yard, "errors")
    assert errors["value"]["kind"] == "BadRequestError"
    assert errors["value"]["param"] == "temperature"
    assert errors["model"] == {
        "kind": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model",
    }  # fmt: skip
    assert errors["key"]["kind"] == "AuthenticationError"
    assert errors["stream"]["param"] == "top_p"


def test_responses_stream(yard: Yard) -> None:
    told = ask(yard, "responses")
    assert told["events"][0] == "response.created"
    assert told["events"][-1] in {"response.completed", "response.incomplete"}
    assert told["text"]
