"""What the chat keeps: conversations, their items, and the responses that made some of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tokenyard.ledger.rules.pricing import Tier
from tokenyard.vocabulary.generation import NO_OFFER, Offer, Pace, SamplingParameters, Usage
from tokenyard.vocabulary.ids import (
    ConversationId,
    FileId,
    ItemId,
    KeyId,
    ModelName,
    ProjectId,
    ResponseId,
    UserId,
)
from tokenyard.vocabulary.messages import Message, Role
from tokenyard.vocabulary.reasons import Reason


class ResponseStatus(StrEnum):
    """Where a response stands; all but the first are final."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    # Stopped by a limit: `incomplete_reason` says which.
    INCOMPLETE = "incomplete"
    CANCELLED = "cancelled"
    FAILED = "failed"


class TitleBy(StrEnum):
    """Who wrote a conversation's title; a person's is never written over by a program."""

    NOBODY = "nobody"
    MODEL = "model"
    USER = "user"


class ItemKind(StrEnum):
    """What an item is to the model and to a reader."""

    MESSAGE = "message"
    # Stands for all items above it, up to `through`; deleting it brings those back.
    SUMMARY = "summary"
    FUNCTION_CALL = "function_call"
    FUNCTION_OUTPUT = "function_call_output"
    # What a model wrote for itself; no model is shown it again.
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that was given with a message, as the text that the model reads."""

    filename: str
    text: str
    file: FileId | None = None


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Which call an item makes or answers; `name` is empty in an answer."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A tree of items that belongs to one user of one project.

    What is shown and what the model sees is the path from the root to `leaf`.
    """

    id: ConversationId
    project: ProjectId
    user: UserId
    created_at: float
    updated_at: float
    # At most 16 pairs, keys up to 64 and values up to 512 characters, as OpenAI has it.
    metadata: dict[str, str] = field(default_factory=dict)
    title: str = ""
    title_by: TitleBy = TitleBy.NOBODY
    # Empty for none.
    folder: str = ""
    pinned: bool = False
    archived: bool = False
    # The end of the branch in use; None while there is no item.
    leaf: ItemId | None = None


@dataclass(frozen=True, slots=True)
class ConversationDetails:
    """What a person sets of a conversation, whole: what is not changed is given again."""

    title: str
    title_by: TitleBy
    folder: str
    pinned: bool
    archived: bool


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Which conversations a list shows; None does not ask."""

    folder: str | None = None
    pinned: bool | None = None
    archived: bool | None = None


EVERY_CONVERSATION = ConversationFilter()


@dataclass(frozen=True, slots=True)
class Node:
    """An item without its text: what the shape of a tree needs."""

    id: ItemId
    parent: ItemId | None
    role: Role
    kind: ItemKind
    response: ResponseId | None
    complete: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Draft:
    """An item before it has an id and a place."""

    role: Role
    text: str
    kind: ItemKind = ItemKind.MESSAGE
    attachments: tuple[Attachment, ...] = ()
    call: FunctionCall | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One message, call or thought of a conversation, or of a response without one.

    Items form trees: an answer that is asked for again is a sibling of the first one. text: of a
    call its arguments, of an answer to one what the function gave.
    """

    id: ItemId
    role: Role
    text: str
    created_at: float
    # The response that wrote it or was asked with it.
    response: ResponseId | None = None
    # False when the answer was cut off (stopped, out of tokens, failed).
    complete: bool = True
    # The item before it; None for the first.
    parent: ItemId | None = None
    kind: ItemKind = ItemKind.MESSAGE
    attachments: tuple[Attachment, ...] = ()
    call: FunctionCall | None = None
    # Of a summary: the last item that it stands for, and what it cost.
    through: ItemId | None = None
    cost_nanos: int | None = None


@dataclass(frozen=True, slots=True)
class PromptReference:
    """The stored prompt that a response was asked with, as it was resolved."""

    id: str
    version: int
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """What else a response was asked with, to be told again; decides nothing once it runs."""

    previous: ResponseId | None = None
    background: bool = False
    # Drop the oldest turns when they do not fit, instead of refusing.
    truncate: bool = False
    # The `text.format` of the request; empty for plain text.
    text_format: dict[str, Any] = field(default_factory=dict)
    # The tools and the choice among them, as they were given.
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | dict[str, Any] = "auto"
    parallel_calls: bool = True
    # How much the model is to think; None where nothing was said.
    effort: str | None = None
    prompt: PromptReference | None = None
    # Turns of the history that did not fit and were not sent.
    dropped: int = 0
    # Its price, and how it stands beside others.
    tier: Tier = Tier.DEFAULT
    # Tags that a model server must have to be asked.
    server_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants answered.

    under: the item that the turns are put below; only where `branches`, else the branch in use.
    """

    model: ModelName
    turns: tuple[Draft, ...]
    sampling: SamplingParameters
    conversation: ConversationId | None = None
    branches: bool = False
    under: ItemId | None = None
    instructions: str | None = None
    # What a stored prompt says before the history; not kept as items.
    preamble: tuple[Message, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    stored: bool = True
    options: ResponseOptions = ResponseOptions()
    # The tools as the model server is told of them.
    offer: Offer = NO_OFFER
    # Its place in the model server's queue: lower first, 0 as usual.
    queue_place: int = 0


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of the branch in use as a question saw it; None in an empty conversation."""

    item: ItemId | None


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
    # None where nothing was said, and where no one process saw all of it.
    pace: Pace | None = None
    incomplete_reason: str | None = None
    error_reason: Reason | None = None
    error_message: str | None = None
    output: tuple[Item, ...] = ()
    # False: not to be found after its end, and deleted soon after it.
    stored: bool = True
    options: ResponseOptions = ResponseOptions()
