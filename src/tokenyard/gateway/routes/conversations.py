"""Conversations: OpenAI's Conversations API, and the list of them that the page needs."""

from dataclasses import replace

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.chat.compaction import Compaction
from tokenyard.chat.conversations import Conversations, details_of
from tokenyard.chat.records import (
    Conversation,
    ConversationDetails,
    ConversationFilter,
    TitleBy,
)
from tokenyard.chat.rendering import render_conversation, render_item, render_tree
from tokenyard.chat.responses import Responses
from tokenyard.gateway.admission import Admission
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import (
    Operation,
    Query,
    json_answer,
    read_choice,
    read_flag,
    read_int,
)
from tokenyard.gateway.routes.drafts import DraftReader
from tokenyard.gateway.routes.pages import AFTER, LIMIT, ORDER, item_page, refuse_include
from tokenyard.protocol.conversations import (
    AddItemsRequest,
    CompactRequest,
    ConversationBody,
    ConversationDeleted,
    ConversationList,
    ConversationTree,
    CreateConversationRequest,
    SwitchRequest,
    UpdateConversationRequest,
)
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.response_items import ItemBody, MessageBody
from tokenyard.protocol.responses import ItemList
from tokenyard.vocabulary.errors import Conflict
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.ids import ConversationId, ItemId, ModelName
from tokenyard.vocabulary.reasons import Reason

_TAG = "Conversations"
_PATH = "/v1/conversations/{conversation_id}"
_OURS = "/api/conversations/{conversation_id}"
_FOLDER = Query("folder", "Only those in this folder; empty for those in none.")
_PINNED = Query("pinned", "Only those that are, or are not.", bool, choices=("true", "false"))
_ARCHIVED = Query("archived", "Only those that are, or are not.", bool, choices=("true", "false"))


class ConversationRoutes:
    """Handlers of the Conversations API."""

    def __init__(
        self,
        *,
        doorway: Doorway,
        admission: Admission,
        conversations: Conversations,
        compaction: Compaction,
        drafts: DraftReader,
        responses: Responses,
    ) -> None:
        self._doorway = doorway
        self._admission = admission
        self._compaction = compaction
        self._drafts = drafts
        self._conversations = conversations
        self._responses = responses

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/v1/conversations", "createConversation", "A new conversation.",
                self._create, _TAG, CreateConversationRequest, ConversationBody, errors=(413,),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "GET", "/api/conversations", "listConversations",
                "The caller's conversations, the most recently used first.",
                self._list, _TAG, answer=ConversationList,
                query=(LIMIT, AFTER, _FOLDER, _PINNED, _ARCHIVED),
                permission=Permission.CHAT_READ,
            ),
            Operation(
                "GET", _PATH, "getConversation", "One conversation.",
                self._get, _TAG, answer=ConversationBody, errors=(404,),
                permission=Permission.CHAT_READ,
            ),
            Operation(
                "POST", _PATH, "updateConversation",
                "Replace its metadata; set its title, folder and marks.",
                self._update, _TAG, UpdateConversationRequest, ConversationBody,
                errors=(404, 413), permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "DELETE", _PATH, "deleteConversation",
                "Delete it with all its items and responses.",
                self._delete, _TAG, answer=ConversationDeleted, errors=(404,),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "GET", f"{_PATH}/items", "listConversationItems", "Its messages.",
                self._items, _TAG, answer=ItemList, query=(LIMIT, AFTER, ORDER),
                errors=(404,), permission=Permission.CHAT_READ,
            ),
            Operation(
                "POST", f"{_PATH}/items", "createConversationItems", "Append items.",
                self._add_items, _TAG, AddItemsRequest, ItemList, errors=(404, 413),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "GET", f"{_PATH}/items/{{item_id}}", "getConversationItem", "One item.",
                self._item, _TAG, answer=ItemBody, errors=(404,),
                permission=Permission.CHAT_READ,
            ),
            Operation(
                "DELETE", f"{_PATH}/items/{{item_id}}", "deleteConversationItem",
                "Remove one item; answers with the conversation.",
                self._delete_item, _TAG, answer=ConversationBody, errors=(404,),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "GET", f"{_OURS}/tree", "getConversationTree", "The shape of all its branches.",
                self._tree, _TAG, answer=ConversationTree, errors=(404,),
                permission=Permission.CHAT_READ,
            ),
            Operation(
                "POST", f"{_OURS}/leaf", "switchBranch",
                "Go to the branch through an item, down to the item that was added last.",
                self._switch, _TAG, SwitchRequest, ConversationBody, errors=(404, 413),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "POST", f"{_OURS}/compact", "compactConversation",
                "Put a summary in place of older turns; deleting it brings them back.",
                self._compact, _TAG, CompactRequest, MessageBody,
                errors=(404, 409, 413, 429, 503), permission=Permission.INFERENCE, replays=True,
            ),
        ]  # fmt: skip

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        asked = decode_request(CreateConversationRequest, body or b"{}")
        drafts = await self._drafts.read(caller, asked.items or (), "items")
        made = await self._conversations.create(caller, drafts, asked.metadata or {})
        return json_answer(render_conversation(made))

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        after = request.query_params.get(AFTER.name)
        found, more = await self._conversations.page(
            caller,
            limit=read_int(request, LIMIT) or 20,
            after=None if after is None else ConversationId(after),
            only=ConversationFilter(
                folder=request.query_params.get(_FOLDER.name),
                pinned=read_flag(request, _PINNED),
                archived=read_flag(request, _ARCHIVED),
            ),
        )
        active = await self._responses.active([one.id for one in found])
        return json_answer(
            ConversationList(
                data=[render_conversation(one, active.get(one.id)) for one in found],
                has_more=more,
                first_id=found[0].id if found else "",
                last_id=found[-1].id if found else "",
            )
        )

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        found = await self._conversations.get(caller, _id(request))
        return json_answer(await self._render(found))

    async def _update(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(UpdateConversationRequest, await self._doorway.body(request))
        wanted = _id(request)
        changed = await self._conversations.get(caller, wanted)
        if asked.metadata is not None:
            changed = await self._conversations.set_metadata(caller, wanted, asked.metadata)
        details = _change_details(changed, asked)
        if details != details_of(changed):
            changed = await self._conversations.set_details(caller, wanted, details)
        return json_answer(await self._render(changed))

    async def _delete(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = await self._conversations.get(caller, _id(request))
        await self._responses.stop_in(caller, wanted.id)
        await self._conversations.delete(caller, wanted.id)
        return json_answer(ConversationDeleted(id=wanted.id))

    async def _items(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        refuse_include(request)
        after = request.query_params.get(AFTER.name)
        found, more = await self._conversations.items(
            caller,
            _id(request),
            limit=read_int(request, LIMIT) or 20,
            after=None if after is None else ItemId(after),
            newest_first=read_choice(request, ORDER, "desc") == "desc",
        )
        return json_answer(item_page(found, more=more))

    async def _add_items(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        refuse_include(request)
        asked = decode_request(AddItemsRequest, await self._doorway.body(request))
        added = await self._conversations.add_items(
            caller, _id(request), await self._drafts.read(caller, asked.items, "items")
        )
        return json_answer(item_page(added, more=False))

    async def _item(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        refuse_include(request)
        found = await self._conversations.item(caller, _id(request), _item_id(request))
        return json_answer(render_item(found))

    async def _delete_item(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        left = await self._conversations.delete_item(caller, _id(request), _item_id(request))
        return json_answer(await self._render(left))

    async def _tree(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        conversation, nodes = await self._conversations.tree(caller, _id(request))
        cost = await self._conversations.cost(conversation.id)
        return json_answer(render_tree(conversation, nodes, cost))

    async def _switch(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(SwitchRequest, await self._doorway.body(request))
        found = await self._conversations.switch(caller, _id(request), ItemId(asked.item_id))
        return json_answer(await self._render(found))

    async def _compact(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(CompactRequest, await self._doorway.body(request))
        if await self._responses.active([_id(request)]):
            raise Conflict(
                "This conversation is being answered. Wait for the end.",
                reason=Reason.CONVERSATION_BUSY,
                param="conversation",
            )
        lease = await self._admission.enter(caller)
        try:
            summary = await self._compaction.compact(
                caller, _id(request), ModelName(asked.model), keep=asked.keep_questions
            )
        finally:
            lease.release()
        return json_answer(render_item(summary))

    async def _render(self, conversation: Conversation) -> ConversationBody:
        active = await self._responses.active([conversation.id])
        return render_conversation(conversation, active.get(conversation.id))


def _change_details(held: Conversation, asked: UpdateConversationRequest) -> ConversationDetails:
    """What it is to be; an empty title may be filled in by a model again."""
    details = details_of(held)
    if asked.title is not None:
        by = TitleBy.USER if asked.title else TitleBy.NOBODY
        details = replace(details, title=asked.title, title_by=by)
    if asked.folder is not None:
        details = replace(details, folder=asked.folder)
    if asked.pinned is not None:
        details = replace(details, pinned=asked.pinned)
    if asked.archived is not None:
        details = replace(details, archived=asked.archived)
    return details


def _item_id(request: Request) -> ItemId:
    return ItemId(request.path_params["item_id"])


def _id(request: Request) -> ConversationId:
    return ConversationId(request.path_params["conversation_id"])
