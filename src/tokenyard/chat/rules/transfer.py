"""Conversations in the files of others: OpenAI's `conversations.json` and Open WebUI's export.

Both are trees of messages. What is read may be anything: it is checked field by field, never
recursed into, and what we cannot keep (images, thoughts, tools of others) is counted. Calls of
functions go out in OpenAI's form so that they can come back; Open WebUI shows them as text. Knows
no store.
Sources: an export of ChatGPT's as users publish them (2026), Open WebUI 0.12's `ChatModel`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tokenyard.chat.records import FunctionCall, ItemKind
from tokenyard.vocabulary.messages import Role

Tree = Mapping[str, Any]

TITLE_CHARACTERS_MAX = 200
FOLDER_CHARACTERS_MAX = 64
_ROOT = "client-created-root"
_ROLES = {role.value: role for role in (Role.SYSTEM, Role.USER, Role.ASSISTANT)}
# The year 9999, so that no time is out of the range of others' programs.
_TIME_MAX = 253_402_300_799.0


class Format(StrEnum):
    """Whose file it is."""

    OPENAI = "openai"
    OPEN_WEBUI = "openwebui"


@dataclass(frozen=True, slots=True)
class Turn:
    """A message with its place in the tree."""

    id: str
    parent: str | None
    role: Role
    text: str
    at: float
    kind: ItemKind = ItemKind.MESSAGE
    call: FunctionCall | None = None


@dataclass(frozen=True, slots=True)
class Portable:
    """A conversation on its way. `turns` have parents before children; `leaf` is one of them."""

    title: str
    created_at: float
    updated_at: float
    turns: tuple[Turn, ...]
    leaf: str | None
    folder: str = ""
    pinned: bool = False
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """What was read, and how many messages of it could not be kept."""

    conversation: Portable
    skipped: int


class BadTransfer(ValueError):
    """The file is not what it should be; the message says where."""


def spell(conversation: Portable, id: str, format: Format) -> dict[str, Any]:
    """The conversation as an entry of such a file."""
    if format is Format.OPENAI:
        return _spell_openai(conversation, id)
    return _spell_open_webui(conversation, id)


def read(entry: Any, now: float) -> Received:
    """An entry of either kind of file; raises BadTransfer. now: for what has no time."""
    if not isinstance(entry, dict):
        raise BadTransfer("An entry is not an object.")
    if isinstance(entry.get("mapping"), dict):
        return _read_openai(entry, now)
    if isinstance(entry.get("chat"), dict):
        return _read_open_webui(entry, now)
    raise BadTransfer("An entry has neither 'mapping' (OpenAI) nor 'chat' (Open WebUI).")


def _spell_openai(conversation: Portable, id: str) -> dict[str, Any]:
    children = _children(conversation.turns)
    mapping: dict[str, Any] = {
        _ROOT: {
            "id": _ROOT, "message": None, "parent": None, "children": children.get(None, []),
        }
    }  # fmt: skip
    for turn in conversation.turns:
        mapping[turn.id] = {
            "id": turn.id,
            "message": {
                "id": turn.id,
                "author": {"role": turn.role.value, "name": None, "metadata": {}},
                "create_time": turn.at,
                "content": _spell_content(turn),
                "status": "finished_successfully",
                "metadata": {} if turn.call is None else {"call_id": turn.call.id},
                "recipient": turn.call.name if turn.call is not None and turn.call.name else "all",
            },
            "parent": turn.parent or _ROOT,
            "children": children.get(turn.id, []),
        }
    return {
        "id": id,
        "conversation_id": id,
        "title": conversation.title,
        "create_time": conversation.created_at,
        "update_time": conversation.updated_at,
        "current_node": conversation.leaf or _ROOT,
        "is_archived": conversation.archived,
        "is_starred": conversation.pinned,
        "mapping": mapping,
    }


def _spell_content(turn: Turn) -> Tree:
    match turn.kind:
        case ItemKind.FUNCTION_CALL:
            return {"content_type": "code", "language": "json", "text": turn.text}
        case ItemKind.REASONING:
            thought = {"summary": "", "content": turn.text, "chunks": [], "finished": True}
            return {"content_type": "thoughts", "thoughts": [thought]}
        case _:
            return {"content_type": "text", "parts": [turn.text]}


def _spell_open_webui(conversation: Portable, id: str) -> dict[str, Any]:
    children = _children(conversation.turns)
    messages = {
        turn.id: {
            "id": turn.id,
            "parentId": turn.parent,
            "childrenIds": children.get(turn.id, []),
            "role": (Role.USER if turn.role is Role.TOOL else turn.role).value,
            "content": _spell_text(turn),
            "timestamp": int(turn.at),
            "done": True,
        }
        for turn in conversation.turns
    }
    return {
        "id": id,
        "title": conversation.title,
        "created_at": int(conversation.created_at),
        "updated_at": int(conversation.updated_at),
        "archived": conversation.archived,
        "pinned": conversation.pinned,
        "meta": {"tags": [conversation.folder] if conversation.folder else []},
        "chat": {
            "title": conversation.title,
            "history": {"messages": messages, "currentId": conversation.leaf},
        },
    }


def _spell_text(turn: Turn) -> str:
    """What Open WebUI folds away under a line of its own."""
    if turn.kind is ItemKind.REASONING:
        return _fold("reasoning", "Thought", turn.text)
    if turn.kind is ItemKind.FUNCTION_CALL and turn.call is not None:
        return _fold("tool_calls", f"Called {turn.call.name}", turn.text)
    if turn.kind is ItemKind.FUNCTION_OUTPUT:
        return _fold("tool_calls", "Answer", turn.text)
    return turn.text


def _fold(kind: str, line: str, text: str) -> str:
    lines = "\n".join(f"> {_escape(one)}" for one in text.splitlines())
    return (
        f'<details type="{kind}" done="true">\n<summary>{_escape(line)}</summary>\n{lines}\n'
        "</details>"
    )


def _escape(text: str) -> str:
    for letter, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(letter, name)
    return text


def _children(turns: Iterable[Turn]) -> dict[str | None, list[str]]:
    children: dict[str | None, list[str]] = {}
    for turn in turns:
        children.setdefault(turn.parent, []).append(turn.id)
    return children


def _read_openai(entry: Tree, now: float) -> Received:
    created = _time(entry.get("create_time"), now)
    nodes: dict[str, tuple[str | None, Turn | None]] = {}
    empty = 0
    for name, node in entry["mapping"].items():
        if not isinstance(node, dict):
            raise BadTransfer("A node of 'mapping' is not an object.")
        message = node.get("message")
        empty += message is None
        nodes[name] = (_name(node.get("parent")), _read_openai_turn(name, message, created))
    title, updated = _title(entry), _time(entry.get("update_time"), created)
    return _gather(
        nodes,
        empty,
        Portable(
            title=title,
            created_at=created,
            updated_at=updated,
            turns=(),
            leaf=_name(entry.get("current_node")),
            pinned=entry.get("is_starred") is True,
            archived=entry.get("is_archived") is True,
        ),
    )


def _read_openai_turn(name: str, message: Any, now: float) -> Turn | None:
    if not isinstance(message, dict):
        return None
    author, content = message.get("author"), message.get("content")
    at = _time(message.get("create_time"), now)
    called = _read_call(name, message, at)
    if called is not None:
        return called
    role = _ROLES.get(str(author.get("role"))) if isinstance(author, dict) else None
    if role is None or not isinstance(content, dict):
        return None
    parts = content.get("parts")
    if content.get("content_type") not in ("text", "multimodal_text") or not isinstance(
        parts, list
    ):
        return None
    text = "\n".join(part for part in parts if isinstance(part, str))
    return Turn(name, None, role, text, at) if text else None


def _read_call(name: str, message: Tree, at: float) -> Turn | None:
    """A call or its answer, as we give them out; those of others do not say which call it is."""
    metadata, content, author = (message.get(key) for key in ("metadata", "content", "author"))
    if not (isinstance(metadata, dict) and isinstance(content, dict) and isinstance(author, dict)):
        return None
    call_id, function = metadata.get("call_id"), message.get("recipient")
    if not isinstance(call_id, str) or not isinstance(function, str):
        return None
    text, parts = content.get("text"), content.get("parts")
    if content.get("content_type") == "code" and isinstance(text, str):
        call = FunctionCall(call_id, function)
        return Turn(name, None, Role.ASSISTANT, text, at, ItemKind.FUNCTION_CALL, call)
    if author.get("role") == Role.TOOL.value and isinstance(parts, list):
        text = "\n".join(part for part in parts if isinstance(part, str))
        call = FunctionCall(call_id)
        return Turn(name, None, Role.TOOL, text, at, ItemKind.FUNCTION_OUTPUT, call)
    return None


def _read_open_webui(entry: Tree, now: float) -> Received:
    chat = entry["chat"]
    history = chat.get("history")
    held = history.get("messages") if isinstance(history, dict) else None
    if not isinstance(held, dict):
        raise BadTransfer("A chat has no 'history.messages'.")
    created = _time(entry.get("created_at"), now)
    nodes: dict[str, tuple[str | None, Turn | None]] = {}
    for name, message in held.items():
        if not isinstance(message, dict):
            raise BadTransfer("A message is not an object.")
        role, text = _ROLES.get(str(message.get("role"))), message.get("content")
        turn = None
        if role is not None and isinstance(text, str) and text:
            turn = Turn(name, None, role, text, _time(message.get("timestamp"), created))
        nodes[name] = (_name(message.get("parentId")), turn)
    meta = entry.get("meta")
    tags = meta.get("tags") if isinstance(meta, dict) else None
    folder = tags[0] if isinstance(tags, list) and tags and isinstance(tags[0], str) else ""
    return _gather(
        nodes,
        0,
        Portable(
            title=_title(entry) or _title(chat),
            created_at=created,
            updated_at=_time(entry.get("updated_at"), created),
            turns=(),
            leaf=_name(history.get("currentId")) if isinstance(history, dict) else None,
            folder=folder[:FOLDER_CHARACTERS_MAX],
            pinned=entry.get("pinned") is True,
            archived=entry.get("archived") is True,
        ),
    )


def _gather(
    nodes: Mapping[str, tuple[str | None, Turn | None]], empty: int, frame: Portable
) -> Received:
    """The messages that can be kept, each below the nearest kept one above it."""
    below: dict[str | None, list[str]] = {}
    for name, (parent, _) in nodes.items():
        below.setdefault(parent if parent in nodes else None, []).append(name)
    # Depth first without recursion; what no root leads to goes in a circle.
    waiting: list[tuple[str, str | None]] = [(one, None) for one in reversed(below.get(None, []))]
    nearest: dict[str, str | None] = {}
    turns: list[Turn] = []
    while waiting:
        name, above = waiting.pop()
        turn = nodes[name][1]
        if turn is not None:
            turns.append(replace(turn, parent=above))
            above = name
        nearest[name] = above
        waiting += [(child, above) for child in reversed(below.get(name, []))]
    if len(nearest) < len(nodes):
        raise BadTransfer("Messages name each other in a circle.")
    leaf = nearest.get(frame.leaf) if frame.leaf is not None else None
    if leaf is None and turns:
        leaf = turns[-1].id
    return Received(
        Portable(
            title=frame.title,
            created_at=frame.created_at,
            updated_at=frame.updated_at,
            turns=tuple(turns),
            leaf=leaf,
            folder=frame.folder,
            pinned=frame.pinned,
            archived=frame.archived,
        ),
        len(nodes) - len(turns) - empty,
    )


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _title(entry: Tree) -> str:
    title = entry.get("title")
    return " ".join(title.split())[:TITLE_CHARACTERS_MAX] if isinstance(title, str) else ""


def _time(value: Any, otherwise: float) -> float:
    """Unix seconds; some write milliseconds or nanoseconds, and some nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    for unit in (1.0, 1e3, 1e9):
        if 0 <= value / unit <= _TIME_MAX:
            return value / unit if unit > 1 else float(value)
    return otherwise


def list_entries(file: Any) -> Sequence[Any]:
    """The entries of a file, which may also be one entry alone."""
    return file if isinstance(file, list) else [file]
