"""A conversation as every room sees it: who said what, in order."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who speaks; the values are OpenAI's."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A function that the assistant called. arguments: JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. calls: of an assistant's. answers: of a tool's, the id of the call it answers."""

    role: Role
    content: str
    calls: tuple[ToolUse, ...] = ()
    answers: str = ""
