"""What is billed is what the engine counted, to the token and the nano, however it was asked."""

import sqlite3
from contextlib import closing
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from acceptance.yard import MODEL, Yard, wait_until

# The default price book, in nano-units a token: 0.02, 0.002 and 0.08 USD a million.
INPUT_NANOS, CACHED_NANOS, OUTPUT_NANOS = 20, 2, 80
SETTLED_SECONDS_MAX = 10.0
ASK: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Count from one to fifty in words."}
]


def bill(yard: Yard, name: str) -> dict[str, Any] | None:
    """The ledger's row for that request or response, as it lies in the database."""
    path = yard.home / "tokenyard.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute("SELECT * FROM usage_rows WHERE id = ?", (name,)).fetchall()
    assert len(rows) <= 1, "billed twice"
    return dict(rows[0]) if rows else None


def settled(yard: Yard, name: str) -> dict[str, Any]:
    wait_until(lambda: bill(yard, name) is not None, SETTLED_SECONDS_MAX, "the bill is written")
    row = bill(yard, name)
    assert row is not None
    cost = (
        (row["prompt_tokens"] - row["cached_tokens"]) * INPUT_NANOS
        + row["cached_tokens"] * CACHED_NANOS
        + row["completion_tokens"] * OUTPUT_NANOS
    )
    assert row["cost_nanos"] == cost
    assert row["currency"] == "USD"
    return row


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_is_billed_as_the_engine_counted(yard: Yard, stream: bool) -> None:
    before = yard.engine_tokens()
    body = {"model": MODEL, "messages": ASK, "max_tokens": 20, "temperature": 0}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    with openai.OpenAI(base_url=f"{yard.url}/v1", api_key=yard.api_key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(**body)  # type: ignore[call-overload]
        last = list(raw.parse())[-1] if stream else raw.parse()
    after = yard.engine_tokens()
    row = settled(yard, raw.headers["x-request-id"])
    told = (last.usage.prompt_tokens, last.usage.completion_tokens)
    assert told == (row["prompt_tokens"], row["completion_tokens"])
    assert last.usage.prompt_tokens_details.cached_tokens == row["cached_tokens"]
    assert told == (after[0] - before[0], after[1] - before[1])
    assert row["completion_tokens"] == 20
    assert row["finish"] == "length"


def test_a_response_is_billed_once(yard: Yard, client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=12)
    row = settled(yard, made.id)
    assert made.usage is not None
    assert (row["prompt_tokens"], row["completion_tokens"]) == (
        made.usage.input_tokens,
        made.usage.output_tokens,
    )


def test_an_abandoned_stream_is_billed_for_what_was_generated(
    yard: Yard, client: openai.OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=ASK,
        max_tokens=2000,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    stream = raw.parse()
    seen = 0
    for chunk in stream:
        seen += bool(chunk.choices and chunk.choices[0].delta.content)
        if seen == 10:
            break
    stream.close()
    row = settled(yard, raw.headers["x-request-id"])
    assert row["prompt_tokens"] > 10
    assert 10 <= row["completion_tokens"] < 2000
    assert row["finish"] == "abort"


def test_a_refused_request_is_not_billed(yard: Yard) -> None:
    before = month_nanos(yard)
    for change in ({"temperature": 9}, {"model": "gpt-9"}):
        yard.request("POST", "/v1/chat/completions", {"model": MODEL, "messages": ASK, **change})
    assert month_nanos(yard) == before


def test_the_month_is_the_sum_of_the_bills(yard: Yard, client: openai.OpenAI) -> None:
    before = month_nanos(yard)
    made = client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=8)
    row = settled(yard, made.id)
    assert month_nanos(yard) - before == row["cost_nanos"]


def month_nanos(yard: Yard) -> int:
    return int(yard.request("GET", "/api/session").json()["month"]["cost_nanos"])
