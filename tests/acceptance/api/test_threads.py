"""Chains, branches, stored prompts, files and windows, through OpenAI's Python client."""

import base64
import json
from typing import Any

import openai
import pytest

from acceptance.wire import check
from acceptance.yard import MODEL, Yard


def ask(client: openai.OpenAI, asked: Any, **more: Any) -> Any:
    return client.responses.create(
        model=MODEL, input=asked, max_output_tokens=8, temperature=0, **more
    )


def body_of(yard: Yard, method: str, path: str, body: Any = None) -> Any:
    answer = yard.request(method, path, body)
    assert answer.status == 200, answer.body
    return answer.json()


def test_a_chain_of_answers_has_its_history(client: openai.OpenAI) -> None:
    first = ask(client, "My name is Ada. Say hello.")
    second = ask(client, "And again.", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    third = ask(client, "And again.", previous_response_id=first.id)
    # The same history and the same seedless draw at temperature 0: the same branch of it.
    assert third.output_text == second.output_text
    with pytest.raises(openai.NotFoundError):
        ask(client, "x", previous_response_id="resp_none")


def test_an_answer_that_is_not_stored(client: openai.OpenAI) -> None:
    made = ask(client, "Say hello.", store=False)
    assert made.output_text
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_branches_of_a_conversation(yard: Yard, client: openai.OpenAI) -> None:
    talk = client.conversations.create()
    made = ask(client, "Say hello.", conversation=talk.id)
    question = made.output[0].model_extra["parent_id"]
    again = ask(client, [], conversation=talk.id, extra_body={"parent_item_id": question})
    check("response", again.model_dump(mode="json", exclude_unset=True))
    assert again.output_text == made.output_text
    tree = body_of(yard, "GET", f"/api/conversations/{talk.id}/tree")
    assert [node["parent_id"] for node in tree["nodes"]] == [None, question, question]
    listed = client.conversations.items.list(talk.id, order="asc")
    assert [item.id for item in listed.data] == [question, again.output[0].id]


def test_an_answer_that_was_cut_off_is_gone_on_with(client: openai.OpenAI) -> None:
    story = "Explain in detail how a steam engine works."
    whole = client.responses.create(model=MODEL, input=story, max_output_tokens=24, temperature=0)
    talk = client.conversations.create()
    first = ask(client, story, conversation=talk.id)
    assert first.status == "incomplete"
    more = client.responses.create(
        model=MODEL,
        input=[],
        conversation=talk.id,
        max_output_tokens=16,
        temperature=0,
        extra_body={"parent_item_id": first.output[0].id},
    )
    assert first.output_text + more.output_text == whole.output_text


def test_a_stored_prompt_is_served(yard: Yard, client: openai.OpenAI) -> None:
    content = {"instructions": "You like {{city}}.", "model": MODEL, "max_output_tokens": 5}
    made = body_of(yard, "POST", "/api/prompts", {"name": "Guide", "content": content})
    answer = client.responses.create(
        prompt={"id": made["id"], "variables": {"city": "York"}}, input="Where are you?"
    )
    assert answer.prompt is not None
    assert (answer.prompt.id, answer.prompt.version) == (made["id"], "1")
    assert answer.instructions == "You like York."
    assert answer.usage is not None
    assert answer.usage.output_tokens <= 5
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(prompt={"id": made["id"]}, input="Where?")
    assert refused.value.param == "prompt.variables.city"


def test_the_gauge_counts_as_the_model_does(yard: Yard, client: openai.OpenAI) -> None:
    asked = {"model": MODEL, "input": "How does a steam engine work?", "instructions": "Be brief."}
    gauge = body_of(yard, "POST", "/api/context", asked)
    made = client.responses.create(
        model=asked["model"],
        input=asked["input"],
        instructions=asked["instructions"],
        max_output_tokens=4,
    )
    assert made.usage is not None
    assert made.model_extra is not None
    assert gauge["exact"]
    assert gauge["used_tokens"] == made.usage.input_tokens
    assert gauge["cost"]["lowest_nanos"] <= made.model_extra["cost"]["nanos"]
    assert made.model_extra["cost"]["nanos"] <= gauge["cost"]["highest_nanos"]


def test_a_history_that_does_not_fit_is_cut_only_when_asked(
    yard: Yard, client: openai.OpenAI
) -> None:
    model = client.models.retrieve(MODEL)
    assert model.model_extra is not None
    window = model.model_extra["context_window"]
    # What is left after the cut is short, so that it is soon read.
    items: Any = [
        {"role": "user", "content": "word " * (window - 100)},
        {"role": "user", "content": "word " * 200},
    ]
    talk = client.conversations.create(items=items)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "Say hello.", conversation=talk.id)
    assert refused.value.code == "context_length_exceeded"
    made = ask(client, "Say hello.", conversation=talk.id, truncation="auto")
    assert made.model_extra["truncated_items"] == 1
    assert made.usage.input_tokens < window


def test_a_file_is_read_with_the_question(client: openai.OpenAI) -> None:
    file = client.files.create(file=("notes.txt", b"Buy milk."), purpose="user_data")
    data = "data:text/plain;base64," + base64.b64encode(b"Buy milk.").decode()
    question = {"type": "input_text", "text": "What shall I buy?"}
    answers = []
    for part in ({"file_id": file.id}, {"file_data": data, "filename": "notes.txt"}):
        content = [{"type": "input_file", **part}, question]
        answers.append(ask(client, [{"role": "user", "content": content}]))
    assert answers[0].output_text == answers[1].output_text
    assert answers[0].usage.input_tokens == answers[1].usage.input_tokens


def test_out_and_back(yard: Yard, client: openai.OpenAI) -> None:
    talk = client.conversations.create(items=[{"role": "user", "content": "A rare word: zyzzyva."}])
    found = body_of(yard, "GET", "/api/search?q=zyzzyv")["data"]
    assert [hit["conversation_id"] for hit in found] == [talk.id]
    file = yard.request("GET", f"/api/export?conversation_id={talk.id}")
    taken = body_of(yard, "POST", "/api/import", json.loads(file.body))
    (copy,) = taken["conversation_ids"]
    assert len(body_of(yard, "GET", "/api/search?q=zyzzyva")["data"]) == 2
    client.conversations.delete(talk.id)
    client.conversations.delete(copy)
    assert body_of(yard, "GET", "/api/search?q=zyzzyva")["data"] == []
