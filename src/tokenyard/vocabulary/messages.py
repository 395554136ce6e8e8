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
class Message:
    """One turn of text."""

    role: Role
    content: str
