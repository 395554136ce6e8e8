"""Keeps `gateway.ports.InvitationStore` in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from tokenyard.storage.sql import people_rows as rows
from tokenyard.storage.sql.audit import append_entry
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.directory import insert_user, read_page
from tokenyard.storage.sql.identity_tables import invitations
from tokenyard.storage.sql.writer import GroupWriter
from tokenyard.vocabulary.audit import AuditEntry
from tokenyard.vocabulary.identity import Invitation, User
from tokenyard.vocabulary.ids import InvitationId, OrganisationId

_OPEN = (invitations.c.accepted_at.is_(None), invitations.c.revoked_at.is_(None))


class SqlInvitationStore:
    """Invitations, and the users that they become."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_invitation(self, invitation: Invitation, entry: AuditEntry) -> None:
        """Store a new invitation."""

        def change(connection: Connection) -> None:
            append_entry(connection, entry)
            connection.execute(insert(invitations), rows.write_invitation(invitation))

        await self._writer.write(change)

    async def find_invitation(self, token_hash: str) -> Invitation | None:
        """The invitation with that hash, whatever became of it."""
        wanted = select(invitations).where(invitations.c.token_hash == token_hash)
        row = await self._readers.first(wanted)
        return None if row is None else rows.read_invitation(row)

    async def list_invitations(
        self, organisation: OrganisationId, *, limit: int, after: InvitationId | None
    ) -> list[Invitation]:
        """All invitations of the organisation."""
        wanted = select(invitations).where(invitations.c.organisation_id == organisation)

        def query(connection: Connection) -> Sequence[Row[Any]]:
            return read_page(connection, invitations, wanted, limit, after)

        return [rows.read_invitation(row) for row in await self._readers.read(query)]

    async def revoke_invitation(
        self, invitation: InvitationId, organisation: OrganisationId, at: float, entry: AuditEntry
    ) -> bool:
        """False when there is none that is open."""
        there = (invitations.c.id == invitation, invitations.c.organisation_id == organisation)
        statement = update(invitations).where(*there, *_OPEN).values(revoked_at=at)

        def change(connection: Connection) -> bool:
            if not connection.execute(statement).rowcount:
                return False
            append_entry(connection, entry)
            return True

        return await self._writer.write(change)

    async def accept_invitation(
        self, invitation: Invitation, user: User, at: float, entry: AuditEntry
    ) -> bool:
        """Make the user and use the invitation up, together; False when it was not open any more.

        Raises Conflict when the address belongs to somebody by now.
        """
        in_time = (invitations.c.id == invitation.id, invitations.c.expires_at > at)
        statement = update(invitations).where(*in_time, *_OPEN).values(accepted_at=at)

        def change(connection: Connection) -> bool:
            if not connection.execute(statement).rowcount:
                return False
            append_entry(connection, entry)
            insert_user(connection, user, invitation.project, invitation.project_role)
            return True

        return await self._writer.write(change)
