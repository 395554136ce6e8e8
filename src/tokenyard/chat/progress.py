"""How far an answer came, as its log tells: for a successor, and for a reader who comes late."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tokenyard.chat.records import FunctionCall, ItemKind
from tokenyard.chat.rules.stream_log import Chunk, LoggedEvent
from tokenyard.chat.transcript import Entry
from tokenyard.protocol import response_events as events
from tokenyard.vocabulary.ids import ItemId


def _tag(*kinds: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(str(kind.__struct_config__.tag) for kind in kinds)


_DELTAS = _tag(events.OutputTextDelta, events.ReasoningTextDelta, events.FunctionCallArgumentsDelta)
_ADDED = _tag(events.OutputItemAdded)
_DONE = _tag(events.OutputItemDone)
_RESET = _tag(events.ResponseReset)


class _Words(msgspec.Struct):
    text: str = ""


class _Item(msgspec.Struct):
    id: str
    type: ItemKind
    status: str
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    content: list[_Words] = []

    def entry(self) -> Entry:
        call = FunctionCall(self.call_id, self.name) if self.call_id else None
        text = self.arguments + "".join(part.text for part in self.content)
        whole = self.status == "completed"
        return Entry(ItemId(self.id), self.type, call, [text] if text else [], whole)


class _Told(msgspec.Struct):
    delta: str = ""
    item: _Item | None = None
    output: list[_Item] = []


_decoder = msgspec.json.Decoder(_Told)


@dataclass(slots=True)
class Progress:
    """What readers have been shown. following: the number of the next event."""

    following: int = 0
    entries: list[Entry] = field(default_factory=list)
    # Events that brought text.
    pieces: int = 0
    # None once some of them are not known.
    tokens: list[int] | None = field(default_factory=list)
    epoch: int = 0


def read_progress(chunks: Sequence[Chunk], so_far: Progress | None = None) -> Progress:
    """Take in the chunks of a log in order, from its start or on from `so_far`."""
    progress = so_far or Progress()
    for chunk in chunks:
        for event in chunk.events:
            _take(progress, event)
        if chunk.tokens is None:
            progress.tokens = None
        elif progress.tokens is not None:
            progress.tokens.extend(chunk.tokens)
        progress.following, progress.epoch = chunk.following, chunk.epoch
    return progress


def _take(progress: Progress, event: LoggedEvent) -> None:
    if event.type in _DELTAS:
        progress.entries[-1].pieces.append(_decoder.decode(event.data).delta)
        progress.pieces += 1
    elif event.type in _ADDED:
        item = _decoder.decode(event.data).item
        if item is not None:
            progress.entries.append(item.entry())
    elif event.type in _DONE:
        progress.entries[-1].whole = True
    elif event.type in _RESET:
        output = _decoder.decode(event.data).output
        progress.entries = [item.entry() for item in output]
        progress.pieces, progress.tokens = len(output), []
