"""The log and the places to resume from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.rules.resume import (
    Ended,
    ReadFrom,
    Refused,
    decide,
    parse_event_id,
    spell_event_id,
)
from tokenyard.chat.rules.stream_log import LogClosed, LogFull, StreamLog

RESPONSE = "resp_" + "a" * 24


def test_log_numbers_without_a_gap_and_closes_once() -> None:
    log = StreamLog(events_max=10)
    assert [log.append("t", b"x").sequence for _ in range(3)] == [0, 1, 2]
    log.append("end", b"", final=True)
    assert log.closed
    for final in (False, True):
        with pytest.raises(LogClosed):
            log.append("t", b"late", final=final)
    assert [event.sequence for event in log.read(0, 99)] == [0, 1, 2, 3]


def test_full_log_keeps_room_for_the_end() -> None:
    log = StreamLog(events_max=3)
    log.append("t", b"")
    log.append("t", b"")
    with pytest.raises(LogFull):
        log.append("t", b"")
    assert log.append("end", b"", final=True).sequence == 2


@given(st.integers(0, 50), st.booleans(), st.integers(1, 9))
def test_any_reader_gets_each_event_once(events: int, closed: bool, step: int) -> None:
    log = StreamLog(events_max=100)
    for number in range(events):
        log.append("t", str(number).encode())
    if closed:
        log.append("end", b"end", final=True)
    cursor, seen = 0, []
    while batch := log.read(cursor, step):
        assert len(batch) <= step
        seen += [event.sequence for event in batch]
        cursor += len(batch)
    assert seen == list(range(log.next_sequence))


@pytest.mark.parametrize(
    ("after", "following", "closed", "expected"),
    [
        (None, 0, False, ReadFrom(0)),
        (None, 5, True, ReadFrom(0)),
        (0, 5, False, ReadFrom(1)),
        (4, 5, False, ReadFrom(5)),
        (4, 5, True, Ended()),
        (3, 5, True, ReadFrom(4)),
    ],
)
def test_where_to_go_on(
    after: int | None, following: int, closed: bool, expected: ReadFrom | Ended
) -> None:
    assert decide(after, next_sequence=following, closed=closed) == expected


@pytest.mark.parametrize(("after", "following"), [(-1, 5), (5, 5), (0, 0), (99, 5)])
def test_impossible_place_is_refused(after: int, following: int) -> None:
    assert isinstance(decide(after, next_sequence=following, closed=False), Refused)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_event_id_is_read_back(epoch: int, sequence: int) -> None:
    assert parse_event_id(spell_event_id(RESPONSE, epoch, sequence), RESPONSE) == sequence


@pytest.mark.parametrize(
    "text", ["", "5", f"{RESPONSE}.1", f"{RESPONSE}.1.-1", f"{RESPONSE}.1.5 ", f"x{RESPONSE}.1.5"]
)
def test_event_id_of_elsewhere_is_refused(text: str) -> None:
    assert isinstance(parse_event_id(text, RESPONSE), Refused)
    assert isinstance(parse_event_id(f"resp_{'b' * 24}.1.5", RESPONSE), Refused)
