"""What the model is shown of a path of items: summaries in place of what they stand for, files in
front of the question that they were given with.

Knows items and text; does not count tokens.
"""

from collections.abc import Sequence

from tokenyard.chat.records import Attachment, Item, ItemKind
from tokenyard.vocabulary.messages import Message, Role

_SUMMARY = "Summary of the conversation so far:\n\n"


def show_items(path: Sequence[Item]) -> list[Item]:
    """The items of a path that the model sees: from the last summary on, with the summary first.

    path: from the root down. A summary stands for everything up to the item that it names; where
    that item is no longer on the path, it stands for nothing and is left out.
    """
    places = {item.id: place for place, item in enumerate(path)}
    for item in reversed(path):
        if item.kind is ItemKind.SUMMARY and item.through in places:
            below = path[places[item.through] + 1 :]
            return [item, *(one for one in below if one.kind is not ItemKind.SUMMARY)]
    return [item for item in path if item.kind is not ItemKind.SUMMARY]


def spell_turn(item: Item) -> Message:
    """An item as a turn: what was attached comes before what was said."""
    if item.kind is ItemKind.SUMMARY:
        return Message(Role.SYSTEM, _SUMMARY + item.text)
    parts = [spell_attachment(one) for one in item.attachments]
    if item.text or not parts:
        parts.append(item.text)
    return Message(item.role, "\n\n".join(parts))


def spell_turns(items: Sequence[Item]) -> list[Message]:
    """Items as turns; an answer that goes on with one that was stopped makes one turn with it."""
    turns: list[Message] = []
    stopped: Item | None = None
    for item in items:
        turn = spell_turn(item)
        if stopped is not None and item.parent == stopped.id and item.role is Role.ASSISTANT:
            turns[-1] = Message(Role.ASSISTANT, turns[-1].content + turn.content)
        else:
            turns.append(turn)
        stopped = item if is_stopped(item) else None
    return turns


def is_stopped(item: Item) -> bool:
    """Whether it is an answer that was cut off, which can be gone on with."""
    return item.role is Role.ASSISTANT and item.kind is ItemKind.MESSAGE and not item.complete


def spell_attachment(attachment: Attachment) -> str:
    """A file as text, with its name around it so that the model can tell it from the question."""
    return f"[File: {attachment.filename}]\n{attachment.text}\n[End of file]"
