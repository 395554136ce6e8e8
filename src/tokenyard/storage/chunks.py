"""A chunk of a log as bytes and back: its tokens, and type and JSON of each event."""

import msgspec

from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.chat.streams import log_event
from tokenyard.vocabulary.ids import ResponseId

_Packed = tuple[tuple[int, ...] | None, list[tuple[str, bytes]]]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


def pack(chunk: Chunk) -> bytes:
    """The part of a chunk that is not told by its place."""
    return _encoder.encode((chunk.tokens, [(event.type, event.data) for event in chunk.events]))


def unpack(response: ResponseId, epoch: int, first: int, final: bool, body: bytes) -> Chunk:
    """The chunk that was packed."""
    tokens, packed = _decoder.decode(body)
    events = tuple(
        log_event(response, epoch, sequence, kind, data)
        for sequence, (kind, data) in enumerate(packed, start=first)
    )
    return Chunk(response, epoch, events, tokens, final)
