"""Conversations: made, listed, titled and deleted by the user they belong to.

Does not write answers; `responses` does, and tells here which conversation is busy.
"""

from collections.abc import Mapping, Sequence

from tokenyard.chat.ports import ChatStore, ThreadStore
from tokenyard.chat.records import (
    Conversation,
    ConversationDetails,
    ConversationFilter,
    Draft,
    Item,
    ItemKind,
    Node,
)
from tokenyard.chat.rules.tree import find_leaf
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, IdPrefix, ItemId
from tokenyard.vocabulary.reasons import Reason

_PREFIXES = {
    ItemKind.FUNCTION_CALL: IdPrefix.FUNCTION_CALL,
    ItemKind.FUNCTION_OUTPUT: IdPrefix.FUNCTION_OUTPUT,
    ItemKind.REASONING: IdPrefix.REASONING,
}


class Conversations:
    """What a caller may do with its conversations; one of another project does not exist for it."""

    def __init__(
        self,
        store: ChatStore,
        threads: ThreadStore,
        settings: ChatSettings,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._store = store
        self._threads = threads
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        # How many times something was deleted here.
        self.deletions = 0

    def write_items(self, drafts: Sequence[Draft], under: ItemId | None = None) -> list[Item]:
        """Drafts as new items, stamped now, one below the other and the first below `under`."""
        now = self._clock.now()
        items: list[Item] = []
        for draft in drafts:
            item = Item(
                id=ItemId(mint(_PREFIXES.get(draft.kind, IdPrefix.MESSAGE), self._randomness)),
                role=draft.role,
                text=draft.text,
                created_at=now,
                parent=under,
                kind=draft.kind,
                attachments=draft.attachments,
                call=draft.call,
            )
            items.append(item)
            under = item.id
        return items

    async def create(
        self, caller: Principal, drafts: Sequence[Draft], metadata: Mapping[str, str]
    ) -> Conversation:
        """A new conversation, perhaps with first messages."""
        now = self._clock.now()
        items = self.write_items(drafts)
        conversation = Conversation(
            id=ConversationId(mint(IdPrefix.CONVERSATION, self._randomness)),
            project=caller.project,
            user=caller.user,
            created_at=now,
            updated_at=now,
            metadata=dict(metadata),
            leaf=items[-1].id if items else None,
        )
        await self._store.add_conversation(conversation, items)
        return conversation

    async def get(self, caller: Principal, id: ConversationId) -> Conversation:
        """The conversation; raises NotFound."""
        conversation = await self._store.find_conversation(id, caller.project)
        if conversation is None:
            raise _no_conversation(id)
        return conversation

    async def page(
        self,
        caller: Principal,
        *,
        limit: int,
        after: ConversationId | None,
        only: ConversationFilter,
    ) -> tuple[list[Conversation], bool]:
        """The caller's conversations, most recently used first, and whether there are more."""
        found = await self._store.list_conversations(
            caller.project, caller.user, limit=limit + 1, after=after, only=only
        )
        return found[:limit], len(found) > limit

    async def items(
        self,
        caller: Principal,
        id: ConversationId,
        *,
        limit: int,
        after: ItemId | None,
        newest_first: bool,
    ) -> tuple[list[Item], bool]:
        """Items of the branch in use and whether there are more; raises NotFound.

        Raises InvalidRequest when `after` is not on that branch.
        """
        conversation = await self.get(caller, id)
        path = await self.path(conversation)
        if newest_first:
            path.reverse()
        if after is not None:
            places = [place for place, item in enumerate(path) if item.id == after]
            if not places:
                raise InvalidRequest(
                    "`after` names nothing in this list.",
                    reason=Reason.INVALID_CURSOR,
                    param="after",
                )
            path = path[places[0] + 1 :]
        return path[:limit], len(path) > limit

    async def path(self, conversation: Conversation) -> list[Item]:
        """The branch in use, the first item first."""
        if conversation.leaf is None:
            return []
        items_max = self._settings.conversation_items_max
        path = await self._threads.list_path(conversation.leaf, limit=items_max)
        path.reverse()
        return path

    async def tree(self, caller: Principal, id: ConversationId) -> tuple[Conversation, list[Node]]:
        """The conversation and the shape of all its branches; raises NotFound."""
        conversation = await self.get(caller, id)
        items_max = self._settings.conversation_items_max
        return conversation, await self._threads.list_nodes(id, limit=items_max)

    async def cost(self, id: ConversationId) -> int:
        """Nanos of all answers of a conversation that the caller was seen to have."""
        return await self._store.sum_costs(id)

    async def switch(self, caller: Principal, id: ConversationId, item: ItemId) -> Conversation:
        """Make the branch through that item, to its newest leaf, the one in use.

        Raises NotFound.
        """
        _, nodes = await self.tree(caller, id)
        try:
            leaf = find_leaf([(node.id, node.parent) for node in nodes], item)
        except KeyError:
            raise _no_item(item) from None
        await self._threads.set_leaf(id, caller.project, leaf)
        return await self.get(caller, id)

    async def set_details(
        self, caller: Principal, id: ConversationId, details: ConversationDetails
    ) -> Conversation:
        """Set title, folder and marks; raises NotFound."""
        if not await self._threads.set_details(id, caller.project, details):
            raise _no_conversation(id)
        return await self.get(caller, id)

    async def add_items(
        self, caller: Principal, id: ConversationId, drafts: Sequence[Draft]
    ) -> list[Item]:
        """Append messages; raises NotFound, or InvalidRequest when they do not fit."""
        await self.get(caller, id)
        await self.check_room(id, len(drafts))
        items = self.write_items(drafts)
        if not await self._store.add_items(id, caller.project, items, self._clock.now()):
            raise _no_conversation(id)
        return items

    async def append(self, caller: Principal, id: ConversationId, item: Item) -> Item:
        """Put one item below the leaf; raises NotFound, or InvalidRequest when it does not fit."""
        await self.check_room(id, 1)
        if not await self._store.add_items(id, caller.project, [item], self._clock.now()):
            raise _no_conversation(id)
        return await self.item(caller, id, item.id)

    async def item(self, caller: Principal, id: ConversationId, item: ItemId) -> Item:
        """One message; raises NotFound."""
        await self.get(caller, id)
        found = await self._store.find_item(id, item)
        if found is None:
            raise _no_item(item)
        return found

    async def delete_item(
        self, caller: Principal, id: ConversationId, item: ItemId
    ) -> Conversation:
        """Remove one message; raises NotFound."""
        conversation = await self.get(caller, id)
        if not await self._store.delete_item(id, item):
            raise _no_item(item)
        self.deletions += 1
        return conversation

    async def set_metadata(
        self, caller: Principal, id: ConversationId, metadata: Mapping[str, str]
    ) -> Conversation:
        """Replace the metadata; raises NotFound."""
        if not await self._store.set_metadata(id, caller.project, metadata):
            raise _no_conversation(id)
        return await self.get(caller, id)

    async def delete(self, caller: Principal, id: ConversationId) -> None:
        """Delete it with all its items and responses; raises NotFound."""
        if not await self._store.delete_conversation(id, caller.project):
            raise _no_conversation(id)
        self.deletions += 1

    async def check_room(self, id: ConversationId, adding: int) -> None:
        """Raise InvalidRequest when that many more items do not fit."""
        items_max = self._settings.conversation_items_max
        if await self._store.count_items(id) + adding > items_max:
            raise InvalidRequest(
                f"A conversation holds at most {items_max} items; start another one.",
                param="conversation",
            )


def details_of(held: Conversation) -> ConversationDetails:
    """What of it can be set."""
    return ConversationDetails(held.title, held.title_by, held.folder, held.pinned, held.archived)


def _no_item(id: str) -> NotFound:
    return NotFound(f"There is no item '{id}' in this conversation.", param="item_id")


def _no_conversation(id: str) -> NotFound:
    return NotFound(f"There is no conversation '{id}'.", param="conversation")
