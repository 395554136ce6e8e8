"""What the chat keeps: conversations, their items, and the responses that made some of them."""

from dataclasses import dataclass, field
from enum import StrEnum

from tokenyard.vocabulary.generation import SamplingParameters, Usage
from tokenyard.vocabulary.ids import (
    ConversationId,
    ItemId,
    KeyId,
    ModelName,
    ProjectId,
    ResponseId,
    UserId,
)
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason


class ResponseStatus(StrEnum):
    """Where a response stands; all but the first are final."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    # Stopped by a limit: `incomplete_reason` says which.
    INCOMPLETE = "incomplete"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread of items that belongs to one user of one project."""

    id: ConversationId
    project: ProjectId
    user: UserId
    created_at: float
    updated_at: float
    # At most 16 pairs, keys up to 64 and values up to 512 characters, as OpenAI has it.
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """One message of a conversation, or of a response without one."""

    id: ItemId
    role: Role
    text: str
    created_at: float
    # The response that wrote it or was asked with it.
    response: ResponseId | None = None
    # False when the answer was cut off (stopped, out of tokens, failed).
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: what was asked, how far it came, what it used."""

    id: ResponseId
    project: ProjectId
    user: UserId
    key: KeyId | None
    model: ModelName
    status: ResponseStatus
    created_at: float
    sampling: SamplingParameters
    conversation: ConversationId | None = None
    instructions: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    finished_at: float | None = None
    usage: Usage | None = None
    cost_nanos: int | None = None
    incomplete_reason: str | None = None
    error_reason: Reason | None = None
    error_message: str | None = None
    output: Item | None = None
