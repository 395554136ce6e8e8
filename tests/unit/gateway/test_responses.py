"""Responses and conversations through the whole gateway, over a scripted model server."""

import json
from typing import Any

import pytest

from support.asgi import Answer
from support.spec import validator
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway import connection
from tokenyard.ledger.ports import GroupBy
from tokenyard.protocol.chat_completions import PromptProgress
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.settings import Settings
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

PATH = "/v1/responses"
ASK: dict[str, Any] = {"model": MODEL, "input": "Hi"}
STREAM = {**ASK, "stream": True}
TYPES = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * 4,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def text_of(answer: Answer) -> str:
    return "".join(event.get("delta", "") for event in answer.data())


async def billed_tokens(yard: FakeYard) -> list[int]:
    totals = await yard.ledger.statements.totals(
        DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
    )
    return [total.usage.completion_tokens for total in totals]


async def test_stream_is_numbered_typed_and_billed(yard: FakeYard) -> None:
    answer = await yard.client.call("POST", PATH, json_body=STREAM)
    events = answer.data()
    assert [event["type"] for event in events] == TYPES
    assert [event["sequence_number"] for event in events] == list(range(len(TYPES)))
    assert [event.event for event in answer.events()] == TYPES
    response = events[-1]["response"]
    ids = [event.id for event in answer.events()]
    assert ids == [f"{response['id']}.1.{number}" for number in range(len(TYPES))]
    assert response["output"][0]["content"][0]["text"] == text_of(answer) == "Hello, world."
    assert response["usage"]["output_tokens"] == 4
    assert response["cost"] == {"nanos": 0, "currency": "USD"}
    assert await billed_tokens(yard) == [4]


async def test_whole_response(yard: FakeYard) -> None:
    body = (await yard.client.call("POST", PATH, json_body=ASK)).json()
    assert body["status"] == "completed"
    assert body["output"][0]["content"][0]["text"] == "Hello, world."
    again = (await yard.client.call("GET", f"{PATH}/{body['id']}")).json()
    assert again["output"] == body["output"]


async def test_answer_goes_on_without_its_reader_and_resumes_without_a_seam(
    yard: FakeYard,
) -> None:
    yard.upstream.script = Script(hold_after=2)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    first = await call.until(lambda answer: len(answer.data()) == 6)
    response = first.headers["x-response-id"]
    await call.leave()
    assert not yard.upstream.aborted
    resumed = yard.client.open("GET", f"{PATH}/{response}?stream=true&starting_after=5")
    yard.upstream.go_on()
    rest = await resumed.finish()
    assert [event["sequence_number"] for event in rest.data()] == list(range(6, len(TYPES)))
    assert text_of(first) + text_of(rest) == "Hello, world."
    assert await billed_tokens(yard) == [4]


async def test_every_place_to_resume_from_gives_the_same_text(yard: FakeYard) -> None:
    whole = await yard.client.call("POST", PATH, json_body=STREAM)
    response = whole.headers["x-response-id"]
    for seen in range(len(TYPES) - 1):
        for headers, query in (
            ({}, f"&starting_after={seen}"),
            ({"last-event-id": f"{response}.1.{seen}"}, ""),
            ({"last-event-id": f"{response}.1.{seen}"}, "&starting_after=0"),
        ):
            target = f"{PATH}/{response}?stream=true{query}"
            rest = await yard.client.call("GET", target, headers=headers)
            assert rest.data() == whole.data()[seen + 1 :]
    from_start = await yard.client.call("GET", f"{PATH}/{response}?stream=true")
    assert from_start.data() == whole.data()
    last = len(TYPES) - 1
    over = await yard.client.call("GET", f"{PATH}/{response}?stream=true&starting_after={last}")
    assert (over.status, over.body) == (204, b"")


@pytest.mark.parametrize(
    "cursor",
    ["starting_after=-1", "starting_after=x", "starting_after=", "stream=no"],
)
async def test_cursor_that_cannot_be_right_is_refused(yard: FakeYard, cursor: str) -> None:
    response = (await yard.client.call("POST", PATH, json_body=ASK)).json()["id"]
    query = cursor if cursor.startswith("stream=") else f"stream=true&{cursor}"
    answer = await yard.client.call("GET", f"{PATH}/{response}?{query}")
    assert answer.status == 400
    assert answer.error["param"] in ("starting_after", "stream")


@pytest.mark.parametrize("event_id", ["", "7", "resp_0.1.2", "resp_" + "0" * 24 + ".1.2"])
async def test_event_id_of_elsewhere_is_refused(yard: FakeYard, event_id: str) -> None:
    response = (await yard.client.call("POST", PATH, json_body=ASK)).json()["id"]
    answer = await yard.client.call(
        "GET", f"{PATH}/{response}?stream=true", headers={"last-event-id": event_id}
    )
    assert (answer.status, answer.error["code"]) == (400, "invalid_cursor")


async def test_many_readers_see_the_same(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=1)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    first = await call.until(lambda answer: len(answer.data()) == 5)
    target = f"{PATH}/{first.headers['x-response-id']}?stream=true"
    readers = [yard.client.open("GET", target) for _ in range(20)]
    await yard.clock.settle()
    await readers.pop().leave()
    yard.upstream.go_on()
    whole = await call.finish()
    for reader in readers:
        assert (await reader.finish()).data() == whole.data()
    assert len(yard.upstream.calls) == 1


async def test_an_answer_that_a_server_withheld_is_incomplete_and_says_why(yard: FakeYard) -> None:
    yard.upstream.script = Script(finish="content_filter")
    body = (await yard.client.call("POST", PATH, json_body=ASK)).json()
    assert (body["status"], body["incomplete_details"]) == (
        "incomplete",
        {"reason": "content_filter"},
    )


@pytest.mark.parametrize("before_first", [True, False])
async def test_cancel_keeps_the_partial_text_and_is_idempotent(
    yard: FakeYard, before_first: bool
) -> None:
    yard.upstream.script = Script(hold_after=0 if before_first else 2)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    first = await call.until(lambda answer: len(answer.data()) == (2 if before_first else 6))
    target = f"{PATH}/{first.headers['x-response-id']}"
    cancelled = await yard.client.call("POST", f"{target}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    streamed = await call.finish()
    assert streamed.data()[-1]["type"] == "response.incomplete"
    assert streamed.data()[-1]["response"]["status"] == "cancelled"
    assert text_of(streamed) == ("" if before_first else "Hello, ")
    again = await yard.client.call("POST", f"{target}/cancel")
    assert again.json() == cancelled.json()
    assert (await yard.client.call("GET", target)).json()["status"] == "cancelled"
    assert await billed_tokens(yard) == [0 if before_first else 2]


async def test_failure_is_told_and_the_partial_is_kept(yard: FakeYard) -> None:
    yard.upstream.script = Script(broken=UpstreamFailed("It died."), break_after=2)
    answer = await yard.client.call("POST", PATH, json_body=STREAM)
    last = answer.data()[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {
        "code": "server_error",
        "message": "It died.",
        "reason": "upstream_failed",
    }
    item = last["response"]["output"][0]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Hello, ")


async def test_log_that_is_full_ends_the_answer_in_words() -> None:
    settings = Settings(chat=ChatSettings(stream_events_max=7))
    async with open_fake_yard(settings) as yard:
        answer = await yard.client.call("POST", PATH, json_body=STREAM)
    # Three pieces, and the four events that close it.
    assert len(answer.data()) == 4 + 3 + 4
    last = answer.data()[-1]["response"]
    assert (last["status"], last["error"]["reason"]) == ("failed", "invalid_value")


async def test_conversation_remembers_and_gives_its_history_to_the_model(yard: FakeYard) -> None:
    made = await yard.client.call("POST", "/v1/conversations", json_body={"metadata": {"a": "b"}})
    conversation = made.json()["id"]
    asked = {**ASK, "conversation": conversation, "instructions": "Be brief."}
    await yard.client.call("POST", PATH, json_body=asked)
    await yard.client.call("POST", PATH, json_body={**asked, "input": "And?"})
    sent = json.loads(yard.upstream.calls[1].body)["messages"]
    assert sent == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello, world."},
        {"role": "user", "content": "And?"},
    ]
    items = await yard.client.call("GET", f"/v1/conversations/{conversation}/items?order=asc")
    texts = [item["content"][0]["text"] for item in items.json()["data"]]
    assert texts == ["Hi", "Hello, world.", "And?", "Hello, world."]
    page = await yard.client.call(
        "GET", f"/v1/conversations/{conversation}/items?order=asc&limit=3"
    )
    assert (len(page.json()["data"]), page.json()["has_more"]) == (3, True)
    listed = (await yard.client.call("GET", "/api/conversations")).json()
    assert [one["id"] for one in listed["data"]] == [conversation]


async def test_conversation_is_answered_once_at_a_time(yard: FakeYard) -> None:
    conversation = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
    yard.upstream.script = Script(hold_after=1)
    asked = {**STREAM, "conversation": conversation}
    call = yard.client.open("POST", PATH, json_body=asked)
    first = await call.until(lambda answer: len(answer.data()) == 5)
    second = await yard.client.call("POST", PATH, json_body=asked)
    assert (second.status, second.error["code"]) == (409, "conversation_busy")
    seen = (await yard.client.call("GET", f"/v1/conversations/{conversation}")).json()
    assert seen["active_response_id"] == first.headers["x-response-id"]
    yard.upstream.go_on()
    await call.finish()
    after = await yard.client.call("POST", PATH, json_body=asked)
    assert after.status == 200


async def test_deleted_conversation_is_gone_and_what_ran_in_it_is_billed(yard: FakeYard) -> None:
    conversation = (await yard.client.call("POST", "/v1/conversations", body=b"{}")).json()["id"]
    yard.upstream.script = Script(hold_after=2)
    call = yard.client.open("POST", PATH, json_body={**STREAM, "conversation": conversation})
    first = await call.until(lambda answer: len(answer.data()) == 6)
    gone = await yard.client.call("DELETE", f"/v1/conversations/{conversation}")
    assert gone.json()["deleted"] is True
    await call.finish()
    for target in (
        f"/v1/conversations/{conversation}",
        f"/v1/conversations/{conversation}/items",
        f"{PATH}/{first.headers['x-response-id']}",
    ):
        assert (await yard.client.call("GET", target)).status == 404
    assert await billed_tokens(yard) == [2]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"store": False, "background": True}, "store"),
        ({"store": False, "conversation": "conv_1"}, "store"),
        ({"parent_item_id": "msg_1"}, "parent_item_id"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"truncation": "middle"}, "truncation"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"model": None}, "model"),
        ({"reasoning": {"summary": "auto"}}, "reasoning"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": []}, "input"),
        ({"conversation": {"name": "x"}}, "conversation.name"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(
    yard: FakeYard, change: dict[str, Any], param: str
) -> None:
    answer = await yard.client.call("POST", PATH, json_body={**ASK, **change})
    assert answer.status == 400
    assert answer.error["param"].startswith(param.partition(".")[0])
    assert not yard.upstream.calls


async def test_unknown_conversation_and_response_are_404(yard: FakeYard) -> None:
    asked = {**ASK, "conversation": "conv_none"}
    assert (await yard.client.call("POST", PATH, json_body=asked)).status == 404
    for method, target in (
        ("GET", f"{PATH}/resp_none"),
        ("GET", f"{PATH}/resp_none?stream=true"),
        ("POST", f"{PATH}/resp_none/cancel"),
        ("DELETE", "/v1/conversations/conv_none"),
    ):
        answer = await yard.client.call(method, target)
        assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_stream_is_forgotten_after_its_time_and_the_response_is_not(yard: FakeYard) -> None:
    response = (await yard.client.call("POST", PATH, json_body=ASK)).json()["id"]
    await yard.clock.advance(601)
    target = f"{PATH}/{response}?stream=true"
    for query in ("", "&starting_after=3"):
        [picture] = (await yard.client.call("GET", target + query)).data()
        assert picture["type"] == "response.resync"
        assert picture["response"]["output"][0]["content"][0]["text"] == "Hello, world."
    after = picture["sequence_number"]
    over = await yard.client.call("GET", f"{target}&starting_after={after}")
    assert over.status == 204
    assert (await yard.client.call("GET", f"{PATH}/{response}")).status == 200


async def test_drain_leaves_what_does_not_end_to_the_next_process(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    await call.until(lambda answer: len(answer.data()) == 6)
    await yard.responses.drain(0.01)
    assert yard.upstream.aborted
    assert await billed_tokens(yard) == []
    yard.upstream.script = Script()
    assert await yard.takeover.adopt_all() == 1
    await yard.clock.advance(1)
    whole = await call.finish()
    assert [event["type"] for event in whole.data()] == TYPES
    assert [event["sequence_number"] for event in whole.data()] == list(range(len(TYPES)))
    assert [event.id.split(".")[1] for event in whole.events() if event.id] == ["1"] * 6 + ["2"] * 6
    assert text_of(whole) == "Hello, world."
    assert await billed_tokens(yard) == [4]


async def test_answer_goes_on_when_its_model_server_dies(yard: FakeYard) -> None:
    yard.upstream.script = Script(broken=UpstreamFailed("It died."), break_after=2)
    call = yard.client.open("POST", PATH, json_body=STREAM)

    def heal(answer: Answer) -> bool:
        if len(answer.data()) >= 6:
            yard.upstream.script = Script()
        return answer.finished

    whole = await call.until(heal)
    assert text_of(whole) == "Hello, world."
    assert [event["type"] for event in whole.data()] == TYPES
    assert await billed_tokens(yard) == [4]


@pytest.mark.parametrize("says", [("Hel", "lo, ", "world."), ("Hi", " there.")])
async def test_a_server_that_cannot_continue_repeats_and_a_difference_is_told(
    yard: FakeYard, says: tuple[str, ...]
) -> None:
    yard.upstream.continues = False
    yard.upstream.script = Script(broken=UpstreamFailed("It died."), break_after=2)
    call = yard.client.open("POST", PATH, json_body=STREAM)

    def heal(answer: Answer) -> bool:
        if len(answer.data()) >= 6:
            yard.upstream.script = Script(pieces=says)
        return answer.finished

    whole = await call.until(heal)
    shown = ""
    for event in whole.data():
        shown = event["text"] if event["type"] == "response.reset" else shown
        shown += event.get("delta", "")
    assert shown == "".join(says)
    assert whole.data()[-1]["response"]["output"][0]["content"][0]["text"] == shown
    assert ("response.reset" in [event["type"] for event in whole.data()]) == (says[0] == "Hi")
    assert await billed_tokens(yard) == [len(says)]


async def test_what_was_asked_is_listed_in_pages(yard: FakeYard) -> None:
    asked = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    response = (await yard.client.call("POST", PATH, json_body={**ASK, "input": asked})).json()
    target = f"{PATH}/{response['id']}/input_items?order=asc"
    whole = (await yard.client.call("GET", target)).json()
    assert [item["content"][0]["text"] for item in whole["data"]] == ["one", "two", "three"]
    validator("response_input_items").validate(whole)
    first = (await yard.client.call("GET", f"{target}&limit=2")).json()
    assert first["has_more"] is True
    rest = (await yard.client.call("GET", f"{target}&after={first['last_id']}")).json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["three"]
    lost = await yard.client.call("GET", f"{target}&after=msg_none")
    assert (lost.status, lost.error["param"]) == (400, "after")


async def test_deleted_response_is_stopped_billed_and_gone(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    first = await call.until(lambda answer: len(answer.data()) == 6)
    target = f"{PATH}/{first.headers['x-response-id']}"
    gone = await yard.client.call("DELETE", target)
    assert gone.json()["deleted"] is True
    assert (await call.finish()).data()[-1]["type"] == "response.incomplete"
    for method, path in (
        ("GET", target),
        ("GET", f"{target}?stream=true"),
        ("GET", f"{target}/input_items"),
        ("DELETE", target),
    ):
        assert (await yard.client.call(method, path)).status == 404
    assert await billed_tokens(yard) == [2]


async def test_every_answer_and_event_fits_openais_schemas(yard: FakeYard) -> None:
    streamed = await yard.client.call("POST", PATH, json_body=STREAM)
    for event in streamed.data():
        validator("response.stream").validate(event)
    whole = await yard.client.call("POST", PATH, json_body=ASK)
    validator("response").validate(whole.json())
    yard.upstream.script = Script(broken=UpstreamFailed("It died."), break_after=2)
    broken = await yard.client.call("POST", PATH, json_body=STREAM)
    for event in broken.data():
        validator("response.stream").validate(event)
    made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()
    validator("conversation").validate(made)
    items = await yard.client.call("GET", f"/v1/conversations/{made['id']}/items")
    validator("conversation_items").validate(items.json())


async def test_items_of_a_conversation_are_added_read_and_removed(yard: FakeYard) -> None:
    made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
    target = f"/v1/conversations/{made}/items"
    asked = {"items": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
    added = (await yard.client.call("POST", target, json_body=asked)).json()
    validator("conversation_items").validate(added)
    first, second = (item["id"] for item in added["data"])
    one = await yard.client.call("GET", f"{target}/{second}")
    assert one.json()["content"][0] == {
        "type": "output_text",
        "text": "two",
        "annotations": [],
        "logprobs": [],
    }
    assert (await yard.client.call("DELETE", f"{target}/{first}")).json()["id"] == made
    for method in ("GET", "DELETE"):
        gone = await yard.client.call(method, f"{target}/{first}")
        assert (gone.status, gone.error["param"]) == (404, "item_id")
    lost = await yard.client.call("POST", "/v1/conversations/conv_none/items", json_body=asked)
    assert lost.status == 404


async def test_conversation_has_room_for_so_many_items_only() -> None:
    async with open_fake_yard(Settings(chat=ChatSettings(conversation_items_max=3))) as yard:
        made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
        asked = {**ASK, "conversation": made}
        assert (await yard.client.call("POST", PATH, json_body=asked)).status == 200
        full = await yard.client.call("POST", PATH, json_body=asked)
        assert (full.status, full.error["param"]) == (400, "conversation")
        items = {"items": [{"role": "user", "content": "x"}] * 2}
        target = f"/v1/conversations/{made}/items"
        assert (await yard.client.call("POST", target, json_body=items)).status == 400


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (
            PromptProgress(total=900, cache=100, processed=512, time_ms=1.0),
            b": reading 512 of 900, 100 known\n",
        ),
        (
            PromptProgress(total=900, cache=0, processed=0, time_ms=0.0, place=3),
            b": waiting, place 3 in line\n",
        ),
    ],
)
async def test_who_waits_hears_each_second_how_far_the_prompt_has_been_read(
    yard: FakeYard, monkeypatch: pytest.MonkeyPatch, progress: PromptProgress, told: bytes
) -> None:
    """In comments, which clients that know OpenAI's events only pass over."""
    monkeypatch.setattr(connection, "_FIRST_TICK_SECONDS", 0.01)
    yard.upstream.script = Script(progress=[progress], hold_after=0)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    first = await call.until(lambda answer: answer.body.count(told) >= 2)
    assert len(first.data()) == 2
    yard.upstream.go_on()
    whole = await call.finish()
    assert [event["type"] for event in whole.data()] == TYPES
    assert [event["sequence_number"] for event in whole.data()] == list(range(len(TYPES)))
