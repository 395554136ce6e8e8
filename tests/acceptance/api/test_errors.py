"""Every refusal is OpenAI's error body, with a named reason and the field at fault, if any."""

import json
import math
from typing import Any

import openai
import pytest

from acceptance.wire import check
from acceptance.yard import MODEL, Yard, run, wait_until

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]
# A key may be remembered for a second.
REVOKED_SECONDS_MAX = 2.0
GOOD = {"model": MODEL, "messages": MESSAGES, "max_tokens": 1}

BAD_FIELDS = [
    ("messages", {"messages": []}),
    ("messages", {"messages": "hi"}),
    ("messages", {"messages": None}),
    ("messages[0].role", {"messages": [{"role": "pirate", "content": "hi"}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": 3}]}),
    ("messages[0].content", {"messages": [{"role": "user"}]}),
    ("messages[0].colour", {"messages": [{"role": "user", "content": "hi", "colour": "red"}]}),
    ("model", {"model": None}),
    ("model", {"model": 5}),
    ("model", {"model": ""}),
    ("temperature", {"temperature": -0.1}),
    ("temperature", {"temperature": 2.1}),
    ("temperature", {"temperature": "hot"}),
    ("temperature", {"temperature": True}),
    ("top_p", {"top_p": 0}),
    ("top_p", {"top_p": 1.5}),
    ("top_k", {"top_k": -1}),
    ("top_k", {"top_k": 1.5}),
    ("seed", {"seed": "x"}),
    ("seed", {"seed": 2**70}),
    ("max_tokens", {"max_tokens": 0}),
    ("max_tokens", {"max_tokens": -5}),
    ("max_tokens", {"max_tokens": 1.5}),
    ("max_completion_tokens", {"max_completion_tokens": 0}),
    ("n", {"n": 0}),
    ("n", {"n": 1000}),
    ("stop", {"stop": ["a", "b", "c", "d", "e"]}),
    ("stop", {"stop": ""}),
    ("stop", {"stop": 4}),
    ("stream", {"stream": "yes"}),
    ("stream_options", {"stream_options": {"include_usage": True}}),
    ("stream_options.include_usage", {"stream": True, "stream_options": {"include_usage": "x"}}),
    ("frequency_penalty", {"frequency_penalty": 3}),
    ("presence_penalty", {"presence_penalty": -3}),
    ("nonsense", {"nonsense": 1}),
    ("response_format.type", {"response_format": {"type": "xml"}}),
]


def refusal(answer: Any, status: int) -> dict[str, Any]:
    """The error of an answer that must have that status and OpenAI's form."""
    assert answer.status == status, answer.body[:500]
    body = answer.json()
    check("error", body)
    error: dict[str, Any] = body["error"]
    assert error["message"]
    assert error["code"]
    return error


@pytest.mark.parametrize(("param", "change"), BAD_FIELDS, ids=lambda part: json.dumps(part)[:60])
def test_a_bad_field_is_named(yard: Yard, param: str, change: dict[str, Any]) -> None:
    error = refusal(yard.request("POST", CHAT, {**GOOD, **change}), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param or (error["param"] or "").startswith(param), error


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(yard: Yard, missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    error = refusal(yard.request("POST", CHAT, body), 400)
    assert missing in error["message"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"model": "' + b"\xc3\x28" + b'"}',
        b'{"model": 1e999}',
        b"[" * 100_000,
        b'{"a":' * 20_000,
        json.dumps({**GOOD, "temperature": math.nan}).encode(),
    ],
    ids=[
        "empty", "cut", "list", "text", "null", "bytes", "bad utf-8", "infinite", "deep lists",
        "deep objects", "not a number",
    ],
)  # fmt: skip
def test_a_malformed_body_is_refused(yard: Yard, raw: bytes) -> None:
    refusal(yard.request("POST", CHAT, raw=raw), 400)


def test_a_body_that_is_too_long_is_refused(yard: Yard) -> None:
    big = {"model": MODEL, "messages": [{"role": "user", "content": "x" * (5 * 1024 * 1024)}]}
    error = refusal(yard.request("POST", CHAT, big), 413)
    assert error["code"] == "body_too_large"


def test_a_prompt_that_is_longer_than_the_context_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}]
        )
    assert caught.value.code == "context_length_exceeded"


def test_an_unknown_model_is_named(yard: Yard) -> None:
    error = refusal(yard.request("POST", CHAT, {**GOOD, "model": "gpt-9"}), 404)
    assert error["code"] == "model_not_found"
    assert "gpt-9" in error["message"]


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        (CHAT, {}, "missing_credentials"),
        (CHAT, {"authorization": "Bearer wrong"}, "invalid_api_key"),
        (CHAT, {"authorization": "Basic dXNlcjpwYXNz"}, "invalid_api_key"),
        ("/v1/responses", {}, "missing_credentials"),
        ("/v1/conversations", {}, "missing_credentials"),
        ("/v1/completions", {}, "missing_credentials"),
    ],
)
def test_who_does_not_show_a_good_key_gets_401(
    yard: Yard, path: str, headers: dict[str, str], code: str
) -> None:
    error = refusal(yard.request("POST", path, GOOD, headers=headers, signed=False), 401)
    assert error["code"] in {code, "missing_credentials", "invalid_api_key"}
    assert error["type"] == "authentication_error"


def test_paths_and_methods_that_are_not_there(yard: Yard) -> None:
    assert refusal(yard.request("GET", "/v1/nothing"), 404)["code"] == "not_found"
    assert refusal(yard.request("GET", CHAT), 405)["code"] == "method_not_allowed"


def test_each_answer_has_a_request_id(yard: Yard) -> None:
    ids = {
        yard.request("GET", path, signed=False).headers["x-request-id"]
        for path in ("/v1/models", "/v1/nothing", "/health/live")
    }
    assert len(ids) == 3


def test_a_revoked_key_stops_working(yard: Yard) -> None:
    key = run("keys", "create", "--name", "short-lived", home=yard.home).stdout.strip()
    headers = {"authorization": f"Bearer {key}"}
    assert yard.request("GET", "/v1/models", headers=headers).status == 200
    listed = run("keys", "list", home=yard.home).stdout
    (line,) = [line for line in listed.splitlines() if "short-lived" in line]
    identity = next(word for word in line.split() if word.startswith("key_"))
    run("keys", "revoke", identity, home=yard.home)
    wait_until(
        lambda: yard.request("GET", "/v1/models", headers=headers).status == 401,
        REVOKED_SECONDS_MAX,
        "the revoked key is refused",
    )
    error = refusal(yard.request("GET", "/v1/models", headers=headers), 401)
    assert error["code"] == "revoked_api_key"
