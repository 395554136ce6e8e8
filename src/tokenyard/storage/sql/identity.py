"""Keeps `gateway.ports.IdentityStore` in SQL.

The statements are built once. Every change of what a caller may is written together with its entry
in the audit log, whose length tells other processes that something changed.
"""

from collections.abc import Mapping

from sqlalchemy import (
    Connection,
    Double,
    String,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from tokenyard.storage.retention import SESSION_KEPT_SECONDS
from tokenyard.storage.sql import identity_rows as rows
from tokenyard.storage.sql.audit import REVISION, append_entry
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.identity_tables import (
    api_keys,
    project_members,
    projects,
    sign_in_links,
    users,
    web_sessions,
)
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.audit import AuditEntry
from tokenyard.vocabulary.identity import ApiKey, Standing, WebSession
from tokenyard.vocabulary.ids import KeyId, ProjectId, SessionId, UserId

_ID = bindparam("b_id", type_=String)
_USER = bindparam("b_user", type_=String)
_PROJECT = bindparam("b_project", type_=String)
_HASH = bindparam("b_hash", type_=String)
_AT = bindparam("b_at", type_=Double)

_ADD_KEY = insert(api_keys)
_FIND_KEY = select(api_keys).where(
    or_(api_keys.c.secret_hash == _HASH, api_keys.c.previous_hash == _HASH)
)
_THE_KEY = (api_keys.c.id == _ID, api_keys.c.project_id == _PROJECT)
_GET_KEY = select(api_keys).where(*_THE_KEY)
_LIST_KEYS = (
    select(api_keys)
    .where(api_keys.c.project_id == _PROJECT)
    .order_by(api_keys.c.created_at, api_keys.c.id)
)
_EDIT_KEY = update(api_keys).where(*_THE_KEY, api_keys.c.revoked_at.is_(None))
_ROTATE_KEY = _EDIT_KEY.values(
    previous_hash=api_keys.c.secret_hash,
    previous_until=_AT,
    secret_hash=_HASH,
    hint=bindparam("b_hint"),
)
_REVOKE_KEY = (
    update(api_keys).where(*_THE_KEY).values(revoked_at=func.coalesce(api_keys.c.revoked_at, _AT))
)
_KEY_USED = update(api_keys).where(api_keys.c.id == _ID).values(last_used_at=_AT)
_ADD_SESSION = insert(web_sessions)
_FIND_SESSION = select(web_sessions).where(web_sessions.c.token_hash == _HASH)
_LIST_SESSIONS = (
    select(web_sessions)
    .where(web_sessions.c.user_id == _USER)
    .order_by(web_sessions.c.created_at.desc(), web_sessions.c.id)
)
_CHOOSE_PROJECT = update(web_sessions).where(web_sessions.c.id == _ID).values(project_id=_PROJECT)
_SESSION_USED = update(web_sessions).where(web_sessions.c.id == _ID).values(last_used_at=_AT)
_REMOVE_SESSION = delete(web_sessions).where(
    web_sessions.c.id == _ID, web_sessions.c.user_id == _USER
)
_FORGET_SESSIONS = delete(web_sessions).where(web_sessions.c.expires_at < _AT)
_ADD_LINK = insert(sign_in_links)
_TAKE_LINK = (
    delete(sign_in_links)
    .where(sign_in_links.c.token_hash == _HASH)
    .returning(sign_in_links.c.expires_at, sign_in_links.c.user_id)
)
_FORGET_LINKS = delete(sign_in_links).where(sign_in_links.c.expires_at <= _AT)
_FIND_STANDING = (
    select(
        users.c.organisation_id,
        users.c.role,
        users.c.operator,
        project_members.c.role.label("project_role"),
    )
    .join(projects, projects.c.organisation_id == users.c.organisation_id)
    .outerjoin(
        project_members,
        (project_members.c.user_id == users.c.id) & (project_members.c.project_id == projects.c.id),
    )
    .where(
        users.c.id == _USER,
        users.c.removed_at.is_(None),
        projects.c.id == _PROJECT,
        projects.c.archived_at.is_(None),
    )
)


class SqlIdentityStore:
    """Keys, web sessions and one-time links; a change is seen by other processes at once."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def revision(self) -> int:
        """A number that rises with every change of what somebody may."""
        row = await self._readers.first(REVISION)
        return 0 if row is None else int(row[0])

    async def find_standing(self, user: UserId, project: ProjectId) -> Standing | None:
        """Where the user stands; None when either is gone, or they are of two organisations."""
        row = await self._readers.first(_FIND_STANDING, b_user=user, b_project=project)
        return None if row is None else rows.read_standing(row)

    async def add_key(self, key: ApiKey, entry: AuditEntry) -> None:
        """Store a new key."""

        def change(connection: Connection) -> None:
            connection.execute(_ADD_KEY, rows.write_key(key))
            append_entry(connection, entry)

        await self._writer.write(change)

    async def find_key(self, secret_hash: str) -> ApiKey | None:
        """The key with that hash, now or before its last rotation, revoked or not."""
        row = await self._readers.first(_FIND_KEY, b_hash=secret_hash)
        return None if row is None else rows.read_key(row)

    async def get_key(self, key: KeyId, project: ProjectId) -> ApiKey | None:
        """The key with that id; None when it is another project's."""
        row = await self._readers.first(_GET_KEY, b_id=key, b_project=project)
        return None if row is None else rows.read_key(row)

    async def list_keys(self, project: ProjectId) -> list[ApiKey]:
        """All keys of the project, oldest first, revoked ones too."""
        found = await self._readers.all(_LIST_KEYS, b_project=project)
        return [rows.read_key(row) for row in found]

    async def edit_key(self, key: ApiKey, entry: AuditEntry) -> bool:
        """Write name, scopes, models, cap and expiry; False when it is gone or revoked."""
        values = rows.write_key(key)
        edited = ("name", "scopes", "models", "monthly_cap_nanos", "expires_at", "server_tags")
        statement = _EDIT_KEY.values({name: values[name] for name in edited})

        def change(connection: Connection) -> bool:
            told = {"b_id": key.id, "b_project": key.project}
            return _noted(connection, connection.execute(statement, told).rowcount, entry)

        return await self._writer.write(change)

    async def rotate_key(
        self,
        key: KeyId,
        project: ProjectId,
        *,
        secret_hash: str,
        hint: str,
        previous_until: float,
        entry: AuditEntry,
    ) -> bool:
        """Give it a new secret; the one before works until then. False when gone or revoked."""
        told = {
            "b_id": key,
            "b_project": project,
            "b_hash": secret_hash,
            "b_hint": hint,
            "b_at": previous_until,
        }

        def change(connection: Connection) -> bool:
            return _noted(connection, connection.execute(_ROTATE_KEY, told).rowcount, entry)

        return await self._writer.write(change)

    async def revoke_key(
        self, key: KeyId, project: ProjectId, at: float, entry: AuditEntry
    ) -> bool:
        """Stamp the key as revoked, keeping an earlier stamp; False when there is no such key."""
        told = {"b_id": key, "b_project": project, "b_at": at}

        def change(connection: Connection) -> bool:
            return _noted(connection, connection.execute(_REVOKE_KEY, told).rowcount, entry)

        return await self._writer.write(change)

    async def note_used(
        self, keys: Mapping[KeyId, float], sessions: Mapping[SessionId, float]
    ) -> None:
        """When each was last used."""

        def change(connection: Connection) -> None:
            for statement, used in ((_KEY_USED, keys), (_SESSION_USED, sessions)):
                if used:
                    told = [{"b_id": one, "b_at": at} for one, at in used.items()]
                    connection.execute(statement, told)

        await self._writer.write(change)

    async def add_session(self, session: WebSession, entry: AuditEntry) -> None:
        """Store a new web session, and forget those that ended long before it."""
        ended_before = session.created_at - SESSION_KEPT_SECONDS

        def change(connection: Connection) -> None:
            connection.execute(_FORGET_SESSIONS, {"b_at": ended_before})
            connection.execute(_ADD_SESSION, rows.write_session(session))
            append_entry(connection, entry)

        await self._writer.write(change)

    async def find_session(self, token_hash: str) -> WebSession | None:
        """The session with that hash, expired or not."""
        row = await self._readers.first(_FIND_SESSION, b_hash=token_hash)
        return None if row is None else rows.read_session(row)

    async def list_sessions(self, user: UserId) -> list[WebSession]:
        """The sessions of a user, the newest first."""
        found = await self._readers.all(_LIST_SESSIONS, b_user=user)
        return [rows.read_session(row) for row in found]

    async def choose_project(
        self, session: SessionId, project: ProjectId, entry: AuditEntry
    ) -> None:
        """From now on the session works in that project."""

        def change(connection: Connection) -> None:
            connection.execute(_CHOOSE_PROJECT, {"b_id": session, "b_project": project})
            append_entry(connection, entry)

        await self._writer.write(change)

    async def remove_session(self, session: SessionId, user: UserId, entry: AuditEntry) -> bool:
        """Forget the session; False when that user has none like it."""

        def change(connection: Connection) -> bool:
            told = {"b_id": session, "b_user": user}
            return _noted(connection, connection.execute(_REMOVE_SESSION, told).rowcount, entry)

        return await self._writer.write(change)

    async def add_sign_in_link(self, token_hash: str, user: UserId, expires_at: float) -> None:
        """Store a one-time link that signs that user in."""
        await self._writer.write(
            run(_ADD_LINK, token_hash=token_hash, user_id=user, expires_at=expires_at)
        )

    async def take_sign_in_link(self, token_hash: str, now: float) -> UserId | None:
        """Use the link up; its user for exactly one caller, and only before it expires."""

        def change(connection: Connection) -> UserId | None:
            taken = connection.execute(_TAKE_LINK, {"b_hash": token_hash}).first()
            connection.execute(_FORGET_LINKS, {"b_at": now})
            return UserId(taken.user_id) if taken is not None and now < taken.expires_at else None

        return await self._writer.write(change)


def _noted(connection: Connection, changed: int, entry: AuditEntry) -> bool:
    """Write the entry if something was changed; whether it was."""
    if changed:
        append_entry(connection, entry)
    return changed > 0
