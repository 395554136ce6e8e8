"""Chat Completions and Completions through OpenAI's Python client, against the real model."""

import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from acceptance.wire import check
from acceptance.yard import MODEL, Yard, wait_until

ASK: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Name three colours, one word each."}
]
COUNT: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Count from one to fifty in words."}
]


def test_an_answer_is_what_openai_describes(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ASK, max_tokens=24, temperature=0
    )
    check("chat", raw.http_response.json())
    answer = raw.parse()
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert raw.headers["x-request-id"]


def test_a_stream_is_what_openai_describes_and_says_the_same(
    client: openai.OpenAI, yard: Yard
) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=24, temperature=0
    ).choices[0]
    body = {"model": MODEL, "messages": ASK, "max_tokens": 24, "temperature": 0, "stream": True}
    answer = yard.request("POST", "/v1/chat/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.body.decode().split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    for chunk in chunks:
        check("chat.stream", chunk)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole.message.content
    ends = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert ends[-1] == whole.finish_reason
    assert not any(ends[:-1])
    assert len(chunks) > 5, "tokens came in one piece"


def test_a_stream_tells_usage_when_asked(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=16, temperature=0)
    stream = client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        max_tokens=16,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_older_completions_work_too(client: openai.OpenAI) -> None:
    raw = client.completions.with_raw_response.create(
        model=MODEL, prompt="The capital of France is", max_tokens=8, temperature=0
    )
    check("completion", raw.http_response.json())
    whole = raw.parse().choices[0].text
    assert "Paris" in whole
    stream = client.completions.create(
        model=MODEL, prompt="The capital of France is", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == whole


def test_max_tokens_ends_an_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=COUNT, max_completion_tokens=7, temperature=0
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_text_ends_an_answer_and_is_not_in_it(client: openai.OpenAI, stream: bool) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=COUNT, max_tokens=40, temperature=0
    )
    text = whole.choices[0].message.content or ""
    # A stop text that crosses the borders of tokens: from the middle of one word into the next.
    stop = text[len(text) // 2 : len(text) // 2 + 5]
    expected = text[: text.index(stop)]
    if stream:
        chunks = list(
            client.chat.completions.create(
                model=MODEL, messages=COUNT, max_tokens=40, temperature=0, stop=[stop], stream=True
            )
        )
        got = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        choice = client.chat.completions.create(
            model=MODEL, messages=COUNT, max_tokens=40, temperature=0, stop=stop
        ).choices[0]
        got, reason = choice.message.content or "", choice.finish_reason
    assert got == expected
    assert reason == "stop"


def test_a_seed_repeats_an_answer_and_another_seed_does_not(client: openai.OpenAI) -> None:
    def told(seed: int) -> str:
        answer = client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=32, temperature=1.5, seed=seed
        )
        return answer.choices[0].message.content or ""

    first = told(7)
    assert told(7) == first
    assert any(told(seed) != first for seed in (8, 9, 10))


def test_characters_of_many_bytes_come_whole(client: openai.OpenAI) -> None:
    echo = "Repeat exactly: 日本語 🦊 naïve Ωmega"
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": echo}],
        max_tokens=48,
        temperature=0.8,
        seed=3,
        stream=True,
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces)
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_caller_that_leaves_frees_the_engine(client: openai.OpenAI, yard: Yard) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=COUNT,
        max_tokens=2000,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    assert yard.active_generations() == 1
    stream.close()
    wait_until(lambda: yard.active_generations() == 0, 10, "the abandoned answer ends")
