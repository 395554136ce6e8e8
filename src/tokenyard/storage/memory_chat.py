"""Keeps `chat.ports.ChatStore` in memory, and the state that chats share with their neighbours.

The end of a response and its usage row are written together because no call gives up control half
way. Knows nothing of limits on its size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tokenyard.chat.archive import Share
from tokenyard.chat.log_ports import Production
from tokenyard.chat.records import (
    EVERY_CONVERSATION,
    Conversation,
    ConversationFilter,
    Item,
    Response,
    ResponseStatus,
    Tip,
)
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.ledger.records import UsageRow
from tokenyard.storage.memory_ledger import Books
from tokenyard.storage.memory_streams import StreamState
from tokenyard.storage.refusals import (
    already_there,
    conversation_busy,
    no_conversation,
    unknown_cursor,
)
from tokenyard.vocabulary.ids import (
    ConversationId,
    ItemId,
    ProjectId,
    ResponseId,
    UserId,
)
from tokenyard.vocabulary.reasons import Reason


@dataclass(slots=True)
class MemoryState:
    """Everything that the stores hold; one object so that rooms can be written together."""

    conversations: dict[ConversationId, Conversation] = field(default_factory=dict)
    # Items of each conversation in the order in which they were added; responses without a
    # conversation keep theirs under None.
    items: dict[ConversationId | None, list[Item]] = field(default_factory=dict)
    item_ids: set[ItemId] = field(default_factory=set)
    responses: dict[ResponseId, Response] = field(default_factory=dict)
    # By the hash of their secrets.
    shares: dict[str, Share] = field(default_factory=dict)
    streams: StreamState = field(default_factory=StreamState)
    books: Books = field(default_factory=Books)

    def append(self, conversation: ConversationId | None, items: Sequence[Item]) -> None:
        self.items.setdefault(conversation, []).extend(items)
        self.item_ids.update(item.id for item in items)

    def check_new(self, items: Sequence[Item]) -> None:
        ids = {item.id for item in items}
        if len(ids) < len(items) or ids & self.item_ids:
            raise already_there("item")

    def touch(self, conversation: ConversationId | None, at: float) -> None:
        held = None if conversation is None else self.conversations.get(conversation)
        if held is not None and held.updated_at < at:
            self.conversations[held.id] = replace(held, updated_at=at)

    def move_leaf(self, conversation: ConversationId | None, leaf: ItemId | None) -> None:
        if conversation is not None:
            held = self.conversations[conversation]
            self.conversations[conversation] = replace(held, leaf=leaf)

    def follow_leaf(self, conversation: ConversationId | None, new: Item) -> None:
        if conversation is not None and self.conversations[conversation].leaf == new.parent:
            self.move_leaf(conversation, new.id)

    def splice_out(self, conversation: ConversationId | None, item: ItemId) -> None:
        """Remove an item and give its children to its parent, wherever they are."""
        gone = next(one for one in self.items[conversation] if one.id == item)
        self.items[conversation].remove(gone)
        self.item_ids.discard(item)
        for held in self.items.values():
            for place, one in enumerate(held):
                if one.parent == item:
                    held[place] = replace(one, parent=gone.parent)
        for owner in list(self.conversations.values()):
            if owner.leaf == item:
                self.move_leaf(owner.id, gone.parent)
        for share in list(self.shares.values()):
            if share.leaf == item:
                self.shares[share.secret_hash] = replace(share, leaf=gone.parent)


def _shows(only: ConversationFilter, held: Conversation) -> bool:
    return (
        only.folder in (None, held.folder)
        and only.pinned in (None, held.pinned)
        and only.archived in (None, held.archived)
    )


class MemoryChatStore:
    """Keeps `chat.ports.ChatStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def add_conversation(self, conversation: Conversation, items: Sequence[Item]) -> None:
        """Store a new conversation with its first items (perhaps none)."""
        if conversation.id in self._state.conversations:
            raise already_there("conversation")
        self._state.check_new(items)
        metadata = dict(conversation.metadata)
        self._state.conversations[conversation.id] = replace(conversation, metadata=metadata)
        self._state.append(conversation.id, items)

    async def find_conversation(
        self, conversation: ConversationId, project: ProjectId
    ) -> Conversation | None:
        """None when there is none, or when it belongs to another project."""
        held = self._state.conversations.get(conversation)
        return held if held is not None and held.project == project else None

    async def list_conversations(
        self,
        project: ProjectId,
        user: UserId,
        *,
        limit: int,
        after: ConversationId | None,
        only: ConversationFilter = EVERY_CONVERSATION,
    ) -> list[Conversation]:
        """Most recently updated first; of equal times the greater id first."""
        mine = [
            held
            for held in self._state.conversations.values()
            if held.project == project and held.user == user
        ]
        mine.sort(key=lambda held: (held.updated_at, held.id), reverse=True)
        if after is not None:
            places = [place for place, held in enumerate(mine) if held.id == after]
            if not places:
                raise unknown_cursor()
            mine = mine[places[0] + 1 :]
        return [held for held in mine if _shows(only, held)][:limit]

    async def set_metadata(
        self, conversation: ConversationId, project: ProjectId, metadata: Mapping[str, str]
    ) -> bool:
        """Replace the metadata; False when there is no such conversation."""
        held = await self.find_conversation(conversation, project)
        if held is None:
            return False
        self._state.conversations[conversation] = replace(held, metadata=dict(metadata))
        return True

    async def delete_conversation(self, conversation: ConversationId, project: ProjectId) -> bool:
        """Remove it with its items and responses; usage rows stay. False when there is none."""
        if await self.find_conversation(conversation, project) is None:
            return False
        state = self._state
        del state.conversations[conversation]
        state.item_ids.difference_update(item.id for item in state.items.pop(conversation, []))
        for response in list(state.responses.values()):
            if response.conversation == conversation:
                del state.responses[response.id]
                state.streams.drop(response.id)
        for share in list(state.shares.values()):
            if share.conversation == conversation:
                del state.shares[share.secret_hash]
        return True

    async def list_items(
        self,
        conversation: ConversationId,
        *,
        limit: int,
        after: ItemId | None = None,
        newest_first: bool = False,
    ) -> list[Item]:
        """Items in the order in which they were added, or the reverse."""
        items = list(self._state.items.get(conversation, []))
        if newest_first:
            items.reverse()
        if after is None:
            return items[:limit]
        places = [place for place, item in enumerate(items) if item.id == after]
        if not places:
            raise unknown_cursor()
        return items[places[0] + 1 :][:limit]

    async def add_items(
        self, conversation: ConversationId, project: ProjectId, items: Sequence[Item], at: float
    ) -> bool:
        """Append items; False, and nothing written, when there is no such conversation."""
        if await self.find_conversation(conversation, project) is None:
            return False
        self._state.check_new(items)
        leaf = self._state.conversations[conversation].leaf
        for item in items:
            self._state.append(conversation, [replace(item, parent=leaf)])
            leaf = item.id
        self._state.move_leaf(conversation, leaf)
        self._state.touch(conversation, at)
        return True

    async def delete_item(self, conversation: ConversationId, item: ItemId) -> bool:
        """Remove one item; False when it is not in that conversation."""
        if await self.find_item(conversation, item) is None:
            return False
        self._state.splice_out(conversation, item)
        return True

    async def find_item(self, conversation: ConversationId, item: ItemId) -> Item | None:
        """One item of the conversation."""
        held = self._state.items.get(conversation, [])
        return next((one for one in held if one.id == item), None)

    async def count_items(self, conversation: ConversationId) -> int:
        """How many items the conversation holds."""
        return len(self._state.items.get(conversation, []))

    async def sum_costs(self, conversation: ConversationId) -> int:
        """Nanos of all its answers, on every branch; 0 when there is no such conversation."""
        answers = self._state.responses.values()
        return sum(one.cost_nanos or 0 for one in answers if one.conversation == conversation)

    async def open_response(
        self,
        response: Response,
        asked: Sequence[Item],
        at: float,
        production: Production | None = None,
        *,
        tip: Tip | None = None,
    ) -> None:
        """Store a response in progress and append what was asked to its conversation."""
        state = self._state
        if response.id in state.responses:
            raise already_there("response")
        state.check_new(asked)
        if response.conversation is not None:
            held = await self.find_conversation(response.conversation, response.project)
            if held is None:
                raise no_conversation()
            moved = tip is not None and tip.item != held.leaf
            if moved or await self.list_active([held.id]):
                raise conversation_busy()
        state.responses[response.id] = replace(response, metadata=dict(response.metadata))
        if production is not None:
            state.streams.productions[response.id] = production
        asked = [replace(item, response=response.id) for item in asked]
        state.append(response.conversation, asked)
        if asked:
            state.move_leaf(response.conversation, asked[-1].id)
        state.touch(response.conversation, at)

    async def list_active(
        self, conversations: Sequence[ConversationId]
    ) -> Mapping[ConversationId, ResponseId]:
        """The responses in progress of these conversations."""
        return {
            held.conversation: held.id
            for held in self._state.responses.values()
            if held.status is ResponseStatus.IN_PROGRESS
            and held.conversation is not None
            and held.conversation in conversations
        }

    async def finish_response(
        self, response: Response, usage: UsageRow | None, ending: Chunk | None = None
    ) -> bool:
        """Store the final state, the output item, the usage row and the end of the log at once."""
        state = self._state
        if response.status is ResponseStatus.IN_PROGRESS or response.finished_at is None:
            raise ValueError("a response is finished with a final status and a time")
        held = state.responses.get(response.id)
        if held is None:
            return usage is not None and state.books.add_usage(usage)
        if held.status is not ResponseStatus.IN_PROGRESS:
            return False
        if ending is not None and not state.streams.close(ending):
            return False
        state.check_new(response.output)
        output = tuple(replace(item, response=response.id) for item in response.output)
        state.append(held.conversation, output)
        for item in output:
            state.follow_leaf(held.conversation, item)
        state.responses[held.id] = replace(
            held,
            status=response.status,
            finished_at=response.finished_at,
            usage=response.usage,
            cost_nanos=response.cost_nanos,
            pace=response.pace,
            incomplete_reason=response.incomplete_reason,
            error_reason=response.error_reason,
            error_message=response.error_message,
            output=output,
        )
        state.touch(held.conversation, response.finished_at)
        if usage is not None:
            state.books.add_usage(usage)
        return True

    async def find_response(self, response: ResponseId, project: ProjectId) -> Response | None:
        """None when there is none, or when it belongs to another project."""
        held = self._state.responses.get(response)
        if held is None or held.project != project:
            return None
        left = tuple(item for item in held.output if item.id in self._state.item_ids)
        return replace(held, output=left)

    async def list_response_items(self, response: ResponseId) -> list[Item]:
        """What was asked and answered in it, in the order in which it was added."""
        held = [item for added in self._state.items.values() for item in added]
        return [item for item in held if item.response == response]

    async def delete_response(self, response: ResponseId, project: ProjectId) -> bool:
        """Remove it; usage rows stay. False when there is none, or when it is in progress."""
        held = await self.find_response(response, project)
        if held is None or held.status is ResponseStatus.IN_PROGRESS:
            return False
        state = self._state
        del state.responses[response]
        for item in reversed(list(state.items.get(None, []))):
            if item.response == response:
                state.splice_out(None, item.id)
        state.streams.drop(response)
        return True

    async def fail_abandoned(self, reason: Reason, message: str, at: float) -> int:
        """Mark responses in progress that nobody can go on with as failed; returns how many."""
        responses = self._state.responses
        abandoned = [
            held
            for held in responses.values()
            if held.status is ResponseStatus.IN_PROGRESS
            and held.id not in self._state.streams.productions
        ]
        for held in abandoned:
            responses[held.id] = replace(
                held,
                status=ResponseStatus.FAILED,
                finished_at=at,
                error_reason=reason,
                error_message=message,
            )
        return len(abandoned)
