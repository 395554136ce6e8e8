"""Log probabilities and several answers to one request, over a scripted model."""

from collections.abc import Callable
from typing import Any

import pytest

from support.engine_server import ASK, END, MODEL, check
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule


async def test_logprobs_of_a_chat_are_openai_s(serve: Callable[..., Any]) -> None:
    ask = {**ASK, "logprobs": True, "top_logprobs": 1}
    async with serve("hello é") as served:
        whole = await served.client.call("POST", "/v1/chat/completions", json_body=ask)
        parts = await served.client.call(
            "POST", "/v1/chat/completions", json_body={**ask, "stream": True}
        )
    body = whole.json()
    check(body, "CreateChatCompletionResponse")
    content = body["choices"][0]["logprobs"]["content"]
    data = b"".join(bytes(token["bytes"]) for token in content)
    assert data.decode() == body["choices"][0]["message"]["content"] == "hello é"
    assert all(token["top_logprobs"][0]["logprob"] == 0 for token in content)
    streamed = []
    for event in parts.data():
        check(event, "CreateChatCompletionStreamResponse")
        for choice in event["choices"]:
            streamed += (choice["logprobs"] or {"content": []})["content"]
    assert streamed == content


async def test_logprobs_of_a_completion_are_lists_side_by_side(serve: Callable[..., Any]) -> None:
    ask = {"model": MODEL, "prompt": "x", "logprobs": 1}
    async with serve("hello world") as served:
        answer = await served.client.call("POST", "/v1/completions", json_body=ask)
    body = answer.json()
    check(body, "CreateCompletionResponse")
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["hello", " world"],
        "token_logprobs": [0, 0],
        "top_logprobs": [{"hello": 0}, {" world": 0}],
        "text_offset": [0, 5],
    }


@pytest.mark.parametrize("streams", [True, False])
async def test_several_answers_share_one_prompt(serve: Callable[..., Any], streams: bool) -> None:
    ask = {**ASK, "n": 2, "seed": 5, "stream": streams}
    seeds = set()

    def next_token(text: Text, rule: DrawRule) -> int:
        seeds.add(rule.seed)
        place = len(text.tokens) - text.prompt_count
        return END if place == 3 else 70 + len(seeds)

    async with serve(next_token=next_token) as served:
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ask)
        count = served.server.metrics.registry.get_sample_value
        assert count("tokenyard_engine_prompt_tokens_cached_total") > 0
    assert 5 in seeds
    assert len(seeds) == 2
    if not streams:
        body = answer.json()
        check(body, "CreateChatCompletionResponse")
        assert [choice["index"] for choice in body["choices"]] == [0, 1]
        assert body["usage"]["completion_tokens"] == 8
        return
    events = answer.data()
    for event in events:
        check(event, "CreateChatCompletionStreamResponse")
    for index in (0, 1):
        of_one = [e["choices"][0] for e in events if e["choices"][0]["index"] == index]
        assert of_one[0]["delta"]["role"] == "assistant"
        assert [choice["finish_reason"] for choice in of_one if choice["finish_reason"]] == ["stop"]
    assert sum("timings" in event for event in events) == 1
