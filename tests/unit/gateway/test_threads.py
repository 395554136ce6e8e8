"""Histories through the whole gateway: chains of answers, branches, and what the model is sent."""

import json
from typing import Any

from support.yards import MODEL, FakeYard
from tokenyard.upstreams.scripted import Script

PATH = "/v1/responses"


async def ask(yard: FakeYard, asked: str | list[Any], **more: Any) -> dict[str, Any]:
    answer = await yard.client.call(
        "POST", PATH, json_body={"model": MODEL, "input": asked, **more}
    )
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.json()
    return made


def sent(yard: FakeYard) -> list[str]:
    """The turns of the last call to the model server."""
    body = json.loads(yard.upstream.calls[-1].body)
    return [f"{turn['role']}: {turn['content']}" for turn in body["messages"]]


async def new_conversation(yard: FakeYard) -> str:
    made = (await yard.client.call("POST", "/v1/conversations")).json()["id"]
    return str(made)


async def shown(yard: FakeYard, conversation: str) -> list[str]:
    target = f"/v1/conversations/{conversation}/items?order=asc"
    items = (await yard.client.call("GET", target)).json()["data"]
    return [item["content"][0]["text"] for item in items]


async def test_a_chain_of_answers_without_a_conversation(yard: FakeYard) -> None:
    first = await ask(yard, "one", instructions="Be brief.")
    second = await ask(yard, "two", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    # Instructions are not inherited.
    assert sent(yard) == ["user: one", "assistant: Hello, world.", "user: two"]
    await ask(yard, "three", previous_response_id=second["id"])
    assert len(sent(yard)) == 5
    # A second question to the first answer is a branch of its own.
    await ask(yard, "other", previous_response_id=first["id"])
    assert sent(yard)[-1] == "user: other"
    assert len(sent(yard)) == 3


async def test_what_cannot_be_gone_on_from(yard: FakeYard) -> None:
    unstored = await ask(yard, "one", store=False)
    for previous in ("resp_none", unstored["id"]):
        answer = await yard.client.call(
            "POST",
            PATH,
            json_body={"model": MODEL, "input": "x", "previous_response_id": previous},
        )
        assert (answer.status, answer.error["param"]) == (404, "previous_response_id")
    both = {"conversation": await new_conversation(yard), "previous_response_id": "resp_1"}
    answer = await yard.client.call("POST", PATH, json_body={"model": MODEL, "input": "x", **both})
    assert (answer.status, answer.error["param"]) == (400, "previous_response_id")


async def test_an_answer_that_is_not_stored_is_told_once(yard: FakeYard) -> None:
    made = await ask(yard, "one", store=False)
    assert made["output"][0]["content"][0]["text"] == "Hello, world."
    assert (await yard.client.call("GET", f"{PATH}/{made['id']}")).status == 404


async def test_regenerate_edit_and_walk_the_branches(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    first = await ask(yard, "one", conversation=conversation)
    question = first["output"][0]["parent_id"]
    again = await ask(yard, [], conversation=conversation, parent_item_id=question)
    assert sent(yard) == ["user: one"]
    assert again["output"][0]["parent_id"] == question
    await ask(yard, "two", conversation=conversation)
    assert await shown(yard, conversation) == ["one", "Hello, world.", "two", "Hello, world."]
    await ask(yard, "edited", conversation=conversation, parent_item_id=None)
    assert sent(yard) == ["user: edited"]
    assert await shown(yard, conversation) == ["edited", "Hello, world."]
    tree = (await yard.client.call("GET", f"/api/conversations/{conversation}/tree")).json()
    assert len(tree["nodes"]) == 7
    switched = await yard.client.call(
        "POST", f"/api/conversations/{conversation}/leaf", json_body={"item_id": question}
    )
    assert switched.json()["leaf_id"] == tree["nodes"][4]["id"]
    assert await shown(yard, conversation) == ["one", "Hello, world.", "two", "Hello, world."]
    missing = await yard.client.call(
        "POST", f"/api/conversations/{conversation}/leaf", json_body={"item_id": "msg_none"}
    )
    assert missing.status == 404


async def test_a_stopped_answer_is_gone_on_with(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    yard.upstream.script = Script(hold_after=2)
    body = {"model": MODEL, "input": "one", "conversation": conversation, "background": True}
    made = (await yard.client.call("POST", PATH, json_body=body)).json()
    running = yard.client.open("GET", f"{PATH}/{made['id']}?stream=true")
    await running.until(lambda answer: b", " in answer.body)
    stopped = (await yard.client.call("POST", f"{PATH}/{made['id']}/cancel")).json()
    await running.finish()
    yard.upstream.script = Script(pieces=("and on.",))
    item = stopped["output"][0]
    more = await ask(yard, [], conversation=conversation, parent_item_id=item["id"])
    asked = json.loads(yard.upstream.calls[-1].body)
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert sent(yard) == ["user: one", "assistant: Hello, "]
    assert more["output"][0]["parent_id"] == item["id"]
    await ask(yard, "two", conversation=conversation)
    assert sent(yard) == ["user: one", "assistant: Hello, and on.", "user: two"]
    assert "continue_final_message" not in json.loads(yard.upstream.calls[-1].body)


async def test_an_item_of_another_conversation_is_no_parent(yard: FakeYard) -> None:
    one, two = await new_conversation(yard), await new_conversation(yard)
    made = await ask(yard, "one", conversation=one)
    body = {
        "model": MODEL, "input": "x", "conversation": two,
        "parent_item_id": made["output"][0]["id"],
    }  # fmt: skip
    assert (await yard.client.call("POST", PATH, json_body=body)).status == 404
    empty = {"model": MODEL, "input": [], "conversation": two}
    answer = await yard.client.call("POST", PATH, json_body=empty)
    assert (answer.status, answer.error["param"]) == (400, "input")


async def test_the_form_of_the_answer_is_passed_on(yard: FakeYard) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "count", "schema": schema, "strict": True}
    made = await ask(yard, "one", text={"format": form})
    assert made["text"] == {"format": form}
    body = json.loads(yard.upstream.calls[-1].body)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "count", "schema": schema, "strict": True},
    }


async def test_title_folder_and_marks(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    target = f"/v1/conversations/{conversation}"
    change = {"title": "Milk", "folder": "home", "pinned": True}
    changed = (await yard.client.call("POST", target, json_body=change)).json()
    assert {name: changed[name] for name in change} == change
    assert (changed["title_by"], changed["archived"]) == ("user", False)
    kept = (await yard.client.call("POST", target, json_body={"metadata": {"a": "b"}})).json()
    assert (kept["title"], kept["metadata"]) == ("Milk", {"a": "b"})
    for query, count in (
        ("folder=home", 1),
        ("folder=", 0),
        ("pinned=true", 1),
        ("archived=true", 0),
    ):
        found = (await yard.client.call("GET", f"/api/conversations?{query}")).json()["data"]
        assert len(found) == count, query
    wrong = await yard.client.call("GET", "/api/conversations?pinned=maybe")
    assert (wrong.status, wrong.error["param"]) == (400, "pinned")
