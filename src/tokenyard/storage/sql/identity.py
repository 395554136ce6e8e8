"""Keeps `gateway.ports.IdentityStore` in SQL.

The statements are built once: a key is looked for with every request.
"""

from sqlalchemy import (
    Connection,
    Double,
    String,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from tokenyard.storage.retention import SESSION_KEPT_SECONDS
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.schema import api_keys, sign_in_links, web_sessions
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.identity import ApiKey, WebSession
from tokenyard.vocabulary.ids import KeyId, ProjectId, SessionId

_ID = bindparam("b_id", type_=String)
_PROJECT = bindparam("b_project", type_=String)
_HASH = bindparam("b_hash", type_=String)
_AT = bindparam("b_at", type_=Double)

_ADD_KEY = insert(api_keys)
_FIND_KEY = select(api_keys).where(api_keys.c.secret_hash == _HASH)
_LIST_KEYS = (
    select(api_keys)
    .where(api_keys.c.project_id == _PROJECT)
    .order_by(api_keys.c.created_at, api_keys.c.id)
)
_REVOKE_KEY = (
    update(api_keys)
    .where(api_keys.c.id == _ID, api_keys.c.project_id == _PROJECT)
    .values(revoked_at=func.coalesce(api_keys.c.revoked_at, _AT))
)
_ADD_SESSION = insert(web_sessions)
_FIND_SESSION = select(web_sessions).where(web_sessions.c.token_hash == _HASH)
_REMOVE_SESSION = delete(web_sessions).where(web_sessions.c.id == _ID)
_FORGET_SESSIONS = delete(web_sessions).where(web_sessions.c.expires_at < _AT)
_ADD_LINK = insert(sign_in_links)
_TAKE_LINK = (
    delete(sign_in_links)
    .where(sign_in_links.c.token_hash == _HASH)
    .returning(sign_in_links.c.expires_at)
)
_FORGET_LINKS = delete(sign_in_links).where(sign_in_links.c.expires_at <= _AT)


class SqlIdentityStore:
    """Keys, web sessions and one-time links; a change is seen by other processes at once."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_key(self, key: ApiKey) -> None:
        """Store a new key."""
        await self._writer.write(run(_ADD_KEY, **rows.write_key(key)))

    async def find_key(self, secret_hash: str) -> ApiKey | None:
        """The key with that hash, revoked or not."""
        row = await self._readers.first(_FIND_KEY, b_hash=secret_hash)
        return None if row is None else rows.read_key(row)

    async def list_keys(self, project: ProjectId) -> list[ApiKey]:
        """All keys of the project, oldest first, revoked ones too."""
        found = await self._readers.all(_LIST_KEYS, b_project=project)
        return [rows.read_key(row) for row in found]

    async def revoke_key(self, key: KeyId, project: ProjectId, at: float) -> bool:
        """Stamp the key as revoked, keeping an earlier stamp; False when there is no such key."""
        change = run(_REVOKE_KEY, b_id=key, b_project=project, b_at=at)
        return await self._writer.write(change) == 1

    async def add_session(self, session: WebSession) -> None:
        """Store a new web session, and forget those that ended long before it."""
        ended_before = session.created_at - SESSION_KEPT_SECONDS

        def change(connection: Connection) -> None:
            connection.execute(_FORGET_SESSIONS, {"b_at": ended_before})
            connection.execute(_ADD_SESSION, rows.write_session(session))

        await self._writer.write(change)

    async def find_session(self, token_hash: str) -> WebSession | None:
        """The session with that hash, expired or not."""
        row = await self._readers.first(_FIND_SESSION, b_hash=token_hash)
        return None if row is None else rows.read_session(row)

    async def remove_session(self, session: SessionId) -> None:
        """Forget the session; quiet when it is not there."""
        await self._writer.write(run(_REMOVE_SESSION, b_id=session))

    async def add_sign_in_link(self, token_hash: str, expires_at: float) -> None:
        """Store a one-time link."""
        await self._writer.write(run(_ADD_LINK, token_hash=token_hash, expires_at=expires_at))

    async def take_sign_in_link(self, token_hash: str, now: float) -> bool:
        """Use the link up; True for exactly one caller, and only before it expires."""

        def change(connection: Connection) -> bool:
            expires_at = connection.execute(_TAKE_LINK, {"b_hash": token_hash}).scalar()
            connection.execute(_FORGET_LINKS, {"b_at": now})
            return expires_at is not None and now < expires_at

        return await self._writer.write(change)
