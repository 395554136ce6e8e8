"""Keeps `chat.log_ports.LogStore` and `ProductionStore` in SQL.

A production's row is the fence of its log: each append moves `following` on, and only from where it
was and under the epoch that wrote it.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    String,
    and_,
    bindparam,
    delete,
    false,
    insert,
    not_,
    or_,
    select,
    true,
    update,
)

from tokenyard.chat.log_ports import Behind, Orphan, Outcome, Production
from tokenyard.chat.records import ResponseStatus
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.storage.chunks import pack, unpack
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_ignore
from tokenyard.storage.sql.schema import responses
from tokenyard.storage.sql.stream_tables import producers, productions, stream_chunks
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.ids import ItemId, ProducerId, ResponseId

_PRODUCTION, _CHUNK = productions.c, stream_chunks.c
_ID = bindparam("b_id", type_=String)
_EPOCH = bindparam("b_epoch", type_=BigInteger)
_FIRST = bindparam("b_first", type_=BigInteger)
_NEXT = bindparam("b_next", type_=BigInteger)
_LIMIT = bindparam("b_limit", type_=BigInteger)
_PRODUCER = bindparam("b_producer", type_=String)

_ADD = insert(productions)
_FIND = select(productions).where(_PRODUCTION.response_id == _ID)
_MINE = and_(_PRODUCTION.response_id == _ID, _PRODUCTION.epoch == _EPOCH, not_(_PRODUCTION.closed))
_MOVE_ON = (
    update(productions)
    .where(_MINE, _PRODUCTION.following == _FIRST)
    .values(following=_NEXT)
    .execution_options(preserve_rowcount=True)
)
_CLOSE = (
    update(productions)
    .where(_MINE)
    .values(closed=true(), following=_NEXT, request=b"", producer=None)
)
_TAKE = update(productions).where(_MINE).values(epoch=_EPOCH + 1, producer=_PRODUCER)
_RELEASE = update(productions).where(_MINE).values(producer=None)
_CANCEL = (
    update(productions)
    .where(_PRODUCTION.response_id == _ID, not_(_PRODUCTION.closed))
    .values(cancelled=true())
)
_ADD_CHUNKS = insert_or_ignore(stream_chunks, _CHUNK.response_id, _CHUNK.first)
_READ = (
    select(stream_chunks)
    .where(_CHUNK.response_id == _ID, _CHUNK.following > _FIRST)
    .order_by(_CHUNK.first)
    .limit(_LIMIT)
)
_BEAT = update(producers).where(producers.c.id == _PRODUCER).values(beats=producers.c.beats + 1)
_ALL_BEATS = select(producers)
_IN_PROGRESS = responses.c.status == ResponseStatus.IN_PROGRESS.value
_WAIT_CHUNKS = 200


def add_production(connection: Connection, production: Production) -> None:
    """In the transaction that opens the response."""
    values = {
        "response_id": production.response,
        "producer": production.producer,
        "epoch": production.epoch,
        "item_id": production.item,
        "parent_id": production.parent,
        "request": production.request,
        "following": production.following,
        "cancelled": production.cancelled,
        "closed": production.closed,
    }
    connection.execute(_ADD, values)


def close_production(connection: Connection, ending: Chunk) -> bool:
    """In the transaction that ends the response; False when another producer has it now."""
    told = {"b_id": ending.response, "b_epoch": ending.epoch, "b_next": ending.following}
    if connection.execute(_CLOSE, told).rowcount == 0:
        return False
    connection.execute(_ADD_CHUNKS, _row(ending, pack(ending)))
    return True


class SqlStreamStore:
    """Logs and productions over one database."""

    apart = False
    poll_seconds = 0.1

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def append(self, chunks: Sequence[Chunk]) -> Sequence[Outcome | Behind]:
        """Add chunks at the ends of their logs, in one transaction."""
        moves = [
            {
                "b_id": chunk.response,
                "b_epoch": chunk.epoch,
                "b_first": chunk.first,
                "b_next": chunk.following,
            }
            for chunk in chunks
        ]
        added = [_row(chunk, pack(chunk)) for chunk in chunks]

        def change(connection: Connection) -> Sequence[Outcome | Behind]:
            outcomes: Sequence[Outcome | Behind] = [Outcome.KEPT] * len(chunks)
            if connection.execute(_MOVE_ON, moves).rowcount != len(moves):
                outcomes = [_judge(connection, chunk) for chunk in chunks]
            kept = [
                row for row, outcome in zip(added, outcomes, strict=True) if outcome is Outcome.KEPT
            ]
            if kept:
                connection.execute(_ADD_CHUNKS, kept)
            return outcomes

        return await self._writer.write(change)

    async def fence(self, response: ResponseId, epoch: int) -> None:
        """Nothing to do: the production's epoch is the fence."""

    async def read(self, response: ResponseId, start: int, limit: int) -> Sequence[Chunk]:
        """Chunks in order, from the one that holds event `start` on."""
        found = await self._readers.all(_READ, b_id=response, b_first=start, b_limit=limit)
        return [_read_chunk(row) for row in found]

    async def wait(self, cursors: Mapping[ResponseId, int]) -> Mapping[ResponseId, Sequence[Chunk]]:
        """What is new; one turn of a reader for all logs."""

        def look(connection: Connection) -> Mapping[ResponseId, Sequence[Row[Any]]]:
            return {
                response: connection.execute(
                    _READ, {"b_id": response, "b_first": start, "b_limit": _WAIT_CHUNKS}
                ).all()
                for response, start in cursors.items()
            }

        found = await self._readers.read(look)
        return {
            response: [_read_chunk(row) for row in told] for response, told in found.items() if told
        }

    async def forget(self, responses: Sequence[ResponseId]) -> None:
        """Remove these logs."""
        await self._writer.write(
            run(delete(stream_chunks).where(_CHUNK.response_id.in_(responses)))
        )

    async def sweep(self, before: float) -> None:
        """Remove logs of responses that ended before that time."""
        over = select(responses.c.id).where(responses.c.finished_at < before)
        await self._writer.write(run(delete(stream_chunks).where(_CHUNK.response_id.in_(over))))

    async def find_production(self, response: ResponseId) -> Production | None:
        """None when there never was one."""
        row = await self._readers.first(_FIND, b_id=response)
        return None if row is None else _read_production(row)

    async def beat(self, producer: ProducerId) -> Mapping[ProducerId, int]:
        """Count one sign of life; returns all counts."""

        def change(connection: Connection) -> Mapping[ProducerId, int]:
            if connection.execute(_BEAT, {"b_producer": producer}).rowcount == 0:
                connection.execute(insert(producers), {"id": producer, "beats": 1})
            return {ProducerId(row.id): row.beats for row in connection.execute(_ALL_BEATS)}

        return await self._writer.write(change)

    async def find_orphans(
        self, producer: ProducerId, dead: AbstractSet[ProducerId], *, limit: int
    ) -> Sequence[Orphan]:
        """Responses in progress that nobody writes, or whose writer is to stop."""
        lost = or_(
            _PRODUCTION.producer.is_(None),
            _PRODUCTION.producer.in_(sorted(dead)) if dead else false(),
            _PRODUCTION.producer.not_in(select(producers.c.id)),
        )
        query = (
            select(responses, *_PRODUCTION)
            .join(productions, _PRODUCTION.response_id == responses.c.id)
            .where(
                _IN_PROGRESS,
                not_(_PRODUCTION.closed),
                or_(
                    and_(_PRODUCTION.producer == producer, _PRODUCTION.cancelled),
                    and_(
                        lost, or_(_PRODUCTION.producer.is_(None), _PRODUCTION.producer != producer)
                    ),
                ),
            )
            .order_by(responses.c.created_at)
            .limit(limit)
        )
        found = await self._readers.all(query)
        return [Orphan(rows.read_response(row), _read_production(row)) for row in found]

    async def take(self, response: ResponseId, epoch: int, producer: ProducerId) -> bool:
        """Become the producer with the next epoch; False when somebody else was faster."""
        change = run(_TAKE, b_id=response, b_epoch=epoch, b_producer=producer)
        return await self._writer.write(change) == 1

    async def release(self, response: ResponseId, epoch: int) -> bool:
        """Leave it without a producer; False when it is not ours any more."""
        return await self._writer.write(run(_RELEASE, b_id=response, b_epoch=epoch)) == 1

    async def cancel(self, response: ResponseId) -> bool:
        """Ask the producer to stop; False when it has ended."""
        return await self._writer.write(run(_CANCEL, b_id=response)) == 1

    async def bury(self, dead: AbstractSet[ProducerId]) -> None:
        """Forget producers that have nothing in progress."""
        busy = select(_PRODUCTION.producer).where(
            not_(_PRODUCTION.closed), _PRODUCTION.producer.is_not(None)
        )
        gone = delete(producers).where(
            producers.c.id.in_(sorted(dead)), producers.c.id.not_in(busy)
        )
        await self._writer.write(run(gone))


def _judge(connection: Connection, chunk: Chunk) -> Outcome | Behind:
    """What became of a chunk, after the productions that could move on have done so."""
    row = connection.execute(_FIND, {"b_id": chunk.response}).first()
    if row is None or row.epoch != chunk.epoch:
        return Outcome.FENCED
    if row.following >= chunk.following:
        return Outcome.KEPT
    return Outcome.FENCED if row.closed else Behind(row.following)


def _row(chunk: Chunk, body: bytes) -> dict[str, Any]:
    return {
        "response_id": chunk.response,
        "first": chunk.first,
        "following": chunk.following,
        "epoch": chunk.epoch,
        "final": chunk.final,
        "body": body,
    }


def _read_chunk(row: Row[Any]) -> Chunk:
    return unpack(ResponseId(row.response_id), row.epoch, row.first, row.final, row.body)


def _read_production(row: Row[Any]) -> Production:
    return Production(
        response=ResponseId(row.response_id),
        producer=None if row.producer is None else ProducerId(row.producer),
        epoch=row.epoch,
        item=ItemId(row.item_id),
        parent=None if row.parent_id is None else ItemId(row.parent_id),
        request=row.request,
        following=row.following,
        cancelled=row.cancelled,
        closed=row.closed,
    )
