"""Server-sent events survive every cut and every line ending."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.protocol.sse import (
    HEARTBEAT,
    SseCutter,
    SseEvent,
    SseParser,
    comment,
    count_plain,
    data_of,
    frame,
)

WIRE = (
    "\ufeffdata: one\r\n\r\n: comment\n\nevent: e\rid: 7\rdata: zwölf 🙂\rdata:second\r\r"
    "data\n\nid: bad\0id\nretry: 5\ndata:  kept space\n\n"
).encode()
EVENTS = [
    SseEvent(b"one"),
    SseEvent("zwölf 🙂\nsecond".encode(), "e", "7"),
    SseEvent(b"", "message", "7"),
    SseEvent(b" kept space", "message", "7"),
]


def parse(chunks: list[bytes]) -> list[SseEvent]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_whole() -> None:
    assert parse([WIRE]) == EVENTS


@pytest.mark.parametrize("place", range(len(WIRE) + 1))
def test_cut_at_every_byte(place: int) -> None:
    assert parse([WIRE[:place], WIRE[place:]]) == EVENTS


def test_byte_by_byte() -> None:
    assert parse([WIRE[place : place + 1] for place in range(len(WIRE))]) == EVENTS


@given(
    st.lists(st.tuples(st.text(max_size=40), st.sampled_from([None, "delta"]))),
    st.integers(1, 7),
)
def test_what_is_framed_is_read(told: list[tuple[str, str | None]], step: int) -> None:
    wire = b"".join(frame(text.encode(), event=event) for text, event in told)
    events = parse([wire[place : place + step] for place in range(0, len(wire), step)])
    normal = [
        (text.replace("\r\n", "\n").replace("\r", "\n"), event or "message") for text, event in told
    ]
    assert [(event.data.decode(), event.event) for event in events] == normal


def test_event_without_end_is_refused_before_it_fills_the_memory() -> None:
    parser = SseParser(event_bytes_max=1000)
    parser.feed(b"data: " + b"x" * 900)
    with pytest.raises(ValueError, match="1000"):
        parser.feed(b"x" * 200)
    many = SseParser(event_bytes_max=1000)
    with pytest.raises(ValueError, match="1000"):
        many.feed(b"data: line\n" * 300)


def cut(chunks: list[bytes]) -> list[bytes]:
    cutter = SseCutter()
    return [block for chunk in chunks if (block := cutter.feed(chunk))]


def data_in(blocks: list[bytes]) -> list[bytes]:
    return [data for block in blocks for data in data_of(block)]


@pytest.mark.parametrize("place", range(len(WIRE) + 1))
def test_cut_off_events_are_whole_wherever_the_wire_is_cut(place: int) -> None:
    blocks = cut([WIRE[:place], WIRE[place:]])
    assert all(block.endswith(b"\n\n") for block in blocks)
    # The line end alone says nothing; the parser takes it for an event without data.
    assert data_in(blocks) == [event.data for event in EVENTS]


@given(st.lists(st.text(max_size=40)), st.integers(1, 90))
def test_what_is_cut_off_is_what_was_sent(told: list[str], step: int) -> None:
    wire = b"".join(frame(text.encode()) for text in told)
    blocks = cut([wire[place : place + step] for place in range(0, len(wire), step)])
    assert b"".join(blocks) == wire
    assert data_in(blocks) == data_in([wire])


@pytest.mark.parametrize(
    ("block", "count"),
    [
        (b'data: {"a":1}\n\n', 1),
        (b'data: {"a":1}\n\ndata: {"a":2}\n\n', 2),
        (b"data: [DONE]\n\n", 0),
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', 0),
        (b': hello\n\ndata: {"a":1}\n\n', 0),
        (b'event: e\ndata: {"a":1}\n\n', 0),
        (b'data: {"a":\ndata: 1}\n\n', 0),
        (b'data: {"a":1}\nid: 5\n\n', 0),
        (b"data: {{{\n\n", 0),
        (b"\n\n", 0),
        (b"", 0),
    ],
)
def test_only_events_of_one_line_of_json_are_plain(block: bytes, count: int) -> None:
    assert count_plain(block) == count


def test_a_cut_off_event_without_end_is_refused_before_it_fills_the_memory() -> None:
    cutter = SseCutter(event_bytes_max=1000)
    cutter.feed(b"data: {}\n\ndata: " + b"x" * 900)
    with pytest.raises(ValueError, match="1000"):
        cutter.feed(b"x" * 200)


@pytest.mark.parametrize("line", [HEARTBEAT, comment("reading 1 of 2")])
def test_a_comment_between_events_is_a_single_line(line: bytes) -> None:
    """With an empty line after it, it ends an event for clients that keep the last id as part."""
    assert line.count(b"\n") == 1
    told = [frame(b"{}", id="a.1.0"), line, line, frame(b"{}", id="a.1.1"), line]
    assert [event.id for event in parse(told)] == ["a.1.0", "a.1.1"]
