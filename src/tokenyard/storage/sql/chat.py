"""Keeps `chat.ports.ChatStore` in SQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from tokenyard.chat.records import Conversation, Item, Response, ResponseStatus
from tokenyard.ledger.records import UsageRow
from tokenyard.storage.refusals import no_conversation, unknown_cursor
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.schema import conversations, items, responses, usage_rows
from tokenyard.storage.sql.writer import Addition, GroupWriter, run
from tokenyard.vocabulary.ids import ConversationId, ItemId, ProjectId, ResponseId, UserId
from tokenyard.vocabulary.reasons import Reason


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
            connection.execute(insert(conversations), row)
            _append(connection, first)

        await self._writer.write(change)

    async def find_conversation(
        self, conversation: ConversationId, project: ProjectId
    ) -> Conversation | None:
        """None when there is none, or when it belongs to another project."""
        query = select(conversations).where(
            conversations.c.id == conversation, conversations.c.project_id == project
        )
        row = await self._readers.read(lambda connection: connection.execute(query).first())
        return None if row is None else rows.read_conversation(row)

    async def list_conversations(
        self, project: ProjectId, user: UserId, *, limit: int, after: ConversationId | None
    ) -> list[Conversation]:
        """Most recently updated first; of equal times the greater id first."""
        table = conversations.c
        mine = (table.project_id == project, table.user_id == user)
        query = (
            select(conversations)
            .where(*mine)
            .order_by(table.updated_at.desc(), table.id.desc())
            .limit(limit)
        )
        cursor = None
        if after is not None:
            cursor = select(table.updated_at).where(table.id == after, *mine)
            place = tuple_(cursor.scalar_subquery(), literal(after))
            query = query.where(tuple_(table.updated_at, table.id) < place)
        found = await self._page(query, cursor)
        return [rows.read_conversation(row) for row in found]

    async def set_metadata(
        self, conversation: ConversationId, project: ProjectId, metadata: Mapping[str, str]
    ) -> bool:
        """Replace the metadata; False when there is no such conversation."""
        statement = (
            update(conversations)
            .where(conversations.c.id == conversation, conversations.c.project_id == project)
            .values(metadata=dict(metadata))
        )
        return await self._writer.write(run(statement)) == 1

    async def delete_conversation(self, conversation: ConversationId, project: ProjectId) -> bool:
        """Remove it with its items and responses; usage rows stay. False when there is none."""
        statement = delete(conversations).where(
            conversations.c.id == conversation, conversations.c.project_id == project
        )
        return await self._writer.write(run(statement)) == 1

    async def list_items(
        self,
        conversation: ConversationId,
        *,
        limit: int,
        after: ItemId | None = None,
        newest_first: bool = False,
    ) -> list[Item]:
        """Items in the order in which they were added, or the reverse."""
        place = items.c.place
        query = (
            select(items)
            .where(items.c.conversation_id == conversation)
            .order_by(place.desc() if newest_first else place)
            .limit(limit)
        )
        cursor = None
        if after is not None:
            cursor = select(place).where(
                items.c.id == after, items.c.conversation_id == conversation
            )
            start = cursor.scalar_subquery()
            query = query.where(place < start if newest_first else place > start)
        return [rows.read_item(row) for row in await self._page(query, cursor)]

    async def count_items(self, conversation: ConversationId) -> int:
        """How many items the conversation holds."""
        query = (
            select(func.count()).select_from(items).where(items.c.conversation_id == conversation)
        )
        return await self._readers.read(lambda connection: connection.execute(query).scalar_one())

    async def open_response(self, response: Response, asked: Sequence[Item], at: float) -> None:
        """Store a response in progress and append what was asked to its conversation."""
        row = rows.write_response(response)
        turns = rows.write_items(asked, response.conversation, response.id)

        def change(connection: Connection) -> None:
            if response.conversation is not None and not _touch(
                connection, response.conversation, response.project, at
            ):
                raise no_conversation()
            connection.execute(insert(responses), row)
            _append(connection, turns)

        await self._writer.write(change)

    async def finish_response(self, response: Response, usage: UsageRow | None) -> bool:
        """Store the final state, the output item and the usage row in one transaction."""
        at = response.finished_at
        if response.status is ResponseStatus.IN_PROGRESS or at is None:
            raise ValueError("a response is finished with a final status and a time")
        final = rows.write_progress(response)
        output = () if response.output is None else (response.output,)
        bill = None if usage is None else Addition(usage_rows, rows.write_usage_row(usage))

        def change(connection: Connection) -> bool:
            ended = connection.execute(
                update(responses)
                .where(
                    responses.c.id == response.id,
                    responses.c.status == ResponseStatus.IN_PROGRESS.value,
                )
                .values(final)
                .returning(responses.c.conversation_id, responses.c.project_id)
            ).first()
            if ended is None and _is_there(connection, response.id):
                return False
            if ended is None:
                return bill is not None and bill(connection)
            _append(connection, rows.write_items(output, ended.conversation_id, response.id))
            _touch(connection, ended.conversation_id, ended.project_id, at)
            if bill is not None:
                bill(connection)
            return True

        return await self._writer.write(change)

    async def find_response(self, response: ResponseId, project: ProjectId) -> Response | None:
        """None when there is none, or when it belongs to another project."""
        query = select(responses).where(
            responses.c.id == response, responses.c.project_id == project
        )

        def find(connection: Connection) -> Response | None:
            row = connection.execute(query).first()
            if row is None:
                return None
            output = connection.execute(select(items).where(items.c.id == row.output_id)).first()
            return rows.read_response(row, None if output is None else rows.read_item(output))

        return await self._readers.read(find)

    async def fail_abandoned(self, reason: Reason, message: str, at: float) -> int:
        """Mark every response that is still in progress as failed; returns how many there were."""
        statement = (
            update(responses)
            .where(responses.c.status == ResponseStatus.IN_PROGRESS.value)
            .values(
                status=ResponseStatus.FAILED.value,
                finished_at=at,
                error_reason=reason.value,
                error_message=message,
            )
        )
        return await self._writer.write(run(statement))

    async def _page(self, query: Select[Any], cursor: Select[Any] | None) -> Sequence[Row[Any]]:
        """Rows of a page; refuses a cursor that names nothing, which an empty page could hide."""

        def turn(connection: Connection) -> Sequence[Row[Any]]:
            if cursor is not None and connection.execute(cursor).first() is None:
                raise unknown_cursor()
            return connection.execute(query).all()

        return await self._readers.read(turn)


def _append(connection: Connection, added: Sequence[rows.Values]) -> None:
    if added:
        connection.execute(insert(items), added)


def _touch(
    connection: Connection, conversation: ConversationId | None, project: ProjectId, at: float
) -> bool:
    """Move a conversation up in its list, never down; False when it is not there."""
    table = conversations.c
    moved = connection.execute(
        update(conversations)
        .where(table.id == conversation, table.project_id == project)
        .values(updated_at=case((table.updated_at < at, at), else_=table.updated_at))
    )
    return moved.rowcount == 1


def _is_there(connection: Connection, response: ResponseId) -> bool:
    query = select(responses.c.id).where(responses.c.id == response)
    return connection.execute(query).first() is not None
