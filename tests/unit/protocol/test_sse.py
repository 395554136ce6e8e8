"""Server-sent events survive every cut and every line ending."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.protocol.sse import SseEvent, SseParser, frame

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
