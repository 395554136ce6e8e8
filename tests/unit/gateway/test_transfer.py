"""Export and import through the whole gateway."""

import json
from typing import Any

import pytest

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.runtime.chat_settings import ChatSettings, TitleSource
from tokenyard.runtime.settings import Settings
from tokenyard.upstreams.scripted import Script
from unit.gateway.test_threads import ask, new_conversation, shown
from unit.gateway.test_tools import OTHER, PIECES, TOOL


async def export(yard: FakeYard, query: str = "") -> Any:
    answer = await yard.client.call("GET", f"/api/export{query}")
    assert answer.status == 200, answer.body
    return answer.json()


async def take_in(yard: FakeYard, file: Any, status: int = 200) -> Any:
    answer = await yard.client.call("POST", "/api/import", json_body=file)
    assert answer.status == status, answer.body
    return answer.json()


@pytest.mark.parametrize("form", ["openai", "openwebui"])
async def test_a_conversation_survives_the_way_out_and_back(yard: FakeYard, form: str) -> None:
    conversation = await new_conversation(yard)
    made = await ask(yard, "one", conversation=conversation)
    question = made["output"][0]["parent_id"]
    await ask(yard, [], conversation=conversation, parent_item_id=question)
    await ask(yard, "two", conversation=conversation)
    await yard.client.call(
        "POST", f"/v1/conversations/{conversation}", json_body={"title": "Milk", "pinned": True}
    )
    file = await export(yard, f"?format={form}")
    taken = await take_in(yard, file)
    (copy,) = taken["conversation_ids"]
    assert (taken["messages"], taken["skipped_messages"]) == (5, 0)
    assert await shown(yard, copy) == await shown(yard, conversation)
    found = (await yard.client.call("GET", f"/v1/conversations/{copy}")).json()
    assert (found["title"], found["title_by"], found["pinned"]) == ("Milk", "user", True)
    tree = (await yard.client.call("GET", f"/api/conversations/{copy}/tree")).json()
    assert len(tree["nodes"]) == 5
    again = await export(yard, f"?format={form}&conversation_id={copy}")
    assert len(again) == 1
    assert len(await export(yard, f"?format={form}")) == 2
    # And it can be gone on with.
    await ask(yard, "three", conversation=copy)


async def test_nothing_to_export_and_nothing_there(yard: FakeYard) -> None:
    assert await export(yard) == []
    for query, status in (("?format=word", 400), ("?conversation_id=conv_none", 404)):
        assert (await yard.client.call("GET", f"/api/export{query}")).status == status


async def test_a_file_with_one_bad_entry_leaves_nothing(yard: FakeYard) -> None:
    await new_conversation(yard)
    (good,) = await export(yard)
    refused = await take_in(yard, [good, {"mapping": {"a": 1}}], 400)
    assert refused["error"]["param"] == "body.1"
    assert len(await export(yard)) == 1
    for body in (b"{", b"[" * 100_000):
        answer = await yard.client.call("POST", "/api/import", body=body)
        assert answer.status == 400


async def test_limits_of_an_import() -> None:
    chat = ChatSettings(
        titles=TitleSource.NOBODY, import_conversations_max=1, conversation_items_max=1
    )
    async with open_fake_yard(Settings(chat=chat)) as built:
        entry: dict[str, Any] = {"mapping": {}}
        await take_in(built, [entry])
        await take_in(built, [entry, entry], 400)
        message = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["x"]}}
        two = {"mapping": {name: {"message": message} for name in "ab"}}
        await take_in(built, two, 400)


async def test_calls_and_their_answers_go_out_and_come_back(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    yard.upstream.script = Script(pieces=PIECES)
    asked = {"conversation": conversation, "model": MODEL, "tools": [TOOL, OTHER]}
    await yard.client.call("POST", "/v1/responses", json_body={**asked, "input": "Rain?"})
    outputs = [
        {"type": "function_call_output", "call_id": f"call_{number}", "output": "x\ny"}
        for number in (0, 1)
    ]
    yard.upstream.script = Script()
    await yard.client.call("POST", "/v1/responses", json_body={**asked, "input": outputs})
    sent = json.loads(yard.upstream.calls[-1].body)["messages"]
    taken = await take_in(yard, await export(yard))
    (copy,) = taken["conversation_ids"]
    # What a model thinks is shown to others, but not taken in.
    assert (taken["messages"], taken["skipped_messages"]) == (7, 1)
    asked["conversation"] = copy
    await yard.client.call("POST", "/v1/responses", json_body={**asked, "input": "And now?"})
    again = json.loads(yard.upstream.calls[-1].body)["messages"]
    assert again[: len(sent)] == sent
    assert [turn["role"] for turn in again[len(sent) :]] == ["assistant", "user"]
    for entry in await export(yard, f"?format=openwebui&conversation_id={conversation}"):
        texts = [one["content"] for one in entry["chat"]["history"]["messages"].values()]
    assert sum("<details" in text for text in texts) == 5
    assert any("Called weather" in text for text in texts)
