"""What an answer consists of while it is written: messages, thoughts and calls, one after another.

Decides where an item begins and ends, and which events tell of it. Does not number, log or send
them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tokenyard.chat.records import FunctionCall, Item, ItemKind, Response
from tokenyard.chat.rendering import render_item
from tokenyard.chat.rules.seam import Part
from tokenyard.protocol import response_events as events
from tokenyard.protocol.response_items import MessageBody, OutputText, ReasoningBody, ReasoningText
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.ids import IdPrefix, ItemId
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason

_PREFIXES = {
    ItemKind.REASONING: IdPrefix.REASONING,
    ItemKind.FUNCTION_CALL: IdPrefix.FUNCTION_CALL,
    ItemKind.MESSAGE: IdPrefix.MESSAGE,
}


@dataclass(slots=True)
class Entry:
    """One item of an answer; the last one may not be whole yet."""

    id: ItemId
    kind: ItemKind
    call: FunctionCall | None = None
    pieces: list[str] = field(default_factory=list)
    whole: bool = False

    @property
    def text(self) -> str:
        """What it says so far."""
        return "".join(self.pieces)


def begin_answer(response: Response, id: ItemId, parent: ItemId | None) -> Item:
    """The message of an answer that has said nothing yet."""
    return Item(
        id=id,
        role=Role.ASSISTANT,
        text="",
        created_at=response.created_at,
        response=response.id,
        complete=False,
        parent=parent,
    )


def chain_items(first: Item, entries: Sequence[Entry], *, complete: bool) -> tuple[Item, ...]:
    """The items of an answer, one below the other. complete: whether the last one is whole."""
    items: list[Item] = []
    for entry in entries:
        item = replace(
            first,
            id=entry.id,
            kind=entry.kind,
            call=entry.call,
            text=entry.text,
            complete=entry.whole or complete,
            parent=items[-1].id if items else first.parent,
        )
        items.append(item)
    return tuple(items)


class Transcript:
    """One answer's items.

    first: the answer's message, without its text; it names what all items have in common.
    name: makes an id.
    """

    def __init__(
        self, first: Item, name: Callable[[IdPrefix], str], entries: Sequence[Entry] = ()
    ) -> None:
        self.entries = list(entries)
        self._first = first
        self._name = name

    def parts(self) -> list[Part]:
        """All of it, as a model server would say it again."""
        return [Part(entry.kind, entry.text, entry.call) for entry in self.entries]

    def items(self, *, complete: bool) -> tuple[Item, ...]:
        """The items to be kept. complete: whether the last one is whole."""
        return chain_items(self._first, self.entries, complete=complete)

    def add(self, part: Part) -> list[events.ResponseEvent]:
        """Go on by a part; raises UpstreamFailed for arguments of no call."""
        told: list[events.ResponseEvent] = []
        if not self.entries or self._begins(part, self.entries[-1]):
            told += self.close(complete=True)
            told += self._begin(part)
        if part.text:
            self.entries[-1].pieces.append(part.text)
            told.append(self._delta(part.text))
        return told

    def place(self) -> tuple[int, int, bool]:
        """Where it stands, for `go_back`."""
        if not self.entries:
            return 0, 0, False
        return len(self.entries), len(self.entries[-1].pieces), self.entries[-1].whole

    def go_back(self, place: tuple[int, int, bool]) -> None:
        """Forget what was added since: nobody was told of it."""
        count, pieces, whole = place
        del self.entries[count:]
        if self.entries:
            del self.entries[-1].pieces[pieces:]
            self.entries[-1].whole = whole

    def close(self, *, complete: bool) -> list[events.ResponseEvent]:
        """The events that end the last item, if it has not ended; it counts as whole then."""
        if not self.entries or self.entries[-1].whole:
            return []
        *_, item = self.items(complete=complete)
        self.entries[-1].whole = complete
        place, text = len(self.entries) - 1, item.text
        told: list[events.ResponseEvent] = []
        part: OutputText | ReasoningText = OutputText(text=text)
        match item.kind:
            case ItemKind.FUNCTION_CALL:
                name = item.call.name if item.call is not None else ""
                told.append(
                    events.FunctionCallArgumentsDone(
                        item_id=item.id, name=name, arguments=text, output_index=place
                    )
                )
            case ItemKind.REASONING:
                part = ReasoningText(text=text)
                told.append(
                    events.ReasoningTextDone(item_id=item.id, text=text, output_index=place)
                )
            case _:
                told.append(events.OutputTextDone(item_id=item.id, text=text, output_index=place))
        if item.kind is not ItemKind.FUNCTION_CALL:
            told.append(events.ContentPartDone(item_id=item.id, part=part, output_index=place))
        told.append(events.OutputItemDone(item=render_item(item), output_index=place))
        return told

    def reset(self, parts: Iterable[Part]) -> events.ResponseReset:
        """The answer was begun anew: it now is this."""
        self.entries = []
        for part in parts:
            self.add(part)
        said = [entry for entry in self.entries if entry.kind is ItemKind.MESSAGE]
        return events.ResponseReset(
            item_id=said[0].id if said else self._first.id,
            text="".join(entry.text for entry in said),
            output=[
                render_item(item, "completed" if entry.whole else "in_progress")
                for item, entry in zip(self.items(complete=False), self.entries, strict=True)
            ],
        )

    def _begins(self, part: Part, last: Entry) -> bool:
        return last.whole or part.call is not None or part.kind is not last.kind

    def _begin(self, part: Part) -> list[events.ResponseEvent]:
        if part.kind is ItemKind.FUNCTION_CALL and part.call is None:
            raise UpstreamFailed(
                "The model server sent arguments without a call.", reason=Reason.GENERATION_FAILED
            )
        first = part.kind is ItemKind.MESSAGE and self._first.id not in [
            entry.id for entry in self.entries
        ]
        item_id = self._first.id if first else ItemId(self._name(_PREFIXES[part.kind]))
        self.entries.append(Entry(item_id, part.kind, part.call))
        *_, item = self.items(complete=False)
        body = render_item(item, "in_progress")
        place = len(self.entries) - 1
        if isinstance(body, MessageBody | ReasoningBody):
            # Told by the next event.
            body.content = []
        if part.kind is ItemKind.FUNCTION_CALL:
            return [events.OutputItemAdded(item=body, output_index=place)]
        opened: OutputText | ReasoningText = OutputText(text="")
        if part.kind is ItemKind.REASONING:
            opened = ReasoningText(text="")
        return [
            events.OutputItemAdded(item=body, output_index=place),
            events.ContentPartAdded(item_id=item_id, part=opened, output_index=place),
        ]

    def _delta(self, text: str) -> events.ItemDelta:
        entry, place = self.entries[-1], len(self.entries) - 1
        match entry.kind:
            case ItemKind.FUNCTION_CALL:
                return events.FunctionCallArgumentsDelta(
                    item_id=entry.id, delta=text, output_index=place
                )
            case ItemKind.REASONING:
                return events.ReasoningTextDelta(item_id=entry.id, delta=text, output_index=place)
            case _:
                return events.OutputTextDelta(item_id=entry.id, delta=text, output_index=place)
