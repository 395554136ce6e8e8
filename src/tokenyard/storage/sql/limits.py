"""Keeps `gateway.ports.LimitDefinitions` in SQL."""

from typing import Any

from sqlalchemy import Connection, Row, select

from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.operating_tables import limits
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.ids import LimitId, OrganisationId
from tokenyard.vocabulary.limits import Level, Limit, Measure, Window


class SqlLimitDefinitions:
    """Limits that were defined beside the settings."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def list_limits(self) -> list[Limit]:
        """All of them, by level, subject and name."""
        found = [_read(row) for row in await self._readers.all(select(limits))]
        return sorted(found, key=lambda one: (one.level, one.subject, one.name))

    async def put_limit(self, limit: Limit) -> None:
        """Store a limit in place of that of its tenant, level, subject, measure and window."""
        values = _write(limit)
        place = ("organisation_id", "level", "subject", "measure", "window")

        def change(connection: Connection) -> None:
            same = (limits.c[name] == values[name] for name in place)
            connection.execute(limits.delete().where(*same))
            connection.execute(limits.insert(), values)

        await self._writer.write(change)

    async def delete_limit(self, limit: LimitId) -> bool:
        """Forget a limit; False when there is none of that id."""
        return await self._writer.write(run(limits.delete().where(limits.c.id == limit))) == 1


def _write(limit: Limit) -> dict[str, Any]:
    return {
        "id": limit.id,
        "organisation_id": limit.organisation or "",
        "level": limit.level.value,
        "subject": limit.subject,
        "measure": limit.measure.value,
        "window": limit.window.value,
        "amount": limit.amount,
        "burst": limit.burst,
        "closed": limit.closed,
    }


def _read(row: Row[Any]) -> Limit:
    return Limit(
        level=Level(row.level),
        subject=row.subject,
        measure=Measure(row.measure),
        window=Window(row.window),
        amount=int(row.amount),
        burst=int(row.burst),
        closed=row.closed,
        id=LimitId(row.id),
        organisation=OrganisationId(row.organisation_id) if row.organisation_id else None,
    )
