"""Search over the caller's conversations, and read-only links to them."""

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.chat.archive import Archive, Hit, Share
from tokenyard.chat.rendering import render_message
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_int
from tokenyard.protocol.archive import (
    HitBody,
    SearchResults,
    ShareBody,
    SharedConversation,
    ShareDeleted,
    ShareList,
    SnippetPartBody,
)
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.ids import ConversationId, ShareId

_TAG = "Conversations"
_SHARES = "/api/conversations/{conversation_id}/shares"
_SEARCHED_MAX = 500
_LIMIT = Query("limit", "Most results.", int, 1, 100)
_Q = Query("q", "Words that must all occur; the last one may be a beginning.")
# What is shared is for those who have the link, not for search machines or caches.
_PRIVATE = {"cache-control": "no-store", "x-robots-tag": "noindex"}


class ArchiveRoutes:
    """Handlers of search and shares."""

    def __init__(self, *, doorway: Doorway, archive: Archive) -> None:
        self._doorway = doorway
        self._archive = archive

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", "/api/search", "searchConversations",
                "Titles and messages of the caller's that match.",
                self._search, _TAG, answer=SearchResults, query=(_Q, _LIMIT),
                permission=Permission.CHAT_READ,
            ),
            Operation(
                "POST", _SHARES, "shareConversation",
                "A read-only link to the branch in use, as it is now.",
                self._share, _TAG, answer=ShareBody, errors=(404, 429),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "GET", _SHARES, "listShares", "The links to a conversation.",
                self._shares, _TAG, answer=ShareList, errors=(404,),
                permission=Permission.CHAT_READ,
            ),
            Operation(
                "DELETE", "/api/shares/{share_id}", "revokeShare", "End a link.",
                self._revoke, _TAG, answer=ShareDeleted, errors=(404,),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "GET", "/api/shared/{secret}", "getSharedConversation",
                "What a link shows to whoever has it.",
                self._view, _TAG, answer=SharedConversation, errors=(404,), authenticated=False,
            ),
        ]  # fmt: skip

    async def _search(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        text = request.query_params.get(_Q.name, "")
        if len(text) > _SEARCHED_MAX:
            raise InvalidRequest(f"'q' has at most {_SEARCHED_MAX} characters.", param="q")
        hits = await self._archive.search(caller, text, limit=read_int(request, _LIMIT) or 20)
        return json_answer(SearchResults(data=[_render_hit(hit) for hit in hits]))

    async def _share(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        share, secret = await self._archive.share(caller, _conversation(request))
        return json_answer(_render_share(share, secret))

    async def _shares(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        found = await self._archive.shares(caller, _conversation(request))
        return json_answer(ShareList(data=[_render_share(share) for share in found]))

    async def _revoke(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        share = ShareId(request.path_params["share_id"])
        await self._archive.revoke(caller, share)
        return json_answer(ShareDeleted(id=share))

    async def _view(self, request: Request) -> ASGIApp:
        view = await self._archive.view(request.path_params["secret"])
        items = [render_message(item) for item in view.items]
        body = SharedConversation(title=view.title, shared_at=int(view.created_at), items=items)
        return json_answer(body, headers=_PRIVATE)


def _conversation(request: Request) -> ConversationId:
    return ConversationId(request.path_params["conversation_id"])


def _render_hit(hit: Hit) -> HitBody:
    found = hit.found
    return HitBody(
        conversation_id=found.conversation,
        title=found.title,
        item_id=found.item,
        role=None if found.role is None else found.role.value,
        at=int(found.at),
        snippet=[SnippetPartBody(text=part.text, match=part.match) for part in hit.snippet],
    )


def _render_share(share: Share, secret: str | None = None) -> ShareBody:
    return ShareBody(
        id=share.id,
        conversation_id=share.conversation,
        created_at=int(share.created_at),
        secret=secret,
    )
