"""Turns of a conversation as Chat Completions has them on the wire, calls and their answers too."""

from collections.abc import Iterable
from typing import Any

from tokenyard.vocabulary.messages import Message


def write_messages(turns: Iterable[Message]) -> list[dict[str, Any]]:
    """The `messages` of a request."""
    return [_spell(turn) for turn in turns]


def _spell(turn: Message) -> dict[str, Any]:
    spelled: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.calls:
        spelled["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in turn.calls
        ]
    if turn.answers:
        spelled["tool_call_id"] = turn.answers
    return spelled
