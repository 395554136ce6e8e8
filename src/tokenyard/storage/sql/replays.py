"""Keeps `gateway.replays.ReplayStore` in SQL."""

import msgspec
from sqlalchemy import Connection, delete, select, update

from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_ignore
from tokenyard.storage.sql.stream_tables import idempotency_keys
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.ids import ProjectId
from tokenyard.vocabulary.replays import Claim, Kept

_KEY = idempotency_keys.c
_CLAIM = insert_or_ignore(idempotency_keys, _KEY.project_id, _KEY.key)


class SqlReplayStore:
    """Idempotency keys of all projects."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def claim(
        self, project: ProjectId, key: str, fingerprint: str, *, now: float, until: float
    ) -> Claim | None:
        """Claim a key; None when it was free and now is ours."""
        mine = (_KEY.project_id == project, _KEY.key == key)
        row = {"project_id": project, "key": key, "fingerprint": fingerprint, "until": until}

        def change(connection: Connection) -> Claim | None:
            connection.execute(delete(idempotency_keys).where(*mine, _KEY.until <= now))
            if connection.execute(_CLAIM, row).rowcount == 1:
                return None
            held = connection.execute(select(idempotency_keys).where(*mine)).one()
            answer = None if held.answer is None else msgspec.msgpack.decode(held.answer, type=Kept)
            return Claim(held.fingerprint, answer)

        return await self._writer.write(change)

    async def keep(self, project: ProjectId, key: str, answer: Kept, *, until: float) -> None:
        """The answer of a key that we claimed."""
        change = (
            update(idempotency_keys)
            .where(_KEY.project_id == project, _KEY.key == key)
            .values(answer=msgspec.msgpack.encode(answer), until=until)
        )
        await self._writer.write(run(change))

    async def free(self, project: ProjectId, key: str) -> None:
        """Give a claimed key up."""
        change = delete(idempotency_keys).where(
            _KEY.project_id == project, _KEY.key == key, _KEY.answer.is_(None)
        )
        await self._writer.write(run(change))

    async def sweep(self, now: float) -> None:
        """Remove what has expired."""
        await self._writer.write(run(delete(idempotency_keys).where(_KEY.until <= now)))
