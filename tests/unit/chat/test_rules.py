"""Logs, places to resume from, seams, leases, patience, and the gathering of text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.records import FunctionCall, ItemKind
from tokenyard.chat.rules.continuing import Next, Patience, decide_next
from tokenyard.chat.rules.leases import find_dead, observe
from tokenyard.chat.rules.merging import WINDOWS_SECONDS, Pace, choose_window
from tokenyard.chat.rules.resume import (
    Cursor,
    Ended,
    LogState,
    ReadFrom,
    Refused,
    Resync,
    decide,
    parse_event_id,
    spell_event_id,
)
from tokenyard.chat.rules.seam import Diverged, Fresh, Part, Seam
from tokenyard.chat.rules.stream_log import LogGap, LoggedEvent, Ring
from tokenyard.vocabulary.ids import ProducerId
from tokenyard.vocabulary.reasons import Reason

RESPONSE = "resp_" + "a" * 24
A, B = ProducerId("prod_a"), ProducerId("prod_b")


def events(start: int, end: int) -> list[LoggedEvent]:
    return [LoggedEvent(number, 1, "t", b"%d" % number, b"") for number in range(start, end)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=20), st.integers(1, 9))
def test_ring_keeps_each_event_once_and_in_order(
    sent: list[tuple[int, int]], events_max: int
) -> None:
    """Chunks come doubled, overlapping, or too early; a reader sees none of that."""
    ring, seen = Ring(events_max), 0
    for start, count in sent:
        before = ring.following
        if start > before:
            with pytest.raises(LogGap):
                ring.extend(events(start, start + count))
        else:
            ring.extend(events(start, start + count))
            assert ring.following == max(before, start + count)
        batch = ring.read(seen, 99)
        assert [event.sequence for event in batch] == list(range(seen, ring.following))
        seen = ring.following
        ring.trim()
        assert ring.following == seen
        assert seen - ring.first <= 2 * events_max


def test_nothing_follows_the_end() -> None:
    ring = Ring(10)
    ring.extend(events(0, 2), final=True)
    assert ring.extend(events(2, 3)) == 0
    assert ring.following == 2


def state(
    following: int, *, closed: bool = False, first: int | None = 0, at: int | None = None
) -> LogState:
    return LogState(first, following, epoch=2, closed=closed, epoch_at_cursor=at)


@pytest.mark.parametrize(
    ("cursor", "log", "expected"),
    [
        (None, state(0), ReadFrom(0)),
        (None, state(5, closed=True), ReadFrom(0)),
        (Cursor(0), state(5), ReadFrom(1)),
        (Cursor(4), state(5), ReadFrom(5)),
        (Cursor(4), state(5, closed=True), Ended()),
        # Ahead of the log: it was lost, or the number was never given out.
        (Cursor(5), state(5), Resync()),
        (Cursor(5), state(5, closed=True), Resync()),
        # No longer kept.
        (Cursor(1), state(9, first=3), Resync()),
        (Cursor(2), state(9, first=3), ReadFrom(3)),
        (None, state(9, first=3), Resync()),
        (Cursor(3), state(9, closed=True, first=None), Resync()),
        (Cursor(8), state(9, closed=True, first=None), Ended()),
        # Of an earlier producer, whose event still stands, or does not.
        (Cursor(3, 1), state(9, at=1), ReadFrom(4)),
        (Cursor(3, 1), state(9, at=2), Resync()),
        (Cursor(3, 2), state(9), ReadFrom(4)),
        (Cursor(3, 3), state(9), Resync()),
    ],
)
def test_where_a_reader_goes_on(cursor: Cursor | None, log: LogState, expected: object) -> None:
    assert decide(cursor, log) == expected


@given(st.integers(0, 200), st.integers(0, 220), st.booleans(), st.integers(0, 200))
def test_a_cursor_never_leads_to_a_gap(following: int, seen: int, closed: bool, first: int) -> None:
    log = LogState(min(first, following), following, 1, closed)
    match decide(Cursor(seen), log):
        case ReadFrom(sequence):
            assert sequence == seen + 1 <= following
            assert log.first is not None
            assert sequence >= log.first
        case Ended():
            assert closed
            assert seen + 1 == following


@given(st.integers(0, 10**8), st.integers(1, 10**6))
def test_event_id_comes_back(sequence: int, epoch: int) -> None:
    text = spell_event_id(RESPONSE, epoch, sequence)
    assert parse_event_id(text, RESPONSE) == Cursor(sequence, epoch)
    assert isinstance(parse_event_id(text, "resp_" + "b" * 24), Refused)


@pytest.mark.parametrize("text", ["", "7", "-1", "x.1.2", f"{RESPONSE}.1", f"{RESPONSE}.1.-1"])
def test_other_event_ids_are_refused(text: str) -> None:
    assert isinstance(parse_event_id(text, RESPONSE), Refused)


def call(name: str) -> FunctionCall:
    return FunctionCall("call_" + name, name)


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([ItemKind.MESSAGE, ItemKind.REASONING, ItemKind.FUNCTION_CALL]),
        st.text(min_size=1, max_size=12),
    ),
    max_size=5,
)


def cut(kind: ItemKind, text: str, data: st.DataObject) -> list[Part]:
    """An item as a server may send it."""
    parts = [Part(kind, "", call("f"))] if kind is ItemKind.FUNCTION_CALL else []
    while text:
        length = data.draw(st.integers(1, len(text)))
        parts.append(Part(kind, text[:length]))
        text = text[length:]
    return parts


def join(parts: list[Part]) -> list[tuple[ItemKind, str]]:
    """Items as a reader has them, whatever they were cut into."""
    items: list[tuple[ItemKind, str]] = []
    for part in parts:
        if items and part.call is None and items[-1][0] is part.kind:
            items[-1] = (part.kind, items[-1][1] + part.text)
        else:
            items.append((part.kind, part.text))
    return items


@given(ENTRIES, st.data())
def test_a_repetition_shows_only_what_is_new(
    entries: list[tuple[ItemKind, str]], data: st.DataObject
) -> None:
    whole = [part for kind, text in entries for part in cut(kind, text, data)]
    shown = whole[: data.draw(st.integers(0, len(whole)))]
    seam = Seam(shown)
    fresh: list[Part] = []
    again = [part for kind, text in join(whole) for part in cut(kind, text, data)]
    while again:
        count = data.draw(st.integers(1, len(again)))
        taken = seam.take(again[:count])
        assert isinstance(taken, Fresh)
        fresh += taken.parts
        again = again[count:]
    assert join([*shown, *fresh]) == join(whole)
    assert not seam.open


def words(text: str) -> list[Part]:
    return [Part(ItemKind.MESSAGE, text)]


def test_a_repetition_that_says_something_else_is_told_whole() -> None:
    seam = Seam(words("Hello, world"))
    assert seam.take(words("Hel")) == Fresh()
    assert seam.open
    assert seam.take(words("p, ")) == Diverged((*words("Hel"), *words("p, ")))
    assert seam.take(words("me")) == Fresh((*words("me"),))


@pytest.mark.parametrize(
    "other",
    [
        words('{"a":1}'),
        [Part(ItemKind.REASONING, '{"a":1}')],
        [Part(ItemKind.FUNCTION_CALL, '{"a":1}', call("g"))],
        [Part(ItemKind.FUNCTION_CALL, '{"b":', call("f"))],
    ],
)
def test_another_kind_or_function_is_something_else(other: list[Part]) -> None:
    seam = Seam([Part(ItemKind.FUNCTION_CALL, '{"a":', call("f"))])
    assert seam.take(other) == Diverged(tuple(other))


def test_a_producer_is_dead_when_its_count_stands_still() -> None:
    seen = observe({}, {A: 1, B: 1}, 100.0)
    assert find_dead(seen, 100.0, 2.0) == frozenset()
    seen = observe(seen, {A: 2, B: 1}, 101.5)
    assert find_dead(seen, 102.0, 2.0) == {B}
    seen = observe(seen, {A: 2, B: 2}, 103.0)
    assert find_dead(seen, 103.5, 2.0) == {A}
    assert observe(seen, {A: 2}, 104.0).keys() == {A}


@pytest.mark.parametrize(
    ("reason", "failures", "waited", "expected"),
    [
        (Reason.UPSTREAM_FAILED, 1, 0.0, Next.AT_ONCE),
        (Reason.UPSTREAM_FAILED, 3, 0.0, Next.GIVE_UP),
        (Reason.MODEL_LOADING, 1, 9.9, Next.AFTER_A_WHILE),
        (Reason.MODEL_LOADING, 1, 10.0, Next.GIVE_UP),
        (Reason.QUEUE_FULL, 99, 0.0, Next.AFTER_A_WHILE),
        (Reason.INVALID_VALUE, 1, 0.0, Next.GIVE_UP),
        (Reason.GENERATION_FAILED, 1, 0.0, Next.GIVE_UP),
    ],
)
def test_what_is_worth_another_server(
    reason: Reason, failures: int, waited: float, expected: Next
) -> None:
    patience = Patience(attempts_max=3, wait_seconds_max=10.0)
    assert (
        decide_next(reason, failures=failures, waited_seconds=waited, patience=patience) is expected
    )


def test_text_is_gathered_only_under_load_and_never_for_long() -> None:
    window = 0.0
    for _ in range(10):
        window = choose_window(window, 1.0, 100.0)
    assert window == max(WINDOWS_SECONDS)
    assert choose_window(window, 0.03, 100.0) == window
    for _ in range(10):
        window = choose_window(window, 0.0, 100.0)
    assert window == 0.0


def test_nothing_is_gathered_where_a_window_would_hold_one_piece() -> None:
    # Four pieces a second: the longest window holds one, and would only make readers wait.
    assert choose_window(0.0, 1.0, 4.0) == 0.0
    assert choose_window(0.25, 0.03, 4.0) == 0.0
    # Thirty: windows of less than two pieces are left out, in both directions.
    assert [choose_window(one, 1.0, 30.0) for one in (0.0, 0.05, 0.1, 0.25)] == (
        [0.05, 0.1, 0.25, 0.25]
    )
    assert [choose_window(one, 0.0, 30.0) for one in (0.25, 0.1, 0.05)] == [0.1, 0.05, 0.0]


def test_the_pace_of_an_answer_is_that_of_the_last_second() -> None:
    pace = Pace()
    assert pace.look(["a"], 0.0) == 0.0
    pace.pieces += 40
    assert pace.look(["a", "b"], 0.5) == 0.0
    assert pace.look(["a"], 2.0) == 10.0
    pace.pieces += 3
    assert pace.look(["c"], 2.5) == 10.0
    assert pace.look(["c"], 3.0) == 3.0
