"""Keeps `gateway.ports.DirectoryStore` in SQL.

Each change appends its audit entry first: that locks the end of the organisation's chain, so that
of two changes of one organisation the second sees what the first has done.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from tokenyard.storage.refusals import email_taken, last_owner, unknown_cursor
from tokenyard.storage.sql import people_rows as rows
from tokenyard.storage.sql.audit import append_entry
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_update
from tokenyard.storage.sql.identity_tables import (
    api_keys,
    organisations,
    project_members,
    projects,
    user_identities,
    users,
    web_sessions,
)
from tokenyard.storage.sql.writer import GroupWriter
from tokenyard.vocabulary.audit import AuditEntry
from tokenyard.vocabulary.identity import Member, Organisation, Project, Role, User, UserKind
from tokenyard.vocabulary.ids import OrganisationId, ProjectId, UserId

_SET_MEMBER = insert_or_update(
    project_members,
    (project_members.c.project_id, project_members.c.user_id),
    (project_members.c.role,),
)
_MEMBERS = select(
    users, project_members.c.role.label("project_role"), project_members.c.added_at
).join(project_members, project_members.c.user_id == users.c.id)


class SqlDirectoryStore:
    """Organisations, projects and people."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_organisation(self, organisation: Organisation, entry: AuditEntry) -> None:
        """Store a new organisation."""

        def change(connection: Connection) -> None:
            append_entry(connection, entry)
            connection.execute(insert(organisations), rows.write_organisation(organisation))

        await self._writer.write(change)

    async def find_organisation(self, organisation: OrganisationId) -> Organisation | None:
        """The organisation with that id."""
        row = await self._readers.first(
            select(organisations).where(organisations.c.id == organisation)
        )
        return None if row is None else rows.read_organisation(row)

    async def list_organisations(
        self, *, limit: int, after: OrganisationId | None
    ) -> list[Organisation]:
        """All tenants of the installation."""
        found = await self._page(organisations, select(organisations), limit, after)
        return [rows.read_organisation(row) for row in found]

    async def rename_organisation(
        self, organisation: OrganisationId, name: str, entry: AuditEntry
    ) -> bool:
        """Give it another name; False when there is none."""
        statement = update(organisations).where(organisations.c.id == organisation)
        return await self._change(statement.values(name=name), entry)

    async def add_project(self, project: Project, entry: AuditEntry) -> None:
        """Store a new project."""

        def change(connection: Connection) -> None:
            append_entry(connection, entry)
            connection.execute(insert(projects), rows.write_project(project))

        await self._writer.write(change)

    async def find_project(self, project: ProjectId) -> Project | None:
        """The project with that id, archived or not."""
        row = await self._readers.first(select(projects).where(projects.c.id == project))
        return None if row is None else rows.read_project(row)

    async def list_projects(
        self, organisation: OrganisationId, *, archived: bool, limit: int, after: ProjectId | None
    ) -> list[Project]:
        """The organisation's projects, those that are archived only when asked for."""
        wanted = select(projects).where(projects.c.organisation_id == organisation)
        if not archived:
            wanted = wanted.where(projects.c.archived_at.is_(None))
        found = await self._page(projects, wanted, limit, after)
        return [rows.read_project(row) for row in found]

    async def rename_project(self, project: ProjectId, name: str, entry: AuditEntry) -> bool:
        """Give it another name; False when there is none."""
        statement = update(projects).where(projects.c.id == project).values(name=name)
        return await self._change(statement, entry)

    async def archive_project(self, project: ProjectId, at: float, entry: AuditEntry) -> bool:
        """Close it for everybody; False when there is none that is open."""
        still_open = (projects.c.id == project, projects.c.archived_at.is_(None))
        statement = update(projects).where(*still_open).values(archived_at=at)
        return await self._change(statement, entry)

    async def add_user(
        self, user: User, entry: AuditEntry, *, member_of: ProjectId | None, as_role: Role | None
    ) -> None:
        """Store a new user, a member of that project at once; raises Conflict for a taken email."""

        def change(connection: Connection) -> None:
            append_entry(connection, entry)
            insert_user(connection, user, member_of, as_role)

        await self._writer.write(change)

    async def find_user(self, user: UserId) -> User | None:
        """The user with that id, removed or not."""
        row = await self._readers.first(select(users).where(users.c.id == user))
        return None if row is None else rows.read_user(row)

    async def find_user_by_email(self, email: str) -> User | None:
        """The user with that address, in lower case."""
        row = await self._readers.first(select(users).where(users.c.email == email))
        return None if row is None else rows.read_user(row)

    async def list_users(
        self, organisation: OrganisationId, *, limit: int, after: UserId | None
    ) -> list[User]:
        """The organisation's people who were not removed, without service accounts."""
        wanted = select(users).where(
            users.c.organisation_id == organisation,
            users.c.kind == UserKind.PERSON,
            users.c.removed_at.is_(None),
        )
        return [rows.read_user(row) for row in await self._page(users, wanted, limit, after)]

    async def change_user(
        self, user: UserId, *, name: str, role: Role, operator: bool, entry: AuditEntry
    ) -> bool:
        """False when there is no such user; raises Conflict when no owner would be left."""
        statement = _present(user).values(name=name, role=role.value, operator=operator)

        def change(connection: Connection) -> bool:
            return _change_user(connection, user, statement, entry)

        return await self._writer.write(change)

    async def set_profile(
        self, user: UserId, *, name: str, email: str | None, entry: AuditEntry
    ) -> bool:
        """False when there is no such user; raises Conflict for a taken email."""
        statement = _present(user).values(name=name, email=email)
        taken = select(users.c.id).where(users.c.email == email, users.c.id != user)

        def change(connection: Connection) -> bool:
            if email is not None and connection.execute(taken).first() is not None:
                raise email_taken(email)
            if not connection.execute(statement).rowcount:
                return False
            append_entry(connection, entry)
            return True

        return await self._writer.write(change)

    async def set_password(self, user: UserId, password_hash: str, entry: AuditEntry) -> bool:
        """Set the password and end all sessions of the user; False when there is no such user."""
        statement = _present(user).values(password_hash=password_hash)

        def change(connection: Connection) -> bool:
            if not connection.execute(statement).rowcount:
                return False
            append_entry(connection, entry)
            connection.execute(delete(web_sessions).where(web_sessions.c.user_id == user))
            return True

        return await self._writer.write(change)

    async def remove_user(self, user: UserId, at: float, entry: AuditEntry) -> bool:
        """Take away all they had; False when there is no such user, Conflict for the last owner."""
        statement = _present(user).values(
            removed_at=at, email=None, password_hash=None, operator=False
        )

        def change(connection: Connection) -> bool:
            if not _change_user(connection, user, statement, entry):
                return False
            for table in (web_sessions, project_members, user_identities):
                connection.execute(delete(table).where(table.c.user_id == user))
            theirs = (api_keys.c.user_id == user, api_keys.c.revoked_at.is_(None))
            connection.execute(update(api_keys).where(*theirs).values(revoked_at=at))
            return True

        return await self._writer.write(change)

    async def find_identity(self, issuer: str, subject: str) -> UserId | None:
        """Who that subject of an OpenID Connect provider is here."""
        row = await self._readers.first(
            select(user_identities.c.user_id).where(
                user_identities.c.issuer == issuer, user_identities.c.subject == subject
            )
        )
        return None if row is None else UserId(row.user_id)

    async def link_identity(
        self, issuer: str, subject: str, user: UserId, entry: AuditEntry
    ) -> None:
        """From now on that subject is that user."""
        values = {"issuer": issuer, "subject": subject, "user_id": user, "linked_at": entry.at}

        def change(connection: Connection) -> None:
            append_entry(connection, entry)
            connection.execute(insert(user_identities), values)

        await self._writer.write(change)

    async def set_member(
        self, project: ProjectId, user: UserId, role: Role, entry: AuditEntry
    ) -> None:
        """Make a user a member, or give the member that role."""

        def change(connection: Connection) -> None:
            append_entry(connection, entry)
            _add_member(connection, project, user, role, entry.at)

        await self._writer.write(change)

    async def remove_member(self, project: ProjectId, user: UserId, entry: AuditEntry) -> bool:
        """False when the user was no member."""
        statement = delete(project_members).where(
            project_members.c.project_id == project, project_members.c.user_id == user
        )
        return await self._change(statement, entry)

    async def find_member(self, project: ProjectId, user: UserId) -> Member | None:
        """One member, a service account too."""
        wanted = _MEMBERS.where(project_members.c.project_id == project, users.c.id == user)
        row = await self._readers.first(wanted)
        return None if row is None else rows.read_member(row)

    async def list_members(
        self, project: ProjectId, *, service_accounts: bool, limit: int, after: UserId | None
    ) -> list[Member]:
        """The project's people, or its service accounts."""
        kind = UserKind.SERVICE_ACCOUNT if service_accounts else UserKind.PERSON
        wanted = _MEMBERS.where(project_members.c.project_id == project, users.c.kind == kind)
        return [rows.read_member(row) for row in await self._page(users, wanted, limit, after)]

    async def list_memberships(self, user: UserId) -> list[tuple[Project, Role]]:
        """The open projects that the user is a member of."""
        found = await self._readers.all(
            select(projects, project_members.c.role)
            .join(project_members, project_members.c.project_id == projects.c.id)
            .where(project_members.c.user_id == user, projects.c.archived_at.is_(None))
            .order_by(projects.c.created_at, projects.c.id)
        )
        return [(rows.read_project(row), Role(row.role)) for row in found]

    async def _change(self, statement: Any, entry: AuditEntry) -> bool:
        def change(connection: Connection) -> bool:
            if not connection.execute(statement).rowcount:
                return False
            append_entry(connection, entry)
            return True

        return await self._writer.write(change)

    async def _page(
        self, table: Table, wanted: Select[Any], limit: int, after: str | None
    ) -> Sequence[Row[Any]]:
        def query(connection: Connection) -> Sequence[Row[Any]]:
            return read_page(connection, table, wanted, limit, after)

        return await self._readers.read(query)


def read_page(
    connection: Connection, table: Table, wanted: Select[Any], limit: int, after: str | None
) -> Sequence[Row[Any]]:
    """Rows in the order in which they were made, after the one with that id."""
    if after is not None:
        last = connection.execute(wanted.where(table.c.id == after)).first()
        if last is None:
            raise unknown_cursor()
        made, place = table.c.created_at, (last.created_at, last.id)
        wanted = wanted.where(or_(made > place[0], and_(made == place[0], table.c.id > place[1])))
    return connection.execute(wanted.order_by(table.c.created_at, table.c.id).limit(limit)).all()


def insert_user(
    connection: Connection, user: User, member_of: ProjectId | None, as_role: Role | None
) -> None:
    """A user, and a member of that project."""
    if user.email is not None:
        taken = select(users.c.id).where(users.c.email == user.email)
        if connection.execute(taken).first() is not None:
            raise email_taken(user.email)
    connection.execute(insert(users), rows.write_user(user))
    if member_of is not None and as_role is not None:
        _add_member(connection, member_of, user.id, as_role, user.created_at)


def _add_member(
    connection: Connection, project: ProjectId, user: UserId, role: Role, at: float
) -> None:
    values = {"project_id": project, "user_id": user, "role": role.value, "added_at": at}
    connection.execute(_SET_MEMBER, values)


def _present(user: UserId) -> Any:
    return update(users).where(users.c.id == user, users.c.removed_at.is_(None))


def _change_user(connection: Connection, user: UserId, statement: Any, entry: AuditEntry) -> bool:
    present = select(users.c.id).where(users.c.id == user, users.c.removed_at.is_(None))
    if connection.execute(present).first() is None:
        return False
    append_entry(connection, entry)
    connection.execute(statement)
    owners = select(func.count()).where(
        users.c.organisation_id == entry.organisation,
        users.c.role == Role.OWNER,
        users.c.kind == UserKind.PERSON,
        users.c.removed_at.is_(None),
    )
    if not connection.execute(owners).scalar():
        raise last_owner()
    return True
