"""Conversations on the wire, and how they fill a model's window.

Source: OpenAI API reference, `ConversationResource`. The fields after the blank line of a
struct are ours, and so are trees and gauges.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tokenyard.protocol.chat_completions import Name
from tokenyard.protocol.response_items import InputItem, Word
from tokenyard.protocol.responses import Metadata

ITEMS_MAX = 20


class CreateConversationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/conversations`."""

    metadata: Metadata | None = None
    items: Annotated[list[InputItem], Meta(max_length=ITEMS_MAX)] | None = None


class AddItemsRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[list[InputItem], Meta(min_length=1, max_length=ITEMS_MAX)]


class UpdateConversationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/conversations/{id}`: OpenAI's metadata, and what the page shows.

    What is left out stays as it is.
    """

    metadata: Metadata | None = None

    title: Annotated[str, Meta(max_length=200)] | None = None
    folder: Annotated[str, Meta(max_length=64)] | None = None
    pinned: bool | None = None
    archived: bool | None = None


class CompactRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /api/conversations/{id}/compact`: who summarises, and what stays."""

    model: Name
    keep_questions: Annotated[int, Meta(ge=0, le=100)] = 2


class ImportResult(msgspec.Struct, kw_only=True):
    """What came of an import; messages of kinds that we cannot keep were skipped."""

    conversation_ids: list[str]
    messages: int
    skipped_messages: int


class SwitchRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /api/conversations/{id}/leaf`: an item of the branch to go to."""

    item_id: Word


class ContextPart(msgspec.Struct, kw_only=True):
    """A part of a prompt: instructions, prompt, summary, history, attachments, input, template."""

    name: str
    tokens: int


class TurnCost(msgspec.Struct, kw_only=True):
    """What a question may cost: with nothing cached and the longest answer, or the cheapest."""

    lowest_nanos: int
    highest_nanos: int
    currency: str


class ContextBody(msgspec.Struct, kw_only=True):
    """How a question would fill the model's window, in tokens, and what it may cost."""

    model: str
    context_window: int
    used_tokens: int
    answer_room: int
    free_tokens: int
    # False where the model server cannot count, and this is an estimate.
    exact: bool
    fullness: Literal["ok", "warning", "critical", "full"]
    parts: list[ContextPart]
    truncated_items: int
    cost: TurnCost | None
    object: Literal["context"] = "context"


class ConversationBody(msgspec.Struct, kw_only=True):
    """A conversation as we give it out."""

    id: str
    created_at: int
    metadata: dict[str, str]
    object: Literal["conversation"] = "conversation"

    updated_at: int
    active_response_id: str | None = None
    title: str
    title_by: Literal["nobody", "model", "user"]
    folder: str
    pinned: bool
    archived: bool
    # The end of the branch in use.
    leaf_id: str | None


class TreeNode(msgspec.Struct, kw_only=True):
    """An item of a tree, without its text."""

    id: str
    parent_id: str | None
    role: str
    kind: str
    status: Literal["completed", "incomplete"]
    created_at: int
    response_id: str | None


class ConversationTree(msgspec.Struct, kw_only=True):
    """The shape of all branches, in the order in which items were added."""

    conversation_id: str
    leaf_id: str | None
    nodes: list[TreeNode]
    # Of all answers, also those on branches that were left.
    cost_nanos: int
    object: Literal["conversation.tree"] = "conversation.tree"


class ConversationDeleted(msgspec.Struct, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class ConversationList(msgspec.Struct, kw_only=True):
    """A page of conversations, the most recently used first."""

    data: list[ConversationBody]
    has_more: bool
    first_id: str
    last_id: str
    object: Literal["list"] = "list"
