"""The audit log in SQL: entries are added in the transaction of the change they tell of.

There is no statement here that alters or removes an entry.
"""

import json
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update
from sqlalchemy.sql.functions import coalesce
from sqlalchemy.sql.functions import sum as total

from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_ignore
from tokenyard.storage.sql.identity_tables import audit_heads, audit_log
from tokenyard.storage.sql.writer import GroupWriter
from tokenyard.vocabulary.audit import (
    GENESIS,
    AuditEntry,
    AuditFilter,
    AuditRecord,
    chain,
    spell_details,
)
from tokenyard.vocabulary.ids import KeyId, OrganisationId, ProjectId, UserId

# Raising the number locks the head, so that of two who append one waits for the other.
_RAISE = (
    update(audit_heads)
    .where(audit_heads.c.organisation_id == bindparam("b_organisation"))
    .values(number=audit_heads.c.number + 1)
    .returning(audit_heads.c.number, audit_heads.c.hash)
)
_BEGIN = insert_or_ignore(audit_heads, audit_heads.c.organisation_id)
_SEAL = (
    update(audit_heads)
    .where(audit_heads.c.organisation_id == bindparam("b_organisation"))
    .values(hash=bindparam("b_hash"))
)
_ADD = insert(audit_log)
REVISION = select(coalesce(total(audit_heads.c.number), 0))


def append_entry(connection: Connection, entry: AuditEntry) -> None:
    """Add an entry at the end of its organisation's chain."""
    organisation = {"b_organisation": entry.organisation}
    head = connection.execute(_RAISE, organisation).first()
    if head is None:
        connection.execute(
            _BEGIN, {"organisation_id": entry.organisation, "number": 0, "hash": GENESIS}
        )
        head = connection.execute(_RAISE, organisation).one()
    sealed = chain(head.hash, head.number, entry)
    connection.execute(
        _ADD,
        {
            "organisation_id": entry.organisation,
            "number": head.number,
            "at": entry.at,
            "action": entry.action,
            "user_id": entry.user,
            "key_id": entry.key,
            "project_id": entry.project,
            "object_id": entry.object,
            "details": spell_details(entry.details),
            "hash": sealed,
        },
    )
    connection.execute(_SEAL, {**organisation, "b_hash": sealed})


def read_record(row: Row[Any]) -> AuditRecord:
    entry = AuditEntry(
        organisation=OrganisationId(row.organisation_id),
        at=row.at,
        action=row.action,
        user=None if row.user_id is None else UserId(row.user_id),
        key=None if row.key_id is None else KeyId(row.key_id),
        project=None if row.project_id is None else ProjectId(row.project_id),
        object=row.object_id,
        details=json.loads(row.details),
    )
    return AuditRecord(entry, row.number, row.hash)


class SqlAuditStore:
    """Keeps `gateway.ports.AuditStore`."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def append(self, entry: AuditEntry) -> None:
        """Add an entry by itself."""
        await self._writer.write(lambda connection: append_entry(connection, entry))

    async def list_entries(
        self,
        organisation: OrganisationId,
        wanted: AuditFilter,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
    ) -> list[AuditRecord]:
        """The newest first, of numbers below `before`; with `after` the oldest first, above it."""
        number = audit_log.c.number
        statement = select(audit_log).where(audit_log.c.organisation_id == organisation)
        for column, value in (
            (audit_log.c.action, wanted.action),
            (audit_log.c.user_id, wanted.user),
            (audit_log.c.project_id, wanted.project),
            (audit_log.c.object_id, wanted.object),
        ):
            if value is not None:
                statement = statement.where(column == value)
        if wanted.since is not None:
            statement = statement.where(audit_log.c.at >= wanted.since)
        if wanted.until is not None:
            statement = statement.where(audit_log.c.at < wanted.until)
        if before is not None:
            statement = statement.where(number < before)
        if after is not None:
            statement = statement.where(number > after)
        statement = statement.order_by(number if after is not None else number.desc())
        return [read_record(row) for row in await self._readers.all(statement.limit(limit))]
