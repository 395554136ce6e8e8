"""An answer that was begun elsewhere goes on here, without a seam and without a word twice."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from support.engine_server import ASK
from tokenyard.engine.rules.batching import Sequence
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.tokenizer import Tokenizer

Serve = Callable[..., Any]
LENGTH = 24


def draw(tokenizer: Tokenizer, letters: str) -> Callable[[Sequence, DrawRule], int]:
    """A token that depends on seed, place and the token before, as a model's does."""
    choices = tokenizer.encode(letters, specials=False)

    def next_token(text: Sequence, rule: DrawRule) -> int:
        key = f"{rule.seed}/{rule.position}/{text.tokens[-1]}".encode()
        return choices[hashlib.sha256(key).digest()[0] % len(choices)]

    return next_token


async def ask(served: Any, **more: Any) -> list[dict[str, Any]]:
    body = {**ASK, "stream": True, "stream_options": {"include_usage": True}, **more}
    answer = await served.client.call("POST", "/v1/chat/completions", json_body=body)
    assert answer.status == 200, answer.body
    return [event for event in answer.data() if isinstance(event, dict)]


def read(events: list[dict[str, Any]]) -> list[tuple[str, list[int]]]:
    """Text and tokens of each event."""
    choices = [event["choices"][0] for event in events if event["choices"]]
    return [(one["delta"].get("content") or "", one.get("token_ids") or []) for one in choices]


@pytest.mark.parametrize(
    ("letters", "sampling"),
    [
        ("abc \u00e9\U0001f600", {"seed": 7}),
        ("abc \u00e9\U0001f600", {"temperature": 0, "seed": 5, "frequency_penalty": 1.0}),
        ("ab", {"seed": 3, "stop": ["abba", "bbbb"]}),
        ("ab", {"seed": 3, "stop": ["bab"], "min_tokens": 6}),
    ],
)
async def test_every_cut_goes_on_as_if_there_was_none(
    tokenizer: Tokenizer, serve: Serve, letters: str, sampling: dict[str, Any]
) -> None:
    wanted = {"max_tokens": LENGTH, "return_token_ids": True, **sampling}
    async with serve(next_token=draw(tokenizer, letters)) as served:
        events = await ask(served, **wanted)
        parts = read(events)
        text = "".join(part for part, _ in parts)
        tokens = [token for _, ids in parts for token in ids]
        assert len(tokens) == events[-1]["usage"]["completion_tokens"]
        for cut in range(1, len(parts)):
            sent = "".join(part for part, _ in parts[:cut])
            known = [token for _, ids in parts[:cut] for token in ids]
            rest = await ask(served, **wanted, continue_token_ids=known)
            more = read(rest)
            assert sent + "".join(part for part, _ in more) == text
            assert known + [token for _, ids in more for token in ids] == tokens
            assert rest[-1]["usage"] == {
                **events[-1]["usage"],
                "prompt_tokens_details": rest[-1]["usage"]["prompt_tokens_details"],
            }
            assert (
                rest[-2]["choices"][0]["finish_reason"]
                == (events[-2]["choices"][0]["finish_reason"])
            )


async def test_a_form_goes_on_over_the_cut(tokenizer: Tokenizer, serve: Serve) -> None:
    wanted: dict[str, Any] = {
        "return_token_ids": True,
        "structured_outputs": {"regex": "[ab]{4}-[0-9]{3}"},
        "max_tokens": LENGTH,
    }
    async with serve("abab-123") as served:
        parts = read(await ask(served, **wanted))
        text = "".join(part for part, _ in parts)
        assert text == "abab-123"
        for cut in range(1, len(parts)):
            known = [token for _, ids in parts[:cut] for token in ids]
            rest = read(await ask(served, **wanted, continue_token_ids=known))
            sent = "".join(part for part, _ in parts[:cut])
            assert sent + "".join(part for part, _ in rest) == text


async def test_an_answer_that_was_over_ends_at_once(tokenizer: Tokenizer, serve: Serve) -> None:
    async with serve("abc") as served:
        tokens = [
            token for _, ids in read(await ask(served, return_token_ids=True)) for token in ids
        ]
        rest = await ask(served, continue_token_ids=tokens)
        assert "".join(part for part, _ in read(rest)) == ""
        assert rest[-1]["usage"]["completion_tokens"] == len(tokens)
        assert rest[-2]["choices"][0]["finish_reason"] == "stop"
        longest = await ask(served, continue_token_ids=tokens[:2], max_tokens=2)
        assert longest[-2]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "wrong",
    [
        {"continue_token_ids": [10**6]},
        {"continue_token_ids": [70, 70, 70], "max_tokens": 2},
        {"continue_token_ids": [70], "n": 2},
        {"continue_token_ids": [2, 70]},
        {"continue_token_ids": [70], "structured_outputs": {"choice": ["zz"]}},
    ],
)
async def test_tokens_that_cannot_be_continued_are_refused(
    serve: Serve, wrong: dict[str, Any]
) -> None:
    async with serve("abc") as served:
        for stream in (False, True):
            body = {**ASK, **wrong, "stream": stream}
            answer = await served.client.call("POST", "/v1/chat/completions", json_body=body)
            assert answer.status == 400
            assert json.loads(answer.body)["error"]["param"] == "continue_token_ids"


async def test_tokens_are_told_only_to_those_who_ask(serve: Serve) -> None:
    async with serve("abc") as served:
        assert all(ids == [] for _, ids in read(await ask(served)))
        for path, more in (
            ("/v1/chat/completions", {}),
            ("/v1/completions", {"prompt": "x", "messages": None}),
        ):
            body = {key: value for key, value in {**ASK, **more}.items() if value is not None}
            plain = await served.client.call("POST", path, json_body=body)
            assert "token_ids" not in plain.json()["choices"][0]
            told = await served.client.call(
                "POST", path, json_body={**body, "return_token_ids": True}
            )
            assert len(told.json()["choices"][0]["token_ids"]) == 4
