"""The contract of `chat.ports.ThreadStore`, and of the trees that `ChatStore` grows."""

from dataclasses import replace

import pytest

from contract.conftest import Store
from contract.samples import AT, ME, MINE, STRANGE_TEXT, THEIRS, conversation, finished, response
from contract.samples import item as sample_item
from tokenyard.chat.records import (
    Attachment,
    Conversation,
    ConversationDetails,
    ConversationFilter,
    FunctionCall,
    Item,
    ItemKind,
    PromptReference,
    ResponseOptions,
    TitleBy,
)
from tokenyard.vocabulary.ids import FileId, ItemId, ResponseId
from tokenyard.vocabulary.messages import Role

FIRST = conversation(1)


def item(name: str, parent: str | None = None, **changes: object) -> Item:
    return sample_item(name, parent=None if parent is None else ItemId(f"msg_{parent}"), **changes)


async def path_of(store: Store, tip: str, limit: int = 100) -> list[str]:
    found = await store.threads.list_path(ItemId(f"msg_{tip}"), limit=limit)
    return [one.id.removeprefix("msg_") for one in found]


async def leaf_of(store: Store) -> str | None:
    found = await store.chat.find_conversation(FIRST.id, MINE)
    assert found is not None
    return found.leaf


async def test_every_field_comes_back(store: Store) -> None:
    whole = item(
        "a",
        kind=ItemKind.SUMMARY,
        attachments=(Attachment(STRANGE_TEXT, STRANGE_TEXT, FileId("file_1")),),
        call=FunctionCall("call_1", "f"),
        through=ItemId("msg_b"),
    )
    made = replace(
        FIRST,
        title=STRANGE_TEXT,
        title_by=TitleBy.MODEL,
        folder="work",
        pinned=True,
        archived=True,
        leaf=whole.id,
    )
    await store.chat.add_conversation(made, [whole])
    assert await store.chat.find_conversation(FIRST.id, MINE) == made
    assert await store.chat.list_items(FIRST.id, limit=1) == [whole]
    assert await store.threads.list_path(whole.id, limit=9) == [whole]
    asked = response(
        stored=False,
        options=ResponseOptions(
            previous=ResponseId("resp_0"),
            background=True,
            truncate=True,
            text_format={"type": "json_object"},
            prompt=PromptReference("pmpt_1", 3, {"name": STRANGE_TEXT}),
        ),
    )
    await store.chat.open_response(asked, [], AT)
    assert await store.chat.find_response(asked.id, MINE) == asked


async def test_a_path_runs_from_its_tip_to_the_root(store: Store) -> None:
    tree = [item("a"), item("b", "a"), item("c", "b"), item("d", "a"), item("e", "d")]
    await store.chat.add_conversation(FIRST, tree)
    assert await path_of(store, "c") == ["c", "b", "a"]
    assert await path_of(store, "e") == ["e", "d", "a"]
    assert await path_of(store, "e", limit=2) == ["e", "d"]
    assert await path_of(store, "none") == []
    nodes = await store.threads.list_nodes(FIRST.id, limit=10)
    assert [(node.id, node.parent) for node in nodes] == [(one.id, one.parent) for one in tree]
    assert len(await store.threads.list_nodes(FIRST.id, limit=2)) == 2


async def test_added_items_go_below_the_leaf(store: Store) -> None:
    root = item("a")
    await store.chat.add_conversation(replace(FIRST, leaf=root.id), [root])
    assert await store.chat.add_items(FIRST.id, MINE, [item("b"), item("c")], AT)
    assert await path_of(store, "c") == ["c", "b", "a"]
    assert await leaf_of(store) == "msg_c"


async def test_the_leaf_follows_the_answer_unless_the_reader_went_elsewhere(
    store: Store,
) -> None:
    root = item("a")
    await store.chat.add_conversation(replace(FIRST, leaf=root.id), [root])
    opened = response(conversation=FIRST.id)
    await store.chat.open_response(opened, [item("b", "a")], AT)
    assert await leaf_of(store) == "msg_b"
    done = finished(opened, output=(item("answer", "b", role=Role.ASSISTANT),))
    assert await store.chat.finish_response(done, None)
    assert await leaf_of(store) == "msg_answer"

    again = response(2, conversation=FIRST.id)
    await store.chat.open_response(again, [item("c", "answer")], AT)
    assert await store.threads.set_leaf(FIRST.id, MINE, ItemId("msg_b"))
    done = finished(again, output=(item("unseen", "c", role=Role.ASSISTANT),))
    assert await store.chat.finish_response(done, None)
    assert await leaf_of(store) == "msg_b"
    assert await path_of(store, "unseen") == ["unseen", "c", "answer", "b", "a"]


async def test_the_first_answer_of_an_empty_conversation_becomes_its_leaf(store: Store) -> None:
    await store.chat.add_conversation(FIRST, [])
    opened = response(conversation=FIRST.id)
    await store.chat.open_response(opened, [], AT)
    assert await store.chat.finish_response(finished(opened, output=(item("x"),)), None)
    assert await leaf_of(store) == "msg_x"


async def test_a_deleted_item_leaves_no_gap(store: Store) -> None:
    tree = [item("a"), item("b", "a"), item("c", "b"), item("d", "b")]
    await store.chat.add_conversation(replace(FIRST, leaf=ItemId("msg_c")), tree)
    assert await store.chat.delete_item(FIRST.id, ItemId("msg_b"))
    assert await path_of(store, "c") == ["c", "a"]
    assert await path_of(store, "d") == ["d", "a"]
    assert await store.chat.delete_item(FIRST.id, ItemId("msg_c"))
    assert await leaf_of(store) == "msg_a"
    assert await store.chat.delete_item(FIRST.id, ItemId("msg_a"))
    assert await leaf_of(store) is None
    assert await path_of(store, "d") == ["d"]


async def test_a_chain_of_answers_closes_over_a_deleted_one(store: Store) -> None:
    parent = None
    for number in (1, 2, 3):
        opened = response(number)
        await store.chat.open_response(opened, [item(f"q{number}", parent)], AT)
        answer = item(f"a{number}", f"q{number}", role=Role.ASSISTANT)
        assert await store.chat.finish_response(finished(opened, output=(answer,)), None)
        parent = f"a{number}"
    assert await path_of(store, "a3") == ["a3", "q3", "a2", "q2", "a1", "q1"]
    assert await store.chat.delete_response(ResponseId("resp_002"), MINE)
    assert await path_of(store, "a3") == ["a3", "q3", "a1", "q1"]


@pytest.mark.parametrize(
    ("only", "shown"),
    [
        (ConversationFilter(), {1, 2, 3, 4}),
        (ConversationFilter(folder="work"), {1, 2}),
        (ConversationFilter(folder=""), {3, 4}),
        (ConversationFilter(pinned=True), {2, 3}),
        (ConversationFilter(archived=False, pinned=False), {1}),
    ],
)
async def test_a_list_shows_what_is_asked_for(
    store: Store, only: ConversationFilter, shown: set[int]
) -> None:
    for number, (folder, pinned, archived) in enumerate(
        [("work", False, False), ("work", True, False), ("", True, False), ("", False, True)], 1
    ):
        await store.chat.add_conversation(
            conversation(number, folder=folder, pinned=pinned, archived=archived), []
        )
    found = await store.chat.list_conversations(MINE, ME, limit=9, after=None, only=only)
    assert {one.id for one in found} == {f"conv_{number:03}" for number in shown}


async def test_another_project_changes_nothing(store: Store) -> None:
    held: Conversation = replace(FIRST, title="Mine")
    await store.chat.add_conversation(held, [item("a")])
    details = ConversationDetails("Theirs", TitleBy.USER, "", True, True)
    assert not await store.threads.set_details(FIRST.id, THEIRS, details)
    assert not await store.threads.set_leaf(FIRST.id, THEIRS, ItemId("msg_a"))
    assert await store.chat.find_conversation(FIRST.id, MINE) == held
    assert await store.threads.set_details(FIRST.id, MINE, details)
    changed = await store.chat.find_conversation(FIRST.id, MINE)
    assert changed == replace(
        held, title="Theirs", title_by=TitleBy.USER, pinned=True, archived=True
    )
