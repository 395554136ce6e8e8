"""How far an answer came, as its log tells: for a successor, and for a reader who comes late."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.protocol.response_events import OutputTextDelta, ResponseReset

_DELTA = str(OutputTextDelta.__struct_config__.tag)
_RESET = str(ResponseReset.__struct_config__.tag)


class _Told(msgspec.Struct):
    delta: str = ""
    text: str = ""


_decoder = msgspec.json.Decoder(_Told)


@dataclass(slots=True)
class Progress:
    """What readers have been shown. following: the number of the next event."""

    following: int = 0
    pieces: list[str] | None = None
    # None once some of them are not known.
    tokens: list[int] | None = None
    epoch: int = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces or ())


def read_progress(chunks: Sequence[Chunk], so_far: Progress | None = None) -> Progress:
    """Take in the chunks of a log in order, from its start or on from `so_far`."""
    progress = so_far or Progress(pieces=[], tokens=[])
    pieces = progress.pieces = progress.pieces or []
    for chunk in chunks:
        for event in chunk.events:
            if event.type == _DELTA:
                pieces.append(_decoder.decode(event.data).delta)
            elif event.type == _RESET:
                text = _decoder.decode(event.data).text
                pieces[:], progress.tokens = ([text] if text else []), []
        if chunk.tokens is None:
            progress.tokens = None
        elif progress.tokens is not None:
            progress.tokens.extend(chunk.tokens)
        progress.following, progress.epoch = chunk.following, chunk.epoch
    return progress
