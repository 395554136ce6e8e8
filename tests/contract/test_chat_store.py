"""The contract of `chat.ports.ChatStore`, over every store that keeps it."""

import asyncio
from dataclasses import replace

import pytest

from contract.conftest import Store
from contract.samples import (
    AT,
    ME,
    MINE,
    STRANGE_TEXT,
    THEIRS,
    YOU,
    conversation,
    finished,
    item,
    response,
    usage_row,
)
from tokenyard.chat.ports import ChatStore
from tokenyard.chat.records import FunctionCall, Item, ItemKind, ResponseStatus, Tip
from tokenyard.ledger.ports import GroupBy
from tokenyard.vocabulary.errors import Conflict, InternalFailure, InvalidRequest, NotFound
from tokenyard.vocabulary.ids import ConversationId, ItemId, ResponseId
from tokenyard.vocabulary.reasons import Reason

FIRST = conversation(1)


@pytest.fixture
def chat(store: Store) -> ChatStore:
    return store.chat


async def bill_ids(store: Store) -> list[str]:
    totals = await store.ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL)
    return [f"{total.group}:{total.requests}" for total in totals]


async def test_a_conversation_comes_back_as_it_went_in(chat: ChatStore) -> None:
    await chat.add_conversation(FIRST, [item("a"), item("b", complete=False)])
    assert await chat.find_conversation(FIRST.id, MINE) == FIRST
    found = await chat.list_items(FIRST.id, limit=10)
    assert found == [item("a"), item("b", complete=False)]
    assert await chat.count_items(FIRST.id) == 2


async def test_what_is_not_there(chat: ChatStore) -> None:
    nothing = ConversationId("conv_none")
    assert await chat.find_conversation(nothing, MINE) is None
    assert await chat.find_response(ResponseId("resp_none"), MINE) is None
    assert await chat.list_conversations(MINE, ME, limit=10, after=None) == []
    assert await chat.list_items(nothing, limit=10) == []
    assert await chat.count_items(nothing) == 0
    assert await chat.sum_costs(nothing) == 0
    assert not await chat.set_metadata(nothing, MINE, {})
    assert not await chat.delete_conversation(nothing, MINE)
    assert await chat.fail_abandoned(Reason.PRODUCER_LOST, "gone", AT) == 0


async def test_another_project_sees_and_changes_nothing(chat: ChatStore) -> None:
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [item("a")])
    await chat.open_response(opened, [], AT)
    assert await chat.find_conversation(FIRST.id, THEIRS) is None
    assert await chat.list_conversations(THEIRS, ME, limit=10, after=None) == []
    assert not await chat.set_metadata(FIRST.id, THEIRS, {"mine": "now"})
    assert not await chat.delete_conversation(FIRST.id, THEIRS)
    assert await chat.find_response(opened.id, THEIRS) is None
    with pytest.raises(NotFound):
        await chat.open_response(response(2, conversation=FIRST.id, project=THEIRS), [], AT)
    with pytest.raises(InvalidRequest):
        await chat.list_conversations(THEIRS, ME, limit=10, after=FIRST.id)
    assert await chat.find_conversation(FIRST.id, MINE) == FIRST
    assert await chat.find_response(opened.id, MINE) == opened


async def test_another_user_of_the_project_has_a_list_of_their_own(chat: ChatStore) -> None:
    await chat.add_conversation(FIRST, [])
    await chat.add_conversation(conversation(2, user=YOU), [])
    assert await chat.list_conversations(MINE, ME, limit=10, after=None) == [FIRST]
    with pytest.raises(InvalidRequest):
        await chat.list_conversations(MINE, YOU, limit=10, after=FIRST.id)


async def test_pages_of_conversations_are_whole_even_when_times_are_equal(
    chat: ChatStore,
) -> None:
    for number in range(20):
        await chat.add_conversation(conversation(number, updated_at=AT + number // 7), [])
    whole = await chat.list_conversations(MINE, ME, limit=100, after=None)
    assert len(whole) == 20
    times = [held.updated_at for held in whole]
    assert times == sorted(times, reverse=True)
    for size in (1, 3, 7, 20):
        paged, after = [], None
        while page := await chat.list_conversations(MINE, ME, limit=size, after=after):
            assert len(page) <= size
            paged += page
            after = page[-1].id
        assert paged == whole


async def test_pages_of_items_run_both_ways(chat: ChatStore) -> None:
    # Equal times and ids out of order: only the order of adding counts.
    names = [f"{number * 7 % 20:02}" for number in range(20)]
    await chat.add_conversation(FIRST, [item(name) for name in names[:10]])
    await chat.add_conversation(conversation(2), [item("other")])
    await chat.open_response(
        response(conversation=FIRST.id), [item(name) for name in names[10:]], AT
    )
    for newest_first in (False, True):
        ordered = [f"msg_{name}" for name in (reversed(names) if newest_first else names)]
        for size in (1, 6, 20):
            paged: list[str] = []
            after: ItemId | None = None
            while page := await chat.list_items(
                FIRST.id, limit=size, after=after, newest_first=newest_first
            ):
                paged += [held.id for held in page]
                after = page[-1].id
            assert paged == ordered


async def test_a_cursor_that_names_nothing_is_refused(chat: ChatStore) -> None:
    await chat.add_conversation(FIRST, [item("a")])
    await chat.add_conversation(conversation(2), [item("b")])
    for after in ("msg_none", "msg_b"):
        with pytest.raises(InvalidRequest) as refusal:
            await chat.list_items(FIRST.id, limit=10, after=ItemId(after))
        assert refusal.value.reason is Reason.INVALID_CURSOR
        assert refusal.value.param == "after"
    with pytest.raises(InvalidRequest) as refusal:
        await chat.list_conversations(MINE, ME, limit=10, after=ConversationId("conv_none"))
    assert refusal.value.reason is Reason.INVALID_CURSOR


async def test_metadata_is_replaced_whole(chat: ChatStore) -> None:
    await chat.add_conversation(FIRST, [])
    assert await chat.set_metadata(FIRST.id, MINE, {"only": STRANGE_TEXT})
    assert await chat.find_conversation(FIRST.id, MINE) == replace(
        FIRST, metadata={"only": STRANGE_TEXT}
    )


async def test_an_answer_from_its_opening_to_its_end(chat: ChatStore, store: Store) -> None:
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [item("a")])
    await chat.add_conversation(conversation(2, updated_at=AT + 1), [])
    await chat.open_response(opened, [item("b"), item("c")], AT + 2)
    assert await chat.find_response(opened.id, MINE) == opened
    recent = await chat.list_conversations(MINE, ME, limit=10, after=None)
    assert [(held.id, held.updated_at) for held in recent] == [
        (FIRST.id, AT + 2),
        ("conv_002", AT + 1),
    ]
    done = finished(opened)
    assert await chat.finish_response(done, usage_row())
    assert await chat.find_response(opened.id, MINE) == done
    assert await chat.sum_costs(FIRST.id) == done.cost_nanos
    items = await chat.list_items(FIRST.id, limit=10)
    assert [held.id for held in items] == ["msg_a", "msg_b", "msg_c", "msg_of_resp_001"]
    assert [held.response for held in items] == [None, opened.id, opened.id, opened.id]
    assert items[-1:] == list(done.output)
    moved = await chat.find_conversation(FIRST.id, MINE)
    assert moved is not None
    assert moved.updated_at == done.finished_at
    assert await bill_ids(store) == ["tiny:1"]


async def test_a_response_without_a_conversation(chat: ChatStore) -> None:
    opened = response(key=None, instructions=None, metadata={})
    await chat.open_response(opened, [item("a")], AT)
    done = finished(
        opened,
        status=ResponseStatus.FAILED,
        usage=None,
        cost_nanos=None,
        pace=None,
        output=(),
        error_reason=Reason.UPSTREAM_FAILED,
        error_message=STRANGE_TEXT,
    )
    assert await chat.finish_response(done, None)
    assert await chat.find_response(opened.id, MINE) == done


async def test_a_conversation_is_answered_once_at_a_time(chat: ChatStore) -> None:
    """Of many who ask at the same time one does, from whichever process."""
    await chat.add_conversation(FIRST, [])
    asking = [response(number, conversation=FIRST.id) for number in range(1, 21)]
    outcomes = await asyncio.gather(
        *(chat.open_response(one, [item(one.id)], AT, tip=Tip(None)) for one in asking),
        return_exceptions=True,
    )
    [first] = [one for one, outcome in zip(asking, outcomes, strict=True) if outcome is None]
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert {getattr(one, "reason", one) for one in refused} == {Reason.CONVERSATION_BUSY}
    assert await chat.list_active([FIRST.id, ConversationId("conv_none")]) == {FIRST.id: first.id}
    assert await chat.count_items(FIRST.id) == 1
    answer = item("answer", parent=ItemId(f"msg_{first.id}"), response=first.id)
    assert await chat.finish_response(finished(first, output=(answer,)), None)
    assert await chat.list_active([FIRST.id]) == {}
    late = response(30, conversation=FIRST.id)
    for tip in (Tip(None), Tip(ItemId(f"msg_{first.id}"))):
        with pytest.raises(Conflict):
            # Its question was made before the answer was there.
            await chat.open_response(late, [item("late")], AT, tip=tip)
    await chat.open_response(late, [item("late")], AT, tip=Tip(answer.id))


async def test_an_answer_may_have_several_items(chat: ChatStore) -> None:
    """A thought, words and a call, one below the other; one of them can be deleted by itself."""
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [])
    asked = item("q", response=opened.id)
    await chat.open_response(opened, [asked], AT)
    said: list[Item] = []
    for name, kind, call in (
        ("thought", ItemKind.REASONING, None),
        ("words", ItemKind.MESSAGE, None),
        ("call", ItemKind.FUNCTION_CALL, FunctionCall("call_1", "look_up")),
    ):
        above = (said[-1] if said else asked).id
        said.append(item(name, kind=kind, call=call, parent=above, response=opened.id))
    done = finished(opened, output=tuple(said))
    assert await chat.finish_response(done, None)
    assert await chat.find_response(opened.id, MINE) == done
    moved = await chat.find_conversation(FIRST.id, MINE)
    assert moved is not None
    assert moved.leaf == said[-1].id
    assert await chat.delete_item(FIRST.id, said[0].id)
    left = await chat.find_response(opened.id, MINE)
    assert left is not None
    assert [one.id for one in left.output] == [one.id for one in said[1:]]


async def test_an_answer_ends_once(chat: ChatStore, store: Store) -> None:
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [])
    await chat.open_response(opened, [], AT)
    done = finished(opened)
    assert await chat.finish_response(done, usage_row())
    later = finished(
        opened, status=ResponseStatus.CANCELLED, output=(item("late"),), finished_at=AT + 9
    )
    assert not await chat.finish_response(later, usage_row("another"))
    assert await chat.find_response(opened.id, MINE) == done
    assert await chat.count_items(FIRST.id) == 1
    assert await bill_ids(store) == ["tiny:1"]


async def test_of_many_who_end_the_same_answer_one_does(chat: ChatStore, store: Store) -> None:
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [])
    await chat.open_response(opened, [], AT)
    ends = [
        finished(opened, output=(item(f"try_{number}"),), incomplete_reason=str(number))
        for number in range(100)
    ]
    won = await asyncio.gather(*(chat.finish_response(end, usage_row(end.id)) for end in ends))
    assert won.count(True) == 1
    held = await chat.find_response(opened.id, MINE)
    assert held is not None
    assert held.incomplete_reason == str(won.index(True))
    assert [one.id for one in held.output] == [f"msg_try_{won.index(True)}"]
    assert await chat.count_items(FIRST.id) == 1
    assert await bill_ids(store) == ["tiny:1"]


async def test_an_answer_whose_bill_was_written_before_still_ends(
    chat: ChatStore, store: Store
) -> None:
    opened = response()
    await chat.open_response(opened, [], AT)
    assert await store.ledger.add_usage(usage_row(opened.id))
    assert await chat.finish_response(finished(opened), usage_row(opened.id))
    assert await bill_ids(store) == ["tiny:1"]


async def test_the_end_of_an_answer_must_be_an_end(chat: ChatStore) -> None:
    opened = response()
    await chat.open_response(opened, [], AT)
    with pytest.raises(ValueError, match="final"):
        await chat.finish_response(opened, None)
    with pytest.raises(ValueError, match="time"):
        await chat.finish_response(finished(opened, finished_at=None), None)
    assert await chat.find_response(opened.id, MINE) == opened


async def test_deleting_removes_items_and_responses_but_no_bill(
    chat: ChatStore, store: Store
) -> None:
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [item("a")])
    await chat.add_conversation(conversation(2), [item("kept")])
    await chat.open_response(opened, [item("b")], AT)
    assert await chat.finish_response(finished(opened), usage_row())
    assert await chat.delete_conversation(FIRST.id, MINE)
    assert not await chat.delete_conversation(FIRST.id, MINE)
    assert await chat.find_conversation(FIRST.id, MINE) is None
    assert await chat.list_items(FIRST.id, limit=10) == []
    assert await chat.count_items(FIRST.id) == 0
    assert await chat.find_response(opened.id, MINE) is None
    assert await chat.count_items(ConversationId("conv_002")) == 1
    assert await bill_ids(store) == ["tiny:1"]
    # Its ids are free again: nothing of it is left behind.
    await chat.add_conversation(FIRST, [item("a"), item("b"), item("of_resp_001")])
    await chat.open_response(opened, [], AT)


async def test_an_answer_whose_conversation_was_deleted_is_billed_once(
    chat: ChatStore, store: Store
) -> None:
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [])
    await chat.open_response(opened, [], AT)
    assert await chat.delete_conversation(FIRST.id, MINE)
    assert await chat.finish_response(finished(opened), usage_row())
    assert not await chat.finish_response(finished(opened), usage_row())
    assert not await chat.finish_response(finished(opened), None)
    assert await bill_ids(store) == ["tiny:1"]
    assert await chat.find_response(opened.id, MINE) is None
    assert await chat.count_items(FIRST.id) == 0


async def test_nothing_is_appended_to_a_conversation_that_is_gone(chat: ChatStore) -> None:
    opened = response(conversation=ConversationId("conv_none"))
    with pytest.raises(NotFound):
        await chat.open_response(opened, [item("a")], AT)
    assert await chat.find_response(opened.id, MINE) is None
    # The refused item left nothing behind either.
    await chat.add_conversation(FIRST, [item("a")])


async def test_the_same_id_twice_is_refused_whole(chat: ChatStore) -> None:
    opened = response(conversation=FIRST.id)
    await chat.add_conversation(FIRST, [item("a")])
    await chat.open_response(opened, [item("b")], AT)
    with pytest.raises(InternalFailure):
        await chat.add_conversation(FIRST, [])
    with pytest.raises(InternalFailure):
        await chat.add_conversation(conversation(2), [item("x"), item("a")])
    with pytest.raises(InternalFailure):
        await chat.add_conversation(conversation(2), [item("x"), item("x")])
    with pytest.raises((InternalFailure, Conflict)):
        await chat.open_response(opened, [item("x")], AT + 9)
    with pytest.raises(InternalFailure):
        await chat.open_response(response(2), [item("a")], AT + 9)
    with pytest.raises(InternalFailure):
        await chat.finish_response(finished(opened, output=(item("a"),)), usage_row())
    assert await chat.find_conversation(FIRST.id, MINE) == replace(FIRST, leaf=ItemId("msg_b"))
    assert await chat.find_conversation(ConversationId("conv_002"), MINE) is None
    assert await chat.find_response(ResponseId("resp_002"), MINE) is None
    assert await chat.find_response(opened.id, MINE) == opened
    assert [held.id for held in await chat.list_items(FIRST.id, limit=9)] == ["msg_a", "msg_b"]


async def test_time_never_moves_a_conversation_down(chat: ChatStore) -> None:
    await chat.add_conversation(FIRST, [])
    await chat.open_response(response(conversation=FIRST.id), [], AT - 100)
    assert await chat.find_conversation(FIRST.id, MINE) == FIRST


async def test_what_was_in_progress_when_its_process_died_is_failed(chat: ChatStore) -> None:
    await chat.add_conversation(FIRST, [])
    lost, done = response(1, conversation=FIRST.id), response(2)
    await chat.open_response(lost, [item("a")], AT)
    await chat.open_response(done, [], AT)
    assert await chat.finish_response(finished(done), None)
    assert await chat.fail_abandoned(Reason.PRODUCER_LOST, "The server stopped.", AT + 9) == 1
    assert await chat.fail_abandoned(Reason.PRODUCER_LOST, "The server stopped.", AT + 9) == 0
    assert await chat.find_response(lost.id, MINE) == replace(
        lost,
        status=ResponseStatus.FAILED,
        finished_at=AT + 9,
        error_reason=Reason.PRODUCER_LOST,
        error_message="The server stopped.",
    )
    assert await chat.find_response(done.id, MINE) == finished(done)
    assert not await chat.finish_response(finished(lost), usage_row("late"))


async def test_many_conversations_at_once_do_not_mix(chat: ChatStore) -> None:
    async def talk(number: int) -> None:
        held = conversation(number)
        await chat.add_conversation(held, [item(f"{number}-0")])
        for turn in range(1, 4):
            opened = response(number * 10 + turn, conversation=held.id)
            await chat.open_response(opened, [item(f"{number}-{turn}-q")], AT + turn)
            end = finished(opened, output=(item(f"{number}-{turn}-a"),))
            assert await chat.finish_response(end, usage_row(opened.id))

    await asyncio.gather(*(talk(number) for number in range(30)))
    for number in range(30):
        names = [held.id for held in await chat.list_items(conversation(number).id, limit=99)]
        turns = [f"msg_{number}-{turn}-{who}" for turn in range(1, 4) for who in "qa"]
        assert names == [f"msg_{number}-0", *turns]


@pytest.mark.parametrize("inside", [True, False])
async def test_a_deleted_response_is_gone_and_its_conversation_is_whole(
    chat: ChatStore, store: Store, inside: bool
) -> None:
    if inside:
        await chat.add_conversation(FIRST, [])
    made = response(conversation=FIRST.id if inside else None)
    await chat.open_response(made, [item("asked")], AT)
    assert not await chat.delete_response(made.id, MINE), "it is in progress"
    await chat.finish_response(finished(made), usage_row())
    told = [(one.id, one.response) for one in await chat.list_response_items(made.id)]
    assert told == [("msg_asked", made.id), (f"msg_of_{made.id}", made.id)]
    assert not await chat.delete_response(made.id, THEIRS)
    assert await chat.delete_response(made.id, MINE)
    assert not await chat.delete_response(made.id, MINE)
    assert await chat.find_response(made.id, MINE) is None
    assert len(await chat.list_response_items(made.id)) == (2 if inside else 0)
    assert await chat.count_items(FIRST.id) == (2 if inside else 0)
    assert await bill_ids(store) == ["tiny:1"]


async def test_items_are_added_found_and_deleted_in_their_conversation(chat: ChatStore) -> None:
    other = conversation(2)
    await chat.add_conversation(FIRST, [item("a")])
    await chat.add_conversation(other, [])
    assert not await chat.add_items(FIRST.id, THEIRS, [item("b")], AT + 1)
    assert await chat.add_items(FIRST.id, MINE, [item("b"), item("c")], AT + 1)
    assert (await chat.list_conversations(MINE, ME, limit=1, after=None))[0].id == FIRST.id
    assert await chat.find_item(FIRST.id, ItemId("msg_b")) == item("b")
    assert await chat.find_item(other.id, ItemId("msg_b")) is None
    assert not await chat.delete_item(other.id, ItemId("msg_b"))
    assert await chat.delete_item(FIRST.id, ItemId("msg_b"))
    assert not await chat.delete_item(FIRST.id, ItemId("msg_b"))
    assert [one.id for one in await chat.list_items(FIRST.id, limit=9)] == ["msg_a", "msg_c"]
