"""Texts as tokens and back, and counts of what a request would send.

The scripted model has a token for each character, and counts a word as one and a turn as two.
"""

from typing import Any

import pytest

from support.spec import validator
from support.yards import MODEL, FakeYard

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi you"}]}


async def test_a_text_becomes_tokens_and_text_again(yard: FakeYard) -> None:
    asked = {"model": MODEL, "prompt": "ab"}
    told = (await yard.client.call("POST", "/tokenize", json_body=asked)).json()
    assert told == {"count": 2, "max_model_len": 8192, "tokens": [97, 98]}
    back = {"model": MODEL, "tokens": told["tokens"]}
    text = (await yard.client.call("POST", "/detokenize", json_body=back)).json()
    assert text == {"prompt": "ab"}
    chat = (await yard.client.call("POST", "/tokenize", json_body=ASK)).json()
    assert chat["count"] == len("Hi you")


async def test_a_request_is_counted_before_it_is_sent(yard: FakeYard) -> None:
    asked = {"model": MODEL, "input": "Hi you", "instructions": "Be brief now"}
    told = (await yard.client.call("POST", "/v1/responses/input_tokens", json_body=asked)).json()
    validator("input_tokens").validate(told)
    assert (told["input_tokens"], told["exact"]) == (2 + 2 + 2 + 3, True)
    path = "/v1/chat/completions/input_tokens"
    chat = (await yard.client.call("POST", path, json_body=ASK)).json()
    assert chat["input_tokens"] == 4
    # Nothing was asked and nothing was billed.
    assert not yard.upstream.calls
    assert not yard.store.state.books.usage


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {"model": MODEL}, "prompt"),
        ("/tokenize", {**ASK, "prompt": "x"}, "prompt"),
        ("/detokenize", {"model": MODEL, "tokens": [-1]}, "tokens[0]"),
        (
            "/v1/chat/completions/input_tokens",
            {**ASK, "tools": [{"type": "function", "function": {"name": "f"}}]},
            "tools",
        ),
    ],
)
async def test_what_cannot_be_counted_is_named(
    yard: FakeYard, path: str, body: dict[str, Any], param: str
) -> None:
    answer = await yard.client.call("POST", path, json_body=body)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_a_server_that_cannot_tell_says_so(
    yard: FakeYard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def untold(*asked: Any) -> None:
        return None

    for name in ("tokenize", "detokenize", "count_tokens"):
        monkeypatch.setattr(yard.upstream, name, untold)
    for path, body in (
        ("/tokenize", ASK),
        ("/detokenize", {"model": MODEL, "tokens": [1]}),
        ("/v1/chat/completions/input_tokens", ASK),
    ):
        answer = await yard.client.call("POST", path, json_body=body)
        assert (answer.status, answer.error["code"]) == (400, "unsupported_parameter")


async def test_a_key_for_other_models_counts_nothing_here(yard: FakeYard) -> None:
    made = await yard.client.call(
        "POST",
        "/api/organisation/projects/proj_default/api_keys",
        json_body={"name": "k", "models": ["another"]},
    )
    headers = {"authorization": f"Bearer {made.json()['value']}"}
    for path, body in (
        ("/tokenize", ASK),
        ("/detokenize", {"model": MODEL, "tokens": [1]}),
        ("/v1/responses/input_tokens", {"model": MODEL, "input": "Hi"}),
        ("/v1/chat/completions/input_tokens", ASK),
    ):
        answer = await yard.stranger.call("POST", path, json_body=body, headers=headers)
        assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
