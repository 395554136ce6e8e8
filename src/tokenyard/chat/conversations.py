"""Conversations: made, listed, titled and deleted by the user they belong to.

Does not write answers; `responses` does, and tells here which conversation is busy.
"""

from collections.abc import Mapping, Sequence

from tokenyard.chat.ports import ChatStore
from tokenyard.chat.records import Conversation, Item
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.settings import ChatSettings
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, IdPrefix, ItemId
from tokenyard.vocabulary.messages import Message


class Conversations:
    """What a caller may do with its conversations; one of another project does not exist for it."""

    def __init__(
        self, store: ChatStore, settings: ChatSettings, clock: Clock, randomness: Randomness
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._randomness = randomness

    def write_items(self, messages: Sequence[Message]) -> list[Item]:
        """Messages as new items, stamped now."""
        now = self._clock.now()
        return [
            Item(
                id=ItemId(mint(IdPrefix.MESSAGE, self._randomness)),
                role=message.role,
                text=message.content,
                created_at=now,
            )
            for message in messages
        ]

    async def create(
        self, caller: Principal, messages: Sequence[Message], metadata: Mapping[str, str]
    ) -> Conversation:
        """A new conversation, perhaps with first messages."""
        now = self._clock.now()
        conversation = Conversation(
            id=ConversationId(mint(IdPrefix.CONVERSATION, self._randomness)),
            project=caller.project,
            user=caller.user,
            created_at=now,
            updated_at=now,
            metadata=dict(metadata),
        )
        await self._store.add_conversation(conversation, self.write_items(messages))
        return conversation

    async def get(self, caller: Principal, id: ConversationId) -> Conversation:
        """The conversation; raises NotFound."""
        conversation = await self._store.find_conversation(id, caller.project)
        if conversation is None:
            raise _no_conversation(id)
        return conversation

    async def page(
        self, caller: Principal, *, limit: int, after: ConversationId | None
    ) -> tuple[list[Conversation], bool]:
        """The caller's conversations, most recently used first, and whether there are more."""
        found = await self._store.list_conversations(
            caller.project, caller.user, limit=limit + 1, after=after
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
        """Items of the conversation and whether there are more; raises NotFound."""
        await self.get(caller, id)
        found = await self._store.list_items(
            id, limit=limit + 1, after=after, newest_first=newest_first
        )
        return found[:limit], len(found) > limit

    async def add_items(
        self, caller: Principal, id: ConversationId, messages: Sequence[Message]
    ) -> list[Item]:
        """Append messages; raises NotFound, or InvalidRequest when they do not fit."""
        await self._check_room(caller, id, len(messages))
        items = self.write_items(messages)
        if not await self._store.add_items(id, caller.project, items, self._clock.now()):
            raise _no_conversation(id)
        return items

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

    async def history(self, caller: Principal, id: ConversationId, adding: int) -> list[Message]:
        """All turns so far; raises NotFound, or InvalidRequest when `adding` more do not fit."""
        await self._check_room(caller, id, adding + 1)
        items = await self._store.list_items(id, limit=self._settings.conversation_items_max)
        return [Message(item.role, item.text) for item in items]

    async def _check_room(self, caller: Principal, id: ConversationId, adding: int) -> None:
        items_max = self._settings.conversation_items_max
        await self.get(caller, id)
        if await self._store.count_items(id) + adding > items_max:
            raise InvalidRequest(
                f"A conversation holds at most {items_max} items; start another one.",
                param="conversation",
            )


def _no_item(id: str) -> NotFound:
    return NotFound(f"There is no item '{id}' in this conversation.", param="item_id")


def _no_conversation(id: str) -> NotFound:
    return NotFound(f"There is no conversation '{id}'.", param="conversation")
