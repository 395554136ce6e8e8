"""Keeps `chat.ports.ChatStore` in SQL.

The statements are built once, with places for their values: to build one costs several times as
much as to run it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    Integer,
    Row,
    Select,
    String,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

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
from tokenyard.storage.refusals import conversation_busy, no_conversation, unknown_cursor
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.journal import post
from tokenyard.storage.sql.schema import conversations, items, responses
from tokenyard.storage.sql.stream_tables import productions
from tokenyard.storage.sql.streams import add_production, close_production
from tokenyard.storage.sql.threads import delete_loose_items, follow_leaf, splice_out
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.ids import ConversationId, ItemId, ProjectId, ResponseId, UserId
from tokenyard.vocabulary.reasons import Reason

_ID = bindparam("b_id", type_=String)
_PROJECT = bindparam("b_project", type_=String)
_USER = bindparam("b_user", type_=String)
_AFTER = bindparam("b_after", type_=String)
_LIMIT = bindparam("b_limit", type_=Integer)
_AT = bindparam("b_at", type_=Double)
_CONVERSATION = conversations.c
_MINE = (_CONVERSATION.id == _ID, _CONVERSATION.project_id == _PROJECT)
_OURS = (_CONVERSATION.project_id == _PROJECT, _CONVERSATION.user_id == _USER)
_FOLDER = bindparam("b_folder", type_=String)
_PINNED = bindparam("b_pinned", type_=Boolean)
_ARCHIVED = bindparam("b_archived", type_=Boolean)
_ASKED = (
    # What is not asked for is equal to itself.
    func.coalesce(_FOLDER, _CONVERSATION.folder) == _CONVERSATION.folder,
    func.coalesce(_PINNED, _CONVERSATION.pinned) == _CONVERSATION.pinned,
    func.coalesce(_ARCHIVED, _CONVERSATION.archived) == _CONVERSATION.archived,
)
_IN_PROGRESS = responses.c.status == ResponseStatus.IN_PROGRESS.value

_ADD_CONVERSATION = insert(conversations)
_FIND_CONVERSATION = select(conversations).where(*_MINE)
_CHANGE_CONVERSATION = update(conversations).where(*_MINE)
_DELETE_CONVERSATION = delete(conversations).where(*_MINE)
_TOUCH_CONVERSATION = (
    update(conversations)
    .where(*_MINE)
    .values(updated_at=case((_CONVERSATION.updated_at < _AT, _AT), else_=_CONVERSATION.updated_at))
)
_LIST_CONVERSATIONS = (
    select(conversations)
    .where(*_OURS, *_ASKED)
    .order_by(_CONVERSATION.updated_at.desc(), _CONVERSATION.id.desc())
    .limit(_LIMIT)
)
_CONVERSATION_CURSOR = select(_CONVERSATION.updated_at).where(_CONVERSATION.id == _AFTER, *_OURS)
_LIST_CONVERSATIONS_AFTER = _LIST_CONVERSATIONS.where(
    tuple_(_CONVERSATION.updated_at, _CONVERSATION.id)
    < tuple_(_CONVERSATION_CURSOR.scalar_subquery(), _AFTER)
)

_ADD_ITEMS = insert(items)
_ITEM = bindparam("b_item", type_=String)
_FIND_ITEM_IN = select(items).where(items.c.id == _ITEM, items.c.conversation_id == _ID)
_DELETE_ITEM = delete(items).where(items.c.id == _ITEM, items.c.conversation_id == _ID)
_LEAF = select(_CONVERSATION.leaf_id).where(_CONVERSATION.id == _ID)
_MOVE_LEAF = update(conversations).where(_CONVERSATION.id == _ID)
_SUM_COSTS = select(func.coalesce(func.sum(responses.c.cost_nanos), 0)).where(
    responses.c.conversation_id == _ID
)
_COUNT_ITEMS = select(func.count()).select_from(items).where(items.c.conversation_id == _ID)
_ITEM_CURSOR = select(items.c.place).where(items.c.id == _AFTER, items.c.conversation_id == _ID)
_ITEMS = select(items).where(items.c.conversation_id == _ID).limit(_LIMIT)
_LIST_ITEMS = {False: _ITEMS.order_by(items.c.place), True: _ITEMS.order_by(items.c.place.desc())}
_LIST_ITEMS_AFTER = {
    False: _LIST_ITEMS[False].where(items.c.place > _ITEM_CURSOR.scalar_subquery()),
    True: _LIST_ITEMS[True].where(items.c.place < _ITEM_CURSOR.scalar_subquery()),
}

_ADD_RESPONSE = insert(responses)
_LIST_ACTIVE = select(responses.c.id, responses.c.conversation_id).where(
    _IN_PROGRESS, responses.c.conversation_id.in_(bindparam("b_ids", expanding=True))
)
_FIND_RESPONSE = select(responses).where(responses.c.id == _ID, responses.c.project_id == _PROJECT)
_HAS_RESPONSE = select(responses.c.id).where(responses.c.id == _ID)
_FINISH_RESPONSE = (
    update(responses)
    .where(responses.c.id == _ID, _IN_PROGRESS)
    .returning(responses.c.conversation_id, responses.c.project_id)
)
_RESPONSE_ITEMS = select(items).where(items.c.response_id == _ID).order_by(items.c.place)
# What was asked was added before the first item of the answer.
_OUTPUT_PLACE = select(items.c.place).where(items.c.id == _ITEM).scalar_subquery()
_OUTPUT = _RESPONSE_ITEMS.where(items.c.place >= _OUTPUT_PLACE)
_LEAVE_OUTPUT = (
    update(responses)
    .where(responses.c.id == _ID, responses.c.output_id == _ITEM)
    .values(
        output_id=select(items.c.id)
        .where(items.c.response_id == _ID, items.c.place > bindparam("b_place", type_=BigInteger))
        .order_by(items.c.place)
        .limit(1)
        .scalar_subquery()
    )
)
_DELETE_RESPONSE = delete(responses).where(
    responses.c.id == _ID, responses.c.project_id == _PROJECT, ~_IN_PROGRESS
)
_FAIL_ABANDONED = update(responses).where(
    _IN_PROGRESS, responses.c.id.not_in(select(productions.c.response_id))
)


class SqlChatStore:
    """Conversations, items and responses; every write is one transaction."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_conversation(self, conversation: Conversation, items: Sequence[Item]) -> None:
        """Store a new conversation with its first items (perhaps none)."""
        row = rows.write_conversation(conversation)
        first = rows.write_items(items, conversation.id, None)

        def change(connection: Connection) -> None:
            connection.execute(_ADD_CONVERSATION, row)
            _append(connection, first)

        await self._writer.write(change)

    async def find_conversation(
        self, conversation: ConversationId, project: ProjectId
    ) -> Conversation | None:
        """None when there is none, or when it belongs to another project."""
        row = await self._readers.first(_FIND_CONVERSATION, b_id=conversation, b_project=project)
        return None if row is None else rows.read_conversation(row)

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
        values = {
            "b_project": project,
            "b_user": user,
            "b_limit": limit,
            "b_after": after,
            "b_folder": only.folder,
            "b_pinned": only.pinned,
            "b_archived": only.archived,
        }
        if after is None:
            found = await self._readers.all(_LIST_CONVERSATIONS, **values)
        else:
            found = await self._page(_LIST_CONVERSATIONS_AFTER, _CONVERSATION_CURSOR, values)
        return [rows.read_conversation(row) for row in found]

    async def set_metadata(
        self, conversation: ConversationId, project: ProjectId, metadata: Mapping[str, str]
    ) -> bool:
        """Replace the metadata; False when there is no such conversation."""
        change = run(
            _CHANGE_CONVERSATION, b_id=conversation, b_project=project, metadata=dict(metadata)
        )
        return await self._writer.write(change) == 1

    async def delete_conversation(self, conversation: ConversationId, project: ProjectId) -> bool:
        """Remove it with its items and responses; usage rows stay. False when there is none."""
        change = run(_DELETE_CONVERSATION, b_id=conversation, b_project=project)
        return await self._writer.write(change) == 1

    async def list_items(
        self,
        conversation: ConversationId,
        *,
        limit: int,
        after: ItemId | None = None,
        newest_first: bool = False,
    ) -> list[Item]:
        """Items in the order in which they were added, or the reverse."""
        values = {"b_id": conversation, "b_limit": limit, "b_after": after}
        if after is None:
            found = await self._readers.all(_LIST_ITEMS[newest_first], **values)
        else:
            found = await self._page(_LIST_ITEMS_AFTER[newest_first], _ITEM_CURSOR, values)
        return [rows.read_item(row) for row in found]

    async def add_items(
        self, conversation: ConversationId, project: ProjectId, items: Sequence[Item], at: float
    ) -> bool:
        """Append items; False, and nothing written, when there is no such conversation."""
        added = rows.write_items(items, conversation, None)

        def change(connection: Connection) -> bool:
            if not _touch(connection, conversation, project, at):
                return False
            leaf = connection.execute(_LEAF, {"b_id": conversation}).scalar()
            for row in added:
                row["parent_id"], leaf = leaf, row["id"]
            _append(connection, added)
            _move_leaf(connection, conversation, leaf)
            return True

        return await self._writer.write(change)

    async def delete_item(self, conversation: ConversationId, item: ItemId) -> bool:
        """Remove one item; False when it is not in that conversation."""

        def change(connection: Connection) -> bool:
            values = {"b_id": conversation, "b_item": item}
            row = connection.execute(_FIND_ITEM_IN, values).first()
            if row is None:
                return False
            connection.execute(_DELETE_ITEM, values)
            splice_out(connection, row.id, row.parent_id)
            left = {"b_item": row.id, "b_id": row.response_id, "b_place": row.place}
            connection.execute(_LEAVE_OUTPUT, left)
            return True

        return await self._writer.write(change)

    async def find_item(self, conversation: ConversationId, item: ItemId) -> Item | None:
        """One item of the conversation."""
        row = await self._readers.first(_FIND_ITEM_IN, b_id=conversation, b_item=item)
        return None if row is None else rows.read_item(row)

    async def count_items(self, conversation: ConversationId) -> int:
        """How many items the conversation holds."""
        row = await self._readers.first(_COUNT_ITEMS, b_id=conversation)
        return 0 if row is None else row[0]

    async def sum_costs(self, conversation: ConversationId) -> int:
        """Nanos of all its answers, on every branch; 0 when there is no such conversation."""
        row = await self._readers.first(_SUM_COSTS, b_id=conversation)
        return 0 if row is None else int(row[0])

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
        row = rows.write_response(response)
        turns = rows.write_items(asked, response.conversation, response.id)

        def change(connection: Connection) -> None:
            if response.conversation is not None:
                # Holds the conversation's row, so that of two processes one comes after the other.
                if not _touch(connection, response.conversation, response.project, at):
                    raise no_conversation()
                _check_free(connection, response.conversation, tip)
            connection.execute(_ADD_RESPONSE, row)
            if production is not None:
                add_production(connection, production)
            _append(connection, turns)
            if turns and response.conversation is not None:
                _move_leaf(connection, response.conversation, turns[-1]["id"])

        await self._writer.write(change)

    async def list_active(
        self, conversations: Sequence[ConversationId]
    ) -> Mapping[ConversationId, ResponseId]:
        """The responses in progress of these conversations."""
        found = await self._readers.all(_LIST_ACTIVE, b_ids=list(conversations))
        return {ConversationId(row.conversation_id): ResponseId(row.id) for row in found}

    async def finish_response(
        self, response: Response, usage: UsageRow | None, ending: Chunk | None = None
    ) -> bool:
        """Store the final state, the output item, the usage row and the end of the log at once."""
        at = response.finished_at
        if response.status is ResponseStatus.IN_PROGRESS or at is None:
            raise ValueError("a response is finished with a final status and a time")
        final = {**rows.write_progress(response), "b_id": response.id}
        output = response.output
        bill = None if usage is None else post(usage)

        def change(connection: Connection) -> bool:
            there = _is_there(connection, response.id)
            if there and ending is not None and not close_production(connection, ending):
                return False
            ended = connection.execute(_FINISH_RESPONSE, final).first()
            if ended is None and there:
                return False
            if ended is None:
                return bill is not None and bill(connection)
            _append(connection, rows.write_items(output, ended.conversation_id, response.id))
            if ended.conversation_id is not None:
                _touch(connection, ended.conversation_id, ended.project_id, at)
                for item in output:
                    follow_leaf(connection, ended.conversation_id, item.parent, item.id)
            if bill is not None:
                bill(connection)
            return True

        return await self._writer.write(change)

    async def find_response(self, response: ResponseId, project: ProjectId) -> Response | None:
        """None when there is none, or when it belongs to another project."""

        def find(connection: Connection) -> Response | None:
            wanted = {"b_id": response, "b_project": project}
            row = connection.execute(_FIND_RESPONSE, wanted).first()
            if row is None:
                return None
            output = connection.execute(_OUTPUT, {"b_id": response, "b_item": row.output_id})
            return rows.read_response(row, tuple(rows.read_item(one) for one in output))

        return await self._readers.read(find)

    async def list_response_items(self, response: ResponseId) -> list[Item]:
        """What was asked and answered in it, in the order in which it was added."""
        found = await self._readers.all(_RESPONSE_ITEMS, b_id=response)
        return [rows.read_item(row) for row in found]

    async def delete_response(self, response: ResponseId, project: ProjectId) -> bool:
        """Remove it; usage rows stay. False when there is none, or when it is in progress."""
        values = {"b_id": response, "b_project": project}

        def change(connection: Connection) -> bool:
            if connection.execute(_DELETE_RESPONSE, values).rowcount == 0:
                return False
            delete_loose_items(connection, response)
            return True

        return await self._writer.write(change)

    async def fail_abandoned(self, reason: Reason, message: str, at: float) -> int:
        """Mark responses in progress that nobody can go on with as failed; returns how many."""
        change = run(
            _FAIL_ABANDONED,
            status=ResponseStatus.FAILED.value,
            finished_at=at,
            error_reason=reason.value,
            error_message=message,
        )
        return await self._writer.write(change)

    async def _page(
        self, query: Select[Any], cursor: Select[Any], values: dict[str, Any]
    ) -> Sequence[Row[Any]]:
        """Rows after a cursor; refuses one that names nothing, which an empty page would hide."""

        def turn(connection: Connection) -> Sequence[Row[Any]]:
            if connection.execute(cursor, values).first() is None:
                raise unknown_cursor()
            return connection.execute(query, values).all()

        return await self._readers.read(turn)


def _append(connection: Connection, added: Sequence[rows.Values]) -> None:
    if added:
        connection.execute(_ADD_ITEMS, added)


def _touch(
    connection: Connection, conversation: ConversationId, project: ProjectId, at: float
) -> bool:
    """Move a conversation up in its list, never down; False when it is not there."""
    values = {"b_id": conversation, "b_project": project, "b_at": at}
    return connection.execute(_TOUCH_CONVERSATION, values).rowcount == 1


def _check_free(connection: Connection, conversation: ConversationId, tip: Tip | None) -> None:
    """Refuse a second answer at a time, and one whose history has grown meanwhile."""
    if connection.execute(_LIST_ACTIVE, {"b_ids": [conversation]}).first() is not None:
        raise conversation_busy()
    if tip is not None and connection.execute(_LEAF, {"b_id": conversation}).scalar() != tip.item:
        raise conversation_busy()


def _move_leaf(connection: Connection, conversation: ConversationId, leaf: str | None) -> None:
    connection.execute(_MOVE_LEAF, {"b_id": conversation, "leaf_id": leaf})


def _is_there(connection: Connection, response: ResponseId) -> bool:
    return connection.execute(_HAS_RESPONSE, {"b_id": response}).first() is not None
