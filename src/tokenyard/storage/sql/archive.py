"""Keeps `chat.archive.ArchiveStore` in SQL.

The search index follows the items by itself: in SQLite by triggers on a full-text table, in
Postgres because it is an index of the table.
"""

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Row,
    Select,
    String,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
)

from tokenyard.chat.archive import Found, Share
from tokenyard.chat.records import ItemKind, ResponseStatus
from tokenyard.chat.rules.searching import SearchQuery, matches
from tokenyard.storage.sql.chat_tables import shares
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import POSTGRES, Pair
from tokenyard.storage.sql.schema import conversations, items, responses
from tokenyard.storage.sql.threads import delete_loose_items
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.ids import ConversationId, ItemId, ProjectId, ResponseId, ShareId, UserId
from tokenyard.vocabulary.messages import Role

# Longer texts are found by their beginning: Postgres refuses to index more words than fit 1 MB.
INDEXED_CHARACTERS = 200_000
_ESCAPE = "\\"

_ID = bindparam("b_id", type_=String)
_PROJECT = bindparam("b_project", type_=String)
_USER = bindparam("b_user", type_=String)
_QUERY = bindparam("b_query", type_=String)
_LIMIT = bindparam("b_limit", type_=Integer)
_BEFORE = bindparam("b_before", type_=Double)
_STORED = bindparam("b_stored", type_=Boolean)
_MINE = (conversations.c.project_id == _PROJECT, conversations.c.user_id == _USER)

_TITLES = (
    select(conversations.c.id, conversations.c.title, conversations.c.updated_at)
    .where(*_MINE, func.lower(conversations.c.title).like(_QUERY, escape=_ESCAPE))
    .order_by(conversations.c.updated_at.desc())
    .limit(_LIMIT)
)


def _messages(found: ColumnElement[bool]) -> Select[Any]:
    return (
        select(items, conversations.c.title)
        .join(conversations, items.c.conversation_id == conversations.c.id)
        .where(*_MINE, items.c.kind == ItemKind.MESSAGE.value, found)
        .order_by(items.c.created_at.desc(), items.c.place.desc())
        .limit(_LIMIT)
    )


_WORDS = Pair(
    sqlite=_messages(
        items.c.place.in_(
            select(literal_column("rowid"))
            .select_from(text("item_search"))
            .where(text("item_search MATCH :b_query"))
        )
    ),
    postgres=_messages(
        func.to_tsvector(
            literal_column("'simple'"), func.left(items.c.text, INDEXED_CHARACTERS)
        ).op("@@")(func.to_tsquery(literal_column("'simple'"), _QUERY))
    ),
)
_PIECE = _messages(func.lower(items.c.text).like(_QUERY, escape=_ESCAPE))

_COUNT_SHARES = select(func.count()).select_from(shares).where(shares.c.project_id == _PROJECT)
_ADD_SHARE = insert(shares)
_FIND_SHARE = (
    select(shares, conversations.c.title)
    .join(conversations, shares.c.conversation_id == conversations.c.id)
    .where(shares.c.secret_hash == _ID)
)
_LIST_SHARES = (
    select(shares).where(shares.c.conversation_id == _ID).order_by(shares.c.created_at, shares.c.id)
)
_DELETE_SHARE = delete(shares).where(shares.c.id == _ID, shares.c.project_id == _PROJECT)
_IDLE = (
    select(conversations.c.id)
    .where(conversations.c.updated_at < _BEFORE)
    .order_by(conversations.c.updated_at, conversations.c.id)
    .limit(_LIMIT)
)
_DELETE_IDLE = delete(conversations).where(conversations.c.id.in_(_IDLE))
_OLD = (
    select(responses.c.id)
    .where(
        responses.c.conversation_id.is_(None),
        responses.c.stored == _STORED,
        responses.c.status != ResponseStatus.IN_PROGRESS.value,
        responses.c.finished_at < _BEFORE,
    )
    .order_by(responses.c.finished_at)
    .limit(_LIMIT)
)
_DELETE_RESPONSE = delete(responses).where(responses.c.id == _ID)


class SqlArchiveStore:
    """Search, shares and deletion."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def search(
        self, project: ProjectId, user: UserId, query: SearchQuery, *, limit: int
    ) -> list[Found]:
        """Titles first, then messages; the newest first."""
        mine = {"b_project": project, "b_user": user, "b_limit": limit}
        piece = _spell_piece(query.piece or query.words[0])

        def find(connection: Connection) -> list[Found]:
            titles = connection.execute(_TITLES, {**mine, "b_query": piece}).all()
            if query.piece:
                said = connection.execute(_PIECE, {**mine, "b_query": piece}).all()
            else:
                spelled = _spell_words(query, connection.dialect.name)
                said = connection.execute(_WORDS.of(connection), {**mine, "b_query": spelled}).all()
            return [
                *(_read_title(row) for row in titles if matches(query, row.title)),
                *(_read_message(row) for row in said),
            ][:limit]

        return await self._readers.read(find)

    async def add_share(self, share: Share, *, shares_max: int) -> bool:
        """Store a new link; False when the project has as many as it may."""
        row = {
            "id": share.id,
            "secret_hash": share.secret_hash,
            "conversation_id": share.conversation,
            "project_id": share.project,
            "user_id": share.user,
            "leaf_id": share.leaf,
            "created_at": share.created_at,
        }

        def change(connection: Connection) -> bool:
            held = connection.execute(_COUNT_SHARES, {"b_project": share.project}).scalar_one()
            if held >= shares_max:
                return False
            connection.execute(_ADD_SHARE, row)
            return True

        return await self._writer.write(change)

    async def find_share(self, secret_hash: str) -> tuple[Share, str] | None:
        """The link with that hash and the title of what it shows."""
        row = await self._readers.first(_FIND_SHARE, b_id=secret_hash)
        return None if row is None else (_read_share(row), row.title)

    async def list_shares(self, conversation: ConversationId) -> list[Share]:
        """The links of a conversation, oldest first."""
        found = await self._readers.all(_LIST_SHARES, b_id=conversation)
        return [_read_share(row) for row in found]

    async def delete_share(self, share: ShareId, project: ProjectId) -> bool:
        """Revoke it; False when there is none."""
        return await self._writer.write(run(_DELETE_SHARE, b_id=share, b_project=project)) == 1

    async def delete_idle_conversations(self, before: float, *, limit: int) -> int:
        """Delete those that were last used before then, the oldest first; returns how many."""
        return await self._writer.write(run(_DELETE_IDLE, b_before=before, b_limit=limit))

    async def delete_old_responses(self, before: float, *, stored: bool, limit: int) -> int:
        """Delete responses outside conversations that ended before then; returns how many."""
        values = {"b_before": before, "b_stored": stored, "b_limit": limit}

        def change(connection: Connection) -> int:
            old = connection.execute(_OLD, values).scalars().all()
            for response in old:
                connection.execute(_DELETE_RESPONSE, {"b_id": response})
                delete_loose_items(connection, ResponseId(response))
            return len(old)

        return await self._writer.write(change)

    async def scrub(self, *, words: bool) -> None:
        """Drop deleted words from SQLite's index, and cut its journal, which holds old pages."""
        if words:
            await self._writer.write(_merge_index)
        await self._readers.read(_cut_journal)


def _merge_index(connection: Connection) -> None:
    if connection.dialect.name != POSTGRES:
        connection.exec_driver_sql("INSERT INTO item_search (item_search) VALUES ('optimize')")


def _cut_journal(connection: Connection) -> None:
    if connection.dialect.name == POSTGRES:
        return
    # Not through SQLAlchemy, which would begin a transaction, in which this cannot be done. A
    # reader that is in the way is no harm: the next sweep comes.
    raw = connection.connection.dbapi_connection
    assert raw is not None
    cursor = raw.cursor()
    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cursor.close()


def _spell_piece(piece: str) -> str:
    escaped = piece.lower()
    for sign in (_ESCAPE, "%", "_"):
        escaped = escaped.replace(sign, _ESCAPE + sign)
    return f"%{escaped}%"


def _spell_words(query: SearchQuery, dialect: str) -> str:
    """All words, the last as a beginning; they hold letters, digits and `_` only."""
    *whole, last = query.words
    if dialect == POSTGRES:
        return " & ".join([*whole, f"{last}:*"])
    return " ".join([*(f'"{word}"' for word in whole), f'"{last}"*'])


def _read_title(row: Row[Any, Any, Any]) -> Found:
    return Found(ConversationId(row.id), row.title, row.title, row.updated_at)


def _read_message(row: Row[Any]) -> Found:
    return Found(
        conversation=ConversationId(row.conversation_id),
        title=row.title,
        text=row.text,
        at=row.created_at,
        item=ItemId(row.id),
        role=Role(row.role),
    )


def _read_share(row: Row[Any]) -> Share:
    return Share(
        id=ShareId(row.id),
        secret_hash=row.secret_hash,
        conversation=ConversationId(row.conversation_id),
        project=ProjectId(row.project_id),
        user=UserId(row.user_id),
        leaf=None if row.leaf_id is None else ItemId(row.leaf_id),
        created_at=row.created_at,
    )
