"""Keeps `jobs.batches.ports.FileStore` and `BatchStore` in SQL.

A line's result, its counts and its bill are one transaction, and lines that end together share one
commit (`writer`). The statements are built once.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
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
    select,
    tuple_,
    update,
)

from tokenyard.jobs.batches.records import Batch, LineResult, Purpose, StoredFile
from tokenyard.jobs.batches.rules.states import OPEN, TAKING, BatchStatus
from tokenyard.ledger.records import UsageRow
from tokenyard.storage.refusals import file_in_use, no_file, unknown_cursor
from tokenyard.storage.sql import batch_rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.journal import post
from tokenyard.storage.sql.schema import batch_results, batches, files
from tokenyard.storage.sql.writer import GroupWriter
from tokenyard.vocabulary.ids import BatchId, FileId, ProjectId

_ID = bindparam("b_id", type_=String)
_PROJECT = bindparam("b_project", type_=String)
_BEFORE = bindparam("b_before", type_=String)
_AFTER = bindparam("b_after", type_=String)
_LIMIT = bindparam("b_limit", type_=Integer)
_NUMBER = bindparam("b_number", type_=Integer)
_NOW = bindparam("b_now", type_=Double)
_FILE, _BATCH, _RESULT = files.c, batches.c, batch_results.c

_IS_OPEN = _BATCH.status.in_(sorted(OPEN))
_READ_FILES = select(_BATCH.input_file_id).where(_IS_OPEN)

_ADD_FILE = insert(files)
_STORED_BYTES = select(func.coalesce(func.sum(_FILE.bytes), 0)).where(_FILE.project_id == _PROJECT)
_FIND_FILE = select(files).where(_FILE.id == _ID, _FILE.project_id == _PROJECT)
_READS_FILE = select(_BATCH.id).where(_BATCH.input_file_id == _ID, _IS_OPEN).limit(1)
_DELETE_FILE = delete(files).where(_FILE.id == _ID, _FILE.project_id == _PROJECT)
_EXPIRED_FILES = (
    select(files)
    .where(_FILE.expires_at <= _NOW, _FILE.id.not_in(_READ_FILES))
    .order_by(_FILE.expires_at, _FILE.id)
    .limit(_LIMIT)
)
_FILE_IDS = select(_FILE.id)
_FILE_CURSOR = select(_FILE.created_at).where(_FILE.id == _AFTER, _FILE.project_id == _PROJECT)
_FILE_PLACE = tuple_(_FILE.created_at, _FILE.id)
_FILE_AFTER = tuple_(_FILE_CURSOR.scalar_subquery(), _AFTER)
_FILES = select(files).where(_FILE.project_id == _PROJECT).limit(_LIMIT)
_LIST_FILES = {
    False: _FILES.order_by(_FILE.created_at, _FILE.id),
    True: _FILES.order_by(_FILE.created_at.desc(), _FILE.id.desc()),
}
_LIST_FILES_AFTER = {
    False: _LIST_FILES[False].where(_FILE_PLACE > _FILE_AFTER),
    True: _LIST_FILES[True].where(_FILE_PLACE < _FILE_AFTER),
}

_ADD_BATCH = insert(batches)
_COUNT_OPEN = (
    select(func.count()).select_from(batches).where(_BATCH.project_id == _PROJECT, _IS_OPEN)
)
_FIND_BATCH = select(batches).where(_BATCH.id == _ID, _BATCH.project_id == _PROJECT)
_OPEN_BATCHES = select(batches).where(_IS_OPEN).order_by(_BATCH.created_at, _BATCH.id)
_LIST_BATCHES = (
    select(batches)
    .where(_BATCH.project_id == _PROJECT)
    .order_by(_BATCH.created_at.desc(), _BATCH.id.desc())
    .limit(_LIMIT)
)
_BATCH_CURSOR = select(_BATCH.created_at).where(_BATCH.id == _AFTER, _BATCH.project_id == _PROJECT)
_LIST_BATCHES_AFTER = _LIST_BATCHES.where(
    tuple_(_BATCH.created_at, _BATCH.id) < tuple_(_BATCH_CURSOR.scalar_subquery(), _AFTER)
)
_CHANGE_BATCH = update(batches).where(_BATCH.id == _ID, _BATCH.status == _BEFORE)

_HAS_RESULT = select(_RESULT.number).where(_RESULT.batch_id == _ID, _RESULT.number == _NUMBER)
_COUNT_LINE = (
    update(batches)
    .where(_BATCH.id == _ID, _BATCH.status.in_(sorted(TAKING)), ~_HAS_RESULT.exists())
    .values(
        completed=_BATCH.completed + bindparam("b_completed", type_=Integer),
        failed=_BATCH.failed + bindparam("b_failed", type_=Integer),
        prompt_tokens=_BATCH.prompt_tokens + bindparam("b_prompt", type_=BigInteger),
        completion_tokens=_BATCH.completion_tokens + bindparam("b_completion", type_=BigInteger),
        cached_tokens=_BATCH.cached_tokens + bindparam("b_cached", type_=BigInteger),
        reasoning_tokens=_BATCH.reasoning_tokens + bindparam("b_reasoning", type_=BigInteger),
    )
)
_ADD_RESULT = insert(batch_results)
_NUMBERS = select(_RESULT.number).where(_RESULT.batch_id == _ID)
_LIST_RESULTS = (
    select(batch_results)
    .where(_RESULT.batch_id == _ID, _RESULT.number > _NUMBER)
    .order_by(_RESULT.number)
    .limit(_LIMIT)
)
_DROP_RESULTS = delete(batch_results).where(_RESULT.batch_id == _ID)


class SqlBatchStore:
    """Files, batches and results; every write is one transaction."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_file(self, file: StoredFile, *, project_bytes_max: int) -> bool:
        """Store it; False, and nothing written, when the project would have too many bytes."""
        row = batch_rows.write_file(file)

        def change(connection: Connection) -> bool:
            stored = connection.execute(_STORED_BYTES, {"b_project": file.project}).scalar_one()
            if int(stored) + file.bytes > project_bytes_max:
                return False
            connection.execute(_ADD_FILE, row)
            return True

        return await self._writer.write(change)

    async def find_file(self, file: FileId, project: ProjectId) -> StoredFile | None:
        """None when there is none, or when it belongs to another project."""
        row = await self._readers.first(_FIND_FILE, b_id=file, b_project=project)
        return None if row is None else batch_rows.read_file(row)

    async def list_files(
        self,
        project: ProjectId,
        *,
        purpose: Purpose | None,
        limit: int,
        after: FileId | None,
        newest_first: bool,
    ) -> list[StoredFile]:
        """By time of creation, then id; raises InvalidRequest when `after` is not in the list."""
        values = {"b_project": project, "b_limit": limit, "b_after": after}
        query = (_LIST_FILES if after is None else _LIST_FILES_AFTER)[newest_first]
        if purpose is not None:
            query = query.where(_FILE.purpose == purpose.value)
        found = await self._page(query, None if after is None else _FILE_CURSOR, values)
        return [batch_rows.read_file(row) for row in found]

    async def delete_file(self, file: FileId, project: ProjectId) -> bool:
        """False when there is none; raises Conflict while a batch that has not ended reads it."""
        wanted = {"b_id": file, "b_project": project}

        def change(connection: Connection) -> bool:
            if connection.execute(_FIND_FILE, wanted).first() is None:
                return False
            if connection.execute(_READS_FILE, {"b_id": file}).first() is not None:
                raise file_in_use()
            connection.execute(_DELETE_FILE, wanted)
            return True

        return await self._writer.write(change)

    async def stored_bytes(self, project: ProjectId) -> int:
        """The bytes of all files of the project."""
        row = await self._readers.first(_STORED_BYTES, b_project=project)
        return 0 if row is None else int(row[0])

    async def expired_files(self, now: float, *, limit: int) -> list[StoredFile]:
        """Files whose time has passed and that no open batch reads."""
        found = await self._readers.all(_EXPIRED_FILES, b_now=now, b_limit=limit)
        return [batch_rows.read_file(row) for row in found]

    async def file_ids(self) -> set[FileId]:
        """Every file there is."""
        return {FileId(row.id) for row in await self._readers.all(_FILE_IDS)}

    async def add_batch(self, batch: Batch, *, open_max: int) -> bool:
        """Store a new batch; False when the project has that many open ones."""
        row = batch_rows.write_batch(batch)
        source = {"b_id": batch.input_file, "b_project": batch.project}

        def change(connection: Connection) -> bool:
            if connection.execute(_FIND_FILE, source).first() is None:
                raise no_file()
            running = connection.execute(_COUNT_OPEN, {"b_project": batch.project}).scalar_one()
            if running >= open_max:
                return False
            connection.execute(_ADD_BATCH, row)
            return True

        return await self._writer.write(change)

    async def find_batch(self, batch: BatchId, project: ProjectId) -> Batch | None:
        """None when there is none, or when it belongs to another project."""
        row = await self._readers.first(_FIND_BATCH, b_id=batch, b_project=project)
        return None if row is None else batch_rows.read_batch(row)

    async def list_batches(
        self, project: ProjectId, *, limit: int, after: BatchId | None
    ) -> list[Batch]:
        """Newest first; raises InvalidRequest when `after` is not in the list."""
        values = {"b_project": project, "b_limit": limit, "b_after": after}
        query = _LIST_BATCHES if after is None else _LIST_BATCHES_AFTER
        found = await self._page(query, None if after is None else _BATCH_CURSOR, values)
        return [batch_rows.read_batch(row) for row in found]

    async def open_batches(self) -> list[Batch]:
        """All that have not ended, the oldest first."""
        return [batch_rows.read_batch(row) for row in await self._readers.all(_OPEN_BATCHES)]

    async def change_batch(self, batch: Batch, before: BatchStatus) -> bool:
        """Store a batch anew if it still has the status `before`; counts stay as they are."""
        values = {**batch_rows.write_state(batch), "b_id": batch.id, "b_before": before.value}
        return await self._writer.write(
            lambda connection: connection.execute(_CHANGE_BATCH, values).rowcount == 1
        )

    async def finish_line(self, batch: BatchId, result: LineResult, usage: UsageRow | None) -> bool:
        """Store a result, count it in its batch and add its bill; False when it had one before."""
        row = batch_rows.write_result(batch, result)
        bill = None if usage is None else post(usage)
        counted = {
            "b_id": batch,
            "b_number": result.number,
            "b_completed": int(result.succeeded),
            "b_failed": int(not result.succeeded),
            "b_prompt": row["prompt_tokens"] or 0,
            "b_completion": row["completion_tokens"] or 0,
            "b_cached": row["cached_tokens"] or 0,
            "b_reasoning": row["reasoning_tokens"] or 0,
        }

        def change(connection: Connection) -> bool:
            if connection.execute(_COUNT_LINE, counted).rowcount != 1:
                return False
            connection.execute(_ADD_RESULT, row)
            if bill is not None:
                bill(connection)
            return True

        return await self._writer.write(change)

    async def finished_numbers(self, batch: BatchId) -> set[int]:
        """The numbers of the lines that have a result."""
        return {row.number for row in await self._readers.all(_NUMBERS, b_id=batch)}

    async def results(self, batch: BatchId, *, after: int, limit: int) -> list[LineResult]:
        """Results of lines with a greater number, in order."""
        found = await self._readers.all(_LIST_RESULTS, b_id=batch, b_number=after, b_limit=limit)
        return [batch_rows.read_result(row) for row in found]

    async def end_batch(
        self, batch: Batch, before: BatchStatus, files: Sequence[StoredFile]
    ) -> bool:
        """Store the final state and the output files, and drop the results."""
        values = {
            **batch_rows.write_state(batch),
            "failed": batch.failed,
            "b_id": batch.id,
            "b_before": before.value,
        }
        added = [batch_rows.write_file(file) for file in files]

        def change(connection: Connection) -> bool:
            if connection.execute(_CHANGE_BATCH, values).rowcount != 1:
                return False
            if added:
                connection.execute(_ADD_FILE, added)
            connection.execute(_DROP_RESULTS, {"b_id": batch.id})
            return True

        return await self._writer.write(change)

    async def _page(
        self, query: Select[Any], cursor: Select[Any] | None, values: dict[str, Any]
    ) -> Sequence[Row[Any]]:
        """Rows after a cursor; refuses one that names nothing, which an empty page would hide."""

        def turn(connection: Connection) -> Sequence[Row[Any]]:
            if cursor is not None and connection.execute(cursor, values).first() is None:
                raise unknown_cursor()
            return connection.execute(query, values).all()

        return await self._readers.read(turn)
