"""Search results and shared links on the wire. All of it is ours."""

from typing import Literal

import msgspec

from tokenyard.protocol.response_items import MessageBody


class SnippetPartBody(msgspec.Struct, kw_only=True):
    """A part of a snippet, and whether it is what was looked for."""

    text: str
    match: bool


class HitBody(msgspec.Struct, kw_only=True):
    """A title or a message that was found; a title has no item."""

    conversation_id: str
    title: str
    item_id: str | None
    role: str | None
    at: int
    snippet: list[SnippetPartBody]


class SearchResults(msgspec.Struct, kw_only=True):
    """Titles first, then messages, the newest first."""

    data: list[HitBody]
    object: Literal["list"] = "list"


class ShareBody(msgspec.Struct, kw_only=True):
    """A read-only link. `secret` is told once, when it is made; only its hash is kept."""

    id: str
    conversation_id: str
    created_at: int
    secret: str | None = None
    object: Literal["conversation.share"] = "conversation.share"


class ShareList(msgspec.Struct, kw_only=True):
    """All links to a conversation."""

    data: list[ShareBody]
    object: Literal["list"] = "list"


class ShareDeleted(msgspec.Struct, kw_only=True):
    """The answer to a revocation."""

    id: str
    object: Literal["conversation.share.deleted"] = "conversation.share.deleted"
    deleted: Literal[True] = True


class SharedConversation(msgspec.Struct, kw_only=True):
    """What a link shows."""

    title: str
    shared_at: int
    items: list[MessageBody]
    object: Literal["conversation.shared"] = "conversation.shared"
