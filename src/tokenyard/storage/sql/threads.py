"""Keeps `chat.ports.ThreadStore` in SQL: items as trees, and what a list of conversations shows."""

from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    String,
    bindparam,
    delete,
    literal,
    or_,
    select,
    update,
)

from tokenyard.chat.records import ConversationDetails, Item, Node
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.chat_tables import shares
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.schema import conversations, items
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.ids import ConversationId, ItemId, ProjectId, ResponseId

_ID = bindparam("b_id", type_=String)
_PROJECT = bindparam("b_project", type_=String)
_TIP = bindparam("b_tip", type_=String)
_OLD = bindparam("b_old", type_=String)
_NEW = bindparam("b_new", type_=String)
_LIMIT = bindparam("b_limit", type_=Integer)
_MINE = (conversations.c.id == _ID, conversations.c.project_id == _PROJECT)

_CHANGE = update(conversations).where(*_MINE)
_FOLLOW = (
    update(conversations)
    .where(
        conversations.c.id == _ID,
        or_(
            conversations.c.leaf_id == _OLD,
            conversations.c.leaf_id.is_(None) & _OLD.is_(None),
        ),
    )
    .values(leaf_id=_NEW)
)
_ADOPT = update(items).where(items.c.parent_id == _OLD).values(parent_id=_NEW)
_LEAVE_SHARES = update(shares).where(shares.c.leaf_id == _OLD).values(leaf_id=_NEW)
_LEAVE = update(conversations).where(conversations.c.leaf_id == _OLD).values(leaf_id=_NEW)
_LOOSE = (items.c.response_id == _ID, items.c.conversation_id.is_(None))
_FIND_LOOSE = select(items.c.id, items.c.parent_id).where(*_LOOSE).order_by(items.c.place.desc())
_DELETE_LOOSE = delete(items).where(*_LOOSE)
_NODES = (
    select(
        items.c.id,
        items.c.parent_id,
        items.c.role,
        items.c.kind,
        items.c.response_id,
        items.c.complete,
        items.c.created_at,
    )
    .where(items.c.conversation_id == _ID)
    .order_by(items.c.place)
    .limit(_LIMIT)
)


def _path() -> Select[Any]:
    """The items from a tip up to the root, the tip first."""
    up = (
        select(items.c.id, items.c.parent_id, literal(0).label("depth"))
        .where(items.c.id == _TIP)
        .cte("up", recursive=True)
    )
    up = up.union_all(
        select(items.c.id, items.c.parent_id, up.c.depth + 1)
        .join(up, items.c.id == up.c.parent_id)
        .where(up.c.depth + 1 < _LIMIT)
    )
    return select(items).join(up, items.c.id == up.c.id).order_by(up.c.depth).limit(_LIMIT)


_PATH = _path()


class SqlThreadStore:
    """Paths through trees of items, and titles, folders and marks of conversations."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def list_path(self, tip: ItemId, *, limit: int) -> list[Item]:
        """The items from that one up to the root, itself first; none when it is not there."""
        found = await self._readers.all(_PATH, b_tip=tip, b_limit=limit)
        return [rows.read_item(row) for row in found]

    async def list_nodes(self, conversation: ConversationId, *, limit: int) -> list[Node]:
        """The shape of the tree, in the order in which items were added."""
        found = await self._readers.all(_NODES, b_id=conversation, b_limit=limit)
        return [rows.read_node(row) for row in found]

    async def set_leaf(
        self, conversation: ConversationId, project: ProjectId, leaf: ItemId
    ) -> bool:
        """Choose the branch in use; False when there is no such conversation."""
        change = run(_CHANGE, b_id=conversation, b_project=project, leaf_id=leaf)
        return await self._writer.write(change) == 1

    async def set_details(
        self, conversation: ConversationId, project: ProjectId, details: ConversationDetails
    ) -> bool:
        """Set title, folder and marks; False when there is no such conversation."""
        change = run(
            _CHANGE,
            b_id=conversation,
            b_project=project,
            title=details.title,
            title_by=details.title_by.value,
            folder=details.folder,
            pinned=details.pinned,
            archived=details.archived,
        )
        return await self._writer.write(change) == 1


def follow_leaf(
    connection: Connection, conversation: ConversationId, parent: ItemId | None, new: ItemId
) -> None:
    """Go on to a new item, unless the reader has gone to another branch meanwhile."""
    connection.execute(_FOLLOW, {"b_id": conversation, "b_old": parent, "b_new": new})


def splice_out(connection: Connection, item: str, parent: str | None) -> None:
    """Give the children of a deleted item to its parent."""
    values = {"b_old": item, "b_new": parent}
    connection.execute(_ADOPT, values)
    connection.execute(_LEAVE, values)
    connection.execute(_LEAVE_SHARES, values)


def delete_loose_items(connection: Connection, response: ResponseId) -> None:
    """Delete the items of a response outside conversations; later turns close the gap."""
    # From the last to the first, so that children move up past all of them.
    for row in connection.execute(_FIND_LOOSE, {"b_id": response}).all():
        splice_out(connection, row.id, row.parent_id)
    connection.execute(_DELETE_LOOSE, {"b_id": response})
