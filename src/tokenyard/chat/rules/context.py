"""What the model is shown of a path of items: summaries in place of what they stand for, files in
front of the question that they were given with, calls in the turn that made them. Thoughts are not
shown again, nor calls that were cut off.

Knows items and text; does not count tokens.
"""

from collections.abc import Sequence
from dataclasses import replace

from tokenyard.chat.records import Attachment, Item, ItemKind
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.messages import Message, Role, ToolUse

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
            return [item, *(one for one in below if _is_shown(one))]
    return [item for item in path if _is_shown(item)]


def _is_shown(item: Item) -> bool:
    if item.kind is ItemKind.FUNCTION_CALL:
        return item.complete
    return item.kind not in (ItemKind.SUMMARY, ItemKind.REASONING)


def check_calls(shown: Sequence[Item]) -> None:
    """Raise InvalidRequest for a call without its answer, or an answer without its call."""
    open_calls: dict[str, None] = {}
    known: set[str] = set()
    for item in shown:
        if item.call is None:
            continue
        if item.kind is ItemKind.FUNCTION_CALL:
            open_calls[item.call.id] = None
            known.add(item.call.id)
        elif item.call.id not in known:
            raise InvalidRequest(
                f"There is no call '{item.call.id}' for this output to answer.", param="input"
            )
        else:
            open_calls.pop(item.call.id, None)
    for call in open_calls:
        raise InvalidRequest(f"The output of the call '{call}' is missing.", param="input")


def spell_turn(item: Item) -> Message:
    """An item as a turn: what was attached comes before what was said."""
    if item.kind is ItemKind.SUMMARY:
        return Message(Role.SYSTEM, _SUMMARY + item.text)
    if item.kind is ItemKind.FUNCTION_CALL and item.call is not None:
        return Message(
            Role.ASSISTANT, "", (ToolUse(item.call.id, item.call.name, item.text or "{}"),)
        )
    if item.kind is ItemKind.FUNCTION_OUTPUT and item.call is not None:
        return Message(Role.TOOL, item.text, answers=item.call.id)
    parts = [spell_attachment(one) for one in item.attachments]
    if item.text or not parts:
        parts.append(item.text)
    return Message(item.role, "\n\n".join(parts))


def spell_turns(items: Sequence[Item]) -> list[Message]:
    """Items as turns.

    What an assistant says and calls in one go is one turn, and so is an answer with the one that
    goes on with it after it was stopped.
    """
    turns: list[Message] = []
    before: Item | None = None
    for item in items:
        turn = spell_turn(item)
        if before is not None and _is_one_turn(before, item):
            said = turns[-1]
            turns[-1] = replace(
                said, content=said.content + turn.content, calls=(*said.calls, *turn.calls)
            )
        else:
            turns.append(turn)
        before = item
    return turns


def _is_one_turn(before: Item, item: Item) -> bool:
    if item.role is not Role.ASSISTANT or before.role is not Role.ASSISTANT:
        return False
    if ItemKind.FUNCTION_CALL in (item.kind, before.kind):
        return True
    return is_stopped(before) and item.parent == before.id


def tell_turn(turn: Message) -> str:
    """All that a turn says, its calls too, as text."""
    calls = [f"{call.name}({call.arguments})" for call in turn.calls]
    return "\n".join(one for one in (turn.content, *calls) if one)


def is_stopped(item: Item) -> bool:
    """Whether it is an answer that was cut off, which can be gone on with."""
    return item.role is Role.ASSISTANT and item.kind is ItemKind.MESSAGE and not item.complete


def spell_attachment(attachment: Attachment) -> str:
    """A file as text, with its name around it so that the model can tell it from the question."""
    return f"[File: {attachment.filename}]\n{attachment.text}\n[End of file]"
