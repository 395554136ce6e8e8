"""Summaries in place of older turns, and titles, through the whole gateway."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.ledger.ports import GroupBy
from tokenyard.runtime.chat_settings import ChatSettings, TitleSource
from tokenyard.runtime.settings import Settings
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.identity import DEFAULT_PROJECT
from unit.gateway.test_threads import ask, new_conversation, sent


async def billed(yard: FakeYard) -> int:
    """How many generations were billed."""
    totals = await yard.ledger.statements.totals(
        DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
    )
    return sum(total.requests for total in totals)


async def compact(yard: FakeYard, conversation: str, status: int = 200, **more: Any) -> Any:
    answer = await yard.client.call(
        "POST", f"/api/conversations/{conversation}/compact", json_body={"model": MODEL, **more}
    )
    assert answer.status == status, answer.body
    return answer.json()


async def test_a_summary_stands_for_older_turns_until_it_is_deleted(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    for question in ("one", "two", "three"):
        await ask(yard, question, conversation=conversation)
    yard.upstream.script = Script(pieces=("They ", "talked."))
    summary = await compact(yard, conversation, keep_questions=1)
    assert json.loads(yard.upstream.calls[-1].body)["priority"] == 50
    assert "User: one" in sent(yard)[1]
    assert "three" not in sent(yard)[1]
    assert summary["content"][0]["text"] == "They talked."
    assert summary["cost_nanos"] == 0
    assert await billed(yard) == 4
    await ask(yard, "four", conversation=conversation)
    assert sent(yard) == [
        "system: Summary of the conversation so far:\n\nThey talked.",
        "user: three",
        "assistant: Hello, world.",
        "user: four",
    ]
    target = f"/v1/conversations/{conversation}/items/{summary['id']}"
    assert (await yard.client.call("DELETE", target)).status == 200
    await ask(yard, "five", conversation=conversation)
    assert [turn.partition(": ")[2] for turn in sent(yard)][::2] == [
        "one", "two", "three", "four", "five",
    ]  # fmt: skip


async def test_a_second_summary_goes_on_from_the_first(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    for question in ("one", "two"):
        await ask(yard, question, conversation=conversation)
    await compact(yard, conversation, keep_questions=0)
    await ask(yard, "three", conversation=conversation)
    await compact(yard, conversation, keep_questions=0)
    assert "Summary of the conversation so far" in sent(yard)[1]
    assert "User: one" not in sent(yard)[1]


async def test_what_cannot_be_summarised(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    refused = await compact(yard, conversation, 400)
    assert refused["error"]["param"] == "keep_questions"
    await ask(yard, "one", conversation=conversation)
    await compact(yard, conversation, 400)
    await compact(yard, conversation, keep_questions=0)
    await compact(yard, conversation, 400, keep_questions=0)
    await compact(yard, "conv_none", 404)
    yard.upstream.script = Script(refuse=UpstreamFailed("gone"))
    await ask_and_ignore(yard, conversation)
    await compact(yard, conversation, 502, keep_questions=0)


async def ask_and_ignore(yard: FakeYard, conversation: str) -> None:
    await yard.client.call(
        "POST",
        "/v1/responses",
        json_body={"model": MODEL, "input": "x", "conversation": conversation},
    )


@pytest.fixture
async def titled(request: pytest.FixtureRequest) -> AsyncIterator[FakeYard]:
    async with open_fake_yard(Settings(chat=ChatSettings(titles=request.param))) as made:
        yield made


async def title_of(yard: FakeYard, conversation: str) -> tuple[str, str]:
    await yard.clock.settle()
    found = (await yard.client.call("GET", f"/v1/conversations/{conversation}")).json()
    return found["title"], found["title_by"]


@pytest.mark.parametrize("titled", [TitleSource.MODEL], indirect=True)
async def test_the_model_writes_the_title_once(titled: FakeYard) -> None:
    conversation = await new_conversation(titled)
    await ask(titled, "one", conversation=conversation)
    assert await title_of(titled, conversation) == ("Hello, world", "model")
    assert await billed(titled) == 2
    await ask(titled, "two", conversation=conversation)
    await title_of(titled, conversation)
    assert await billed(titled) == 3


@pytest.mark.parametrize("titled", [TitleSource.MODEL], indirect=True)
async def test_a_title_of_a_person_stays(titled: FakeYard) -> None:
    conversation = await new_conversation(titled)
    target = f"/v1/conversations/{conversation}"
    await titled.client.call("POST", target, json_body={"title": "Mine"})
    await ask(titled, "one", conversation=conversation)
    assert await title_of(titled, conversation) == ("Mine", "user")
    assert await billed(titled) == 1


@pytest.mark.parametrize("titled", [TitleSource.MODEL], indirect=True)
async def test_an_answer_is_not_lost_for_want_of_a_title(titled: FakeYard) -> None:
    conversation = await new_conversation(titled)
    titled.upstream.script = Script(refuse=UpstreamFailed("gone"))
    await ask_and_ignore(titled, conversation)
    assert (await title_of(titled, conversation))[1] == "nobody"
    assert "title.failed" in titled.log.getvalue()


@pytest.mark.parametrize("titled", [TitleSource.QUESTION], indirect=True)
async def test_a_title_of_the_questions_first_words(titled: FakeYard) -> None:
    conversation = await new_conversation(titled)
    await ask(titled, "What is a pound of tea?", conversation=conversation)
    assert await title_of(titled, conversation) == ("What is a pound of tea?", "model")
    assert await billed(titled) == 1
