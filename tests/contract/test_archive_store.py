"""The contract of `chat.archive.ArchiveStore`, over every store that keeps it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.conftest import SqliteOpener, Store
from contract.samples import AT, ME, MINE, THEIRS, YOU, conversation, finished, item, response
from tokenyard.chat.archive import Share
from tokenyard.chat.rules.searching import read_query
from tokenyard.vocabulary.ids import ItemId, ProjectId, ShareId, UserId


async def found(
    store: Store, text: str, project: ProjectId = MINE, user: UserId = ME, limit: int = 9
) -> list[str]:
    query = read_query(text)
    assert query is not None
    hits = await store.archive.search(project, user, query, limit=limit)
    return [hit.item or hit.conversation for hit in hits]


async def furnish(store: Store) -> None:
    for number, (title, texts) in enumerate(
        [
            ("Steam engines", ["How does a steam engine work?", "By pressure."]),
            ("Milk", ["The engine is warm.", "蒸汽机的发明改变了世界", "100% sure_thing"]),
        ]
    ):
        made = [
            item(f"{number}{place}", text=text, created_at=AT + 10 * number + place)
            for place, text in enumerate(texts)
        ]
        held = conversation(number, title=title, updated_at=AT + number)
        await store.chat.add_conversation(held, made)
    theirs = conversation(8, title="Steam", project=THEIRS)
    await store.chat.add_conversation(theirs, [item("8", text="steam engine")])
    yours = conversation(9, title="Steam", user=YOU)
    await store.chat.add_conversation(yours, [item("9", text="steam engine")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steam", ["conv_000", "msg_00"]),
        ("ENGINE", ["conv_000", "msg_10", "msg_00"]),
        ("engin", ["conv_000", "msg_10", "msg_00"]),
        ("steam engine", ["conv_000", "msg_00"]),
        ("steam eng", ["conv_000", "msg_00"]),
        ("engine diesel", []),
        ("发明", ["msg_11"]),
        ("sure_th", ["msg_12"]),
        ("100", ["msg_12"]),
        ("or and not near", []),
    ],
)
async def test_words_are_found_in_titles_and_messages(
    store: Store, text: str, expected: list[str]
) -> None:
    await furnish(store)
    assert await found(store, text) == expected


async def test_search_is_for_ones_own_and_follows_deletions(store: Store) -> None:
    await furnish(store)
    assert await found(store, "steam", THEIRS) == ["conv_008", "msg_8"]
    assert await found(store, "steam", MINE, YOU) == ["conv_009", "msg_9"]
    assert await found(store, "steam", THEIRS, YOU) == []
    assert len(await found(store, "engine", limit=1)) == 1
    assert await store.chat.delete_item(conversation(1).id, ItemId("msg_10"))
    assert await found(store, "warm") == []
    assert await store.chat.delete_conversation(conversation(0).id, MINE)
    assert await found(store, "steam") == []
    await store.archive.scrub(words=True)
    assert await found(store, "sure") == ["msg_12"]


def share(number: int = 1, **changes: Any) -> Share:
    made = Share(
        id=ShareId(f"share_{number}"),
        secret_hash=f"hash_{number}",
        conversation=conversation(1).id,
        project=MINE,
        user=ME,
        leaf=ItemId("msg_b"),
        created_at=AT + number,
    )
    return replace(made, **changes)


async def test_a_link_lives_until_it_or_its_conversation_is_deleted(store: Store) -> None:
    held = conversation(1, title="Milk")
    parts = [item("a"), item("b", parent=ItemId("msg_a"))]
    await store.chat.add_conversation(held, parts)
    for number in (2, 1):
        assert await store.archive.add_share(share(number), shares_max=2)
    assert not await store.archive.add_share(share(3), shares_max=2)
    assert await store.archive.find_share("hash_1") == (share(1), "Milk")
    assert await store.archive.find_share("hash_9") is None
    assert await store.archive.list_shares(held.id) == [share(1), share(2)]
    assert not await store.archive.delete_share(share(1).id, THEIRS)
    assert await store.archive.delete_share(share(1).id, MINE)
    assert await store.archive.find_share("hash_1") is None
    # A deleted item does not make the rest unreachable.
    assert await store.chat.delete_item(held.id, ItemId("msg_b"))
    assert await store.archive.list_shares(held.id) == [share(2, leaf=ItemId("msg_a"))]
    assert await store.chat.delete_conversation(held.id, MINE)
    assert await store.archive.find_share("hash_2") is None


async def test_old_conversations_go_the_oldest_first(store: Store) -> None:
    for number in range(4):
        held = conversation(number, updated_at=AT + number, pinned=number == 0)
        await store.chat.add_conversation(held, [item(str(number))])
    assert await store.archive.delete_idle_conversations(AT + 3, limit=2) == 2
    assert await store.chat.find_conversation(conversation(0).id, MINE) is None
    assert await store.archive.delete_idle_conversations(AT + 3, limit=2) == 1
    assert await store.archive.delete_idle_conversations(AT + 3, limit=2) == 0
    assert await store.chat.find_conversation(conversation(3).id, MINE) is not None
    await store.chat.add_conversation(conversation(0), [item("0")])


async def test_old_responses_go_and_those_in_progress_or_in_conversations_stay(
    store: Store,
) -> None:
    await store.chat.add_conversation(conversation(1), [])
    kinds: list[dict[str, Any]] = [
        {"stored": False},
        {},
        {"stored": False},
        {"conversation": conversation(1).id},
    ]
    for number, changes in enumerate(kinds):
        opened = response(number, **changes)
        await store.chat.open_response(opened, [item(f"q{number}")], AT)
        if number != 2:
            output = item(f"a{number}", parent=ItemId(f"msg_q{number}"))
            done = finished(opened, output=(output,), finished_at=AT + 5)
            assert await store.chat.finish_response(done, None)
    assert await store.archive.delete_old_responses(AT + 5, stored=False, limit=9) == 0
    assert await store.archive.delete_old_responses(AT + 6, stored=False, limit=9) == 1
    assert await store.chat.find_response(response(0).id, MINE) is None
    assert await store.threads.list_path(ItemId("msg_a0"), limit=9) == []
    assert await store.archive.delete_old_responses(AT + 6, stored=True, limit=9) == 1
    assert await store.chat.find_response(response(2).id, MINE) is not None
    assert await store.chat.find_response(response(3).id, MINE) is not None


async def test_what_was_deleted_is_in_no_file_of_the_database(sqlite: SqliteOpener) -> None:
    secret = "xylophonquartett"
    async with sqlite.open() as store:
        kept = conversation(2, title="kept")
        await store.chat.add_conversation(kept, [item("kept", text="something else")])
        held = conversation(1, title=secret)
        await store.chat.add_conversation(held, [item("a", text=f"My {secret} is a secret.")])
        await store.archive.scrub(words=False)
        assert secret in files_of(sqlite.path)
        assert await store.chat.delete_conversation(held.id, MINE)
        await store.archive.scrub(words=True)
        assert secret not in files_of(sqlite.path)
        assert await found(store, "something") == ["msg_kept"]


def files_of(path: Path) -> str:
    return "".join(
        file.read_bytes().decode("latin-1") for file in path.parent.iterdir() if file.is_file()
    )
