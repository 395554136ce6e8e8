"""Comments in a stream are no events to any client: ours, and OpenAI's for Python."""

import pytest
from openai._streaming import SSEDecoder

from tokenyard.protocol.sse import HEARTBEAT, SseParser, comment, frame


@pytest.mark.parametrize("told", [HEARTBEAT, comment("reading 5 of 9")])
def test_comments_anywhere_are_passed_over(told: bytes) -> None:
    """OpenAI's takes one with an empty line behind it for an event, once it has seen an id."""
    frames = [frame(b"1", event="a", id="r.1.0"), frame(b"2", event="b", id="r.1.1")]
    wire = told + told.join(frames) + told + told + frame(b"3") + told
    assert [event.data for event in SseParser().feed(wire)] == [b"1", b"2", b"3"]
    assert [event.data for event in SSEDecoder().iter_bytes(iter([wire]))] == ["1", "2", "3"]
