"""Conversations and Responses through OpenAI's Python client: create, stream, resume, cancel."""

import json
from collections.abc import Iterable
from typing import Any

import openai
import pytest

from acceptance.wire import check
from acceptance.yard import MODEL, Yard, wait_until

# At temperature 0 the model goes on with this for more than 600 tokens.
STORY = "Explain in detail how a steam engine works."


def frames(body: bytes) -> list[dict[str, str]]:
    """Server-sent events as dictionaries of their fields; comments are left out."""
    events = []
    for block in body.decode().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":")
        )
        if fields:
            events.append(fields)
    return events


def text_of(events: Iterable[dict[str, Any]]) -> str:
    return "".join(
        event["delta"] for event in events if event["type"] == "response.output_text.delta"
    )


def stream_of(yard: Yard, body: dict[str, Any]) -> tuple[list[dict[str, str]], list[Any]]:
    """The frames and decoded events of a whole streamed response."""
    answer = yard.request("POST", "/v1/responses", {"model": MODEL, **body, "stream": True})
    assert answer.status == 200, answer.body
    found = frames(answer.body)
    return found, [json.loads(frame["data"]) for frame in found]


def test_a_response_is_what_openai_describes(client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="Say hello.", max_output_tokens=16, temperature=0
    )
    check("response", raw.http_response.json())
    made = raw.parse()
    assert made.output_text
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    again = client.responses.retrieve(made.id)
    assert again.output_text == made.output_text


def test_a_stream_is_numbered_and_what_openai_describes(yard: Yard) -> None:
    told, events = stream_of(yard, {"input": "Say hello.", "max_output_tokens": 16, "seed": 1})
    for event in events:
        check("response.stream", event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [frame["event"] for frame in told] == [event["type"] for event in events]
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] in {"response.completed", "response.incomplete"}
    final = events[-1]["response"]["output"][0]["content"][0]["text"]
    assert text_of(events) == final


def test_the_client_reads_a_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model=MODEL, input="Say hello.", max_output_tokens=200, temperature=0
    ) as stream:
        text = "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )
        assert stream.get_final_response().output_text == text
    assert text


def without_retry(found: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: one[key] for key in one if key != "retry"} for one in found]


def test_a_stream_goes_on_where_a_reader_left_it(yard: Yard) -> None:
    told, events = stream_of(yard, {"input": STORY, "max_output_tokens": 40, "temperature": 0})
    name = events[0]["response"]["id"]
    for place in (0, 3, len(events) // 2, len(events) - 2):
        rest = yard.request("GET", f"/v1/responses/{name}?stream=true&starting_after={place}")
        # When a reader is to come back, should it lose us, is its own affair.
        assert without_retry(frames(rest.body)) == without_retry(told[place + 1 :])
        by_header = yard.request(
            "GET",
            f"/v1/responses/{name}?stream=true",
            headers={"last-event-id": told[place]["id"]},
        )
        assert without_retry(frames(by_header.body)) == without_retry(told[place + 1 :])
    after_end = yard.request(
        "GET", f"/v1/responses/{name}?stream=true&starting_after={len(events) - 1}"
    )
    assert after_end.status == 204
    beyond = yard.request("GET", f"/v1/responses/{name}?stream=true&starting_after=99999")
    # A place that the log never had is no gap to be silent about: the whole answer is sent anew.
    assert frames(beyond.body)[0]["event"] == "response.resync"


def test_an_answer_goes_on_when_its_reader_is_gone(client: openai.OpenAI) -> None:
    stream = client.responses.create(
        model=MODEL, input=STORY, max_output_tokens=60, temperature=0, stream=True
    )
    first = next(iter(stream))
    assert first.type == "response.created"
    stream.close()

    def ended() -> bool:
        return client.responses.retrieve(first.response.id).status in {"completed", "incomplete"}

    wait_until(ended, 60, "the answer that nobody reads ends")
    whole = client.responses.retrieve(first.response.id)
    assert whole.usage is not None
    assert whole.usage.output_tokens == 60
    alone = client.responses.create(model=MODEL, input=STORY, max_output_tokens=60, temperature=0)
    assert whole.output_text == alone.output_text


def test_a_background_response_can_be_cancelled(yard: Yard, client: openai.OpenAI) -> None:
    started = client.responses.create(
        model=MODEL, input=STORY, max_output_tokens=2000, temperature=0, background=True
    )
    assert started.status in {"queued", "in_progress"}
    yard.wait_for_tokens(20)
    raw = client.responses.with_raw_response.cancel(started.id)
    check("response_cancel", raw.http_response.json())
    stopped = raw.parse()
    assert stopped.status in {"cancelled", "incomplete"}
    kept = client.responses.retrieve(started.id)
    assert kept.output_text.strip()
    assert kept.usage is not None
    assert 0 < kept.usage.output_tokens < 2000


def test_a_conversation_remembers(client: openai.OpenAI) -> None:
    raw = client.conversations.with_raw_response.create(metadata={"topic": "names"})
    check("conversation", raw.http_response.json())
    talk = raw.parse()
    first = client.responses.create(
        model=MODEL,
        input="My name is Ada.",
        conversation=talk.id,
        max_output_tokens=16,
        temperature=0,
    )
    alone = client.responses.create(
        model=MODEL, input="What is my name?", max_output_tokens=16, temperature=0
    )
    second = client.responses.create(
        model=MODEL,
        input="What is my name?",
        conversation=talk.id,
        max_output_tokens=16,
        temperature=0,
    )
    assert alone.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > alone.usage.input_tokens
    items = client.conversations.items.with_raw_response.list(talk.id, order="asc")
    check("conversation_items", items.http_response.json())
    listed = items.http_response.json()["data"]
    turns = [(item["role"], item["content"][0]["text"]) for item in listed]
    assert turns == [
        ("user", "My name is Ada."),
        ("assistant", first.output_text),
        ("user", "What is my name?"),
        ("assistant", second.output_text),
    ]


def test_a_conversation_can_be_changed_and_deleted(client: openai.OpenAI) -> None:
    talk = client.conversations.create()
    changed = client.conversations.update(talk.id, metadata={"title": "Colours"})
    assert changed.metadata == {"title": "Colours"}
    assert client.conversations.retrieve(talk.id).metadata == {"title": "Colours"}
    raw = client.conversations.with_raw_response.delete(talk.id)
    check("conversation_deleted", raw.http_response.json())
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(talk.id)


def test_one_answer_at_a_time_in_a_conversation(client: openai.OpenAI) -> None:
    talk = client.conversations.create()
    running = client.responses.create(
        model=MODEL,
        input=STORY,
        conversation=talk.id,
        background=True,
        max_output_tokens=2000,
        temperature=0,
    )
    with pytest.raises(openai.ConflictError) as caught:
        client.responses.create(model=MODEL, input="And?", conversation=talk.id)
    assert caught.value.code == "conversation_busy"
    client.responses.cancel(running.id)


@pytest.mark.parametrize(
    ("param", "change"),
    [
        ("input", {"input": []}),
        ("input", {"input": 5}),
        ("temperature", {"temperature": 3}),
        ("max_output_tokens", {"max_output_tokens": 0}),
        ("metadata", {"metadata": {"a": 1}}),
        ("nonsense", {"nonsense": True}),
        ("parent_item_id", {"parent_item_id": "msg_1"}),
        ("tools", {"tools": [{"type": "web_search"}]}),
    ],
)
def test_a_bad_field_is_named(yard: Yard, param: str, change: dict[str, Any]) -> None:
    answer = yard.request("POST", "/v1/responses", {"model": MODEL, "input": "hi", **change})
    assert answer.status == 400, answer.body
    check("error", answer.json())
    assert (answer.json()["error"]["param"] or "").startswith(param)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_0123456789abcdef01234567"),
        ("POST", "/v1/responses/resp_0123456789abcdef01234567/cancel"),
        ("GET", "/v1/conversations/conv_0123456789abcdef01234567"),
        ("DELETE", "/v1/conversations/conv_0123456789abcdef01234567"),
        ("GET", "/v1/conversations/conv_0123456789abcdef01234567/items"),
    ],
)
def test_what_is_not_there_is_not_found(yard: Yard, method: str, path: str) -> None:
    answer = yard.request(method, path)
    assert answer.status == 404
    check("error", answer.json())
