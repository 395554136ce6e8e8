"""What the chat needs from a store; memory and SQL in `storage` both keep it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tokenyard.chat.log_ports import Production
from tokenyard.chat.records import (
    EVERY_CONVERSATION,
    Conversation,
    ConversationDetails,
    ConversationFilter,
    Item,
    Node,
    Response,
    Tip,
)
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.ledger.records import UsageRow
from tokenyard.vocabulary.ids import ConversationId, ItemId, ProjectId, ResponseId, UserId
from tokenyard.vocabulary.reasons import Reason


class ChatStore(Protocol):
    """Durable conversations and responses. A call that returns has been committed."""

    async def add_conversation(self, conversation: Conversation, items: Sequence[Item]) -> None:
        """Store a new conversation with its first items (perhaps none)."""
        ...

    async def find_conversation(
        self, conversation: ConversationId, project: ProjectId
    ) -> Conversation | None:
        """None when there is none, or when it belongs to another project."""
        ...

    async def list_conversations(
        self,
        project: ProjectId,
        user: UserId,
        *,
        limit: int,
        after: ConversationId | None,
        only: ConversationFilter = EVERY_CONVERSATION,
    ) -> list[Conversation]:
        """Most recently updated first; `after` names the last one of the page before."""
        ...

    async def set_metadata(
        self, conversation: ConversationId, project: ProjectId, metadata: Mapping[str, str]
    ) -> bool:
        """Replace the metadata; False when there is no such conversation."""
        ...

    async def delete_conversation(self, conversation: ConversationId, project: ProjectId) -> bool:
        """Remove it with its items and responses; usage rows stay. False when there is none."""
        ...

    async def list_items(
        self,
        conversation: ConversationId,
        *,
        limit: int,
        after: ItemId | None = None,
        newest_first: bool = False,
    ) -> list[Item]:
        """Items in the order in which they were added, or the reverse."""
        ...

    async def add_items(
        self, conversation: ConversationId, project: ProjectId, items: Sequence[Item], at: float
    ) -> bool:
        """Append items to the branch in use, one below the other, whatever parents they name.

        False, and nothing written, when there is no such conversation.
        """
        ...

    async def delete_item(self, conversation: ConversationId, item: ItemId) -> bool:
        """Remove one item; its children become its parent's. False when it is not there."""
        ...

    async def find_item(self, conversation: ConversationId, item: ItemId) -> Item | None:
        """One item of the conversation."""
        ...

    async def count_items(self, conversation: ConversationId) -> int:
        """How many items the conversation holds."""
        ...

    async def sum_costs(self, conversation: ConversationId) -> int:
        """Nanos of all its answers, on every branch; 0 when there is no such conversation."""
        ...

    async def open_response(
        self,
        response: Response,
        asked: Sequence[Item],
        at: float,
        production: Production | None = None,
        *,
        tip: Tip | None = None,
    ) -> None:
        """Store a response in progress and what was asked, below the parents that it names.

        In a conversation, the last of what was asked becomes the leaf. tip: the leaf that it must
        still have. Raises Conflict when it has another one, or is being answered, whichever
        process does so.
        """
        ...

    async def list_active(
        self, conversations: Sequence[ConversationId]
    ) -> Mapping[ConversationId, ResponseId]:
        """The responses in progress of these conversations, each of which has one at most."""
        ...

    async def finish_response(
        self, response: Response, usage: UsageRow | None, ending: Chunk | None = None
    ) -> bool:
        """Store the final state, the output item, the usage row and the end of the log at once.

        The answer becomes the leaf of its conversation if its parent still is that. Exactly once:
        False, and nothing written, when the response is already final, or when another producer
        than that of `ending` writes it. Of a response that was deleted meanwhile only the usage
        row is stored.
        """
        ...

    async def find_response(self, response: ResponseId, project: ProjectId) -> Response | None:
        """None when there is none, or when it belongs to another project."""
        ...

    async def list_response_items(self, response: ResponseId) -> list[Item]:
        """What was asked and answered in it, in the order in which it was added."""
        ...

    async def delete_response(self, response: ResponseId, project: ProjectId) -> bool:
        """Remove it; usage rows stay. False when there is none, or when it is in progress.

        Its items go too unless they belong to a conversation.
        """
        ...

    async def fail_abandoned(self, reason: Reason, message: str, at: float) -> int:
        """Mark responses in progress that have no production as failed; returns how many.

        For the start of a process that owns the store alone.
        """
        ...


class ThreadStore(Protocol):
    """Conversations as trees, and what a list of them shows. Over the same data as `ChatStore`."""

    async def list_path(self, tip: ItemId, *, limit: int) -> list[Item]:
        """The items from that one up to the root, itself first; none when it is not there.

        Whose item it is has been checked before.
        """
        ...

    async def list_nodes(self, conversation: ConversationId, *, limit: int) -> list[Node]:
        """The shape of the tree, in the order in which items were added."""
        ...

    async def set_leaf(
        self, conversation: ConversationId, project: ProjectId, leaf: ItemId
    ) -> bool:
        """Choose the branch in use; False when there is no such conversation."""
        ...

    async def set_details(
        self, conversation: ConversationId, project: ProjectId, details: ConversationDetails
    ) -> bool:
        """Set title, folder and marks; False when there is no such conversation."""
        ...
