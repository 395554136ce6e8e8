"""Histories that do not fit a window, and the gauge that says so before they are asked.

The scripted model counts a token for each word and two for each turn; its window is 8192.
"""

import json
from typing import Any

import pytest

from support.yards import MODEL, FakeYard
from unit.gateway.test_threads import ask, new_conversation

LONG = "word " * 3_000


async def gauge(yard: FakeYard, **body: Any) -> Any:
    answer = await yard.client.call("POST", "/api/context", json_body={"model": MODEL, **body})
    assert answer.status == 200, answer.body
    return answer.json()


def first_words(yard: FakeYard) -> list[str]:
    turns = json.loads(yard.upstream.calls[-1].body)["messages"]
    return [turn["content"].split()[0] for turn in turns]


async def test_the_oldest_turns_are_left_out_and_that_is_told(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    for name in ("one", "two"):
        made = await ask(yard, f"{name} {LONG}", conversation=conversation)
        assert made["truncated_items"] == 0
    asked = {"conversation": conversation, "instructions": "Brief.", "truncation": "auto"}
    made = await ask(yard, f"three {LONG}", **asked)
    assert first_words(yard) == ["Brief.", "two", "Hello,", "three"]
    assert (made["truncation"], made["truncated_items"]) == ("auto", 2)
    # Nothing is lost: it was only not sent.
    items = await yard.client.call("GET", f"/v1/conversations/{conversation}/items")
    assert len(items.json()["data"]) == 6


async def test_without_truncation_it_is_refused_before_it_is_kept(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    await ask(yard, LONG, conversation=conversation)
    body = {"model": MODEL, "input": LONG + LONG, "conversation": conversation}
    answer = await yard.client.call("POST", "/v1/responses", json_body=body)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert "9008 tokens" in answer.error["message"]
    items = await yard.client.call("GET", f"/v1/conversations/{conversation}/items")
    assert len(items.json()["data"]) == 2


async def test_what_is_asked_is_never_cut(yard: FakeYard) -> None:
    body = {"model": MODEL, "input": LONG * 3, "truncation": "auto"}
    answer = await yard.client.call("POST", "/v1/responses", json_body=body)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert not yard.upstream.calls


async def test_a_short_question_asks_the_model_server_for_no_count(yard: FakeYard) -> None:
    counted = []

    async def count(model: str, turns: Any) -> int:
        counted.append(turns)
        return 1

    yard.upstream.count_tokens = count  # type: ignore[method-assign]
    await ask(yard, "Hi")
    assert not counted


async def test_the_gauge_has_its_parts(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    await ask(yard, "one two three", conversation=conversation)
    told = await gauge(
        yard, conversation=conversation, instructions="a b", input="c d e f", max_output_tokens=100
    )
    parts = {part["name"]: part["tokens"] for part in told["parts"]}
    assert parts == {"instructions": 2, "history": 5, "input": 4, "template": 8}
    assert told["used_tokens"] == sum(parts.values())
    assert (told["context_window"], told["answer_room"]) == (8192, 100)
    assert (told["exact"], told["fullness"]) == (True, "ok")
    assert told["cost"] == {"lowest_nanos": 0, "highest_nanos": 0, "currency": "USD"}


@pytest.mark.parametrize(
    ("words", "fullness"), [(6_000, "ok"), (6_200, "warning"), (7_400, "critical"), (9_000, "full")]
)
async def test_the_gauge_warns(yard: FakeYard, words: int, fullness: str) -> None:
    told = await gauge(yard, input="w " * words)
    assert told["fullness"] == fullness


async def test_an_estimate_says_that_it_is_one(yard: FakeYard) -> None:
    async def cannot(model: str, turns: Any) -> None:
        return None

    yard.upstream.count_tokens = cannot  # type: ignore[method-assign]
    told = await gauge(yard, input="w " * 90)
    assert told["exact"] is False
    assert told["used_tokens"] == 65
