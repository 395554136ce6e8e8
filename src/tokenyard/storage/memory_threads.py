"""Keeps `chat.ports.ThreadStore` in memory, over what the chat store holds."""

from collections.abc import Mapping
from dataclasses import asdict, replace

from tokenyard.chat.records import Conversation, ConversationDetails, Item, Node
from tokenyard.vocabulary.ids import ConversationId, ItemId, ProjectId


class MemoryThreadStore:
    """Paths through trees of items, and titles, folders and marks of conversations."""

    def __init__(
        self,
        conversations: dict[ConversationId, Conversation],
        items: Mapping[ConversationId | None, list[Item]],
    ) -> None:
        self._conversations = conversations
        self._items = items

    async def list_path(self, tip: ItemId, *, limit: int) -> list[Item]:
        """The items from that one up to the root, itself first; none when it is not there."""
        by_id = {item.id: item for held in self._items.values() for item in held}
        path: list[Item] = []
        here = by_id.get(tip)
        while here is not None and len(path) < limit:
            path.append(here)
            here = None if here.parent is None else by_id.get(here.parent)
        return path

    async def list_nodes(self, conversation: ConversationId, *, limit: int) -> list[Node]:
        """The shape of the tree, in the order in which items were added."""
        return [
            Node(
                id=item.id,
                parent=item.parent,
                role=item.role,
                kind=item.kind,
                response=item.response,
                complete=item.complete,
                created_at=item.created_at,
            )
            for item in self._items.get(conversation, [])[:limit]
        ]

    async def set_leaf(
        self, conversation: ConversationId, project: ProjectId, leaf: ItemId
    ) -> bool:
        """Choose the branch in use; False when there is no such conversation."""
        held = self._conversations.get(conversation)
        if held is None or held.project != project:
            return False
        self._conversations[conversation] = replace(held, leaf=leaf)
        return True

    async def set_details(
        self, conversation: ConversationId, project: ProjectId, details: ConversationDetails
    ) -> bool:
        """Set title, folder and marks; False when there is no such conversation."""
        held = self._conversations.get(conversation)
        if held is None or held.project != project:
            return False
        self._conversations[conversation] = replace(held, **asdict(details))
        return True
