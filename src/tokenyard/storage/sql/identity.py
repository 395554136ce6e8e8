"""Keeps `gateway.ports.IdentityStore` in SQL."""

from sqlalchemy import Connection, delete, func, insert, select, update

from tokenyard.storage.retention import SESSION_KEPT_SECONDS
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.schema import api_keys, sign_in_links, web_sessions
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.identity import ApiKey, WebSession
from tokenyard.vocabulary.ids import KeyId, ProjectId, SessionId


class SqlIdentityStore:
    """Keys, web sessions and one-time links; a change is seen by other processes at once."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_key(self, key: ApiKey) -> None:
        """Store a new key."""
        statement = insert(api_keys).values(rows.write_key(key))
        await self._writer.write(run(statement))

    async def find_key(self, secret_hash: str) -> ApiKey | None:
        """The key with that hash, revoked or not."""
        query = select(api_keys).where(api_keys.c.secret_hash == secret_hash)
        row = await self._readers.read(lambda connection: connection.execute(query).first())
        return None if row is None else rows.read_key(row)

    async def list_keys(self, project: ProjectId) -> list[ApiKey]:
        """All keys of the project, oldest first, revoked ones too."""
        query = (
            select(api_keys)
            .where(api_keys.c.project_id == project)
            .order_by(api_keys.c.created_at, api_keys.c.id)
        )
        found = await self._readers.read(lambda connection: connection.execute(query).all())
        return [rows.read_key(row) for row in found]

    async def revoke_key(self, key: KeyId, project: ProjectId, at: float) -> bool:
        """Stamp the key as revoked, keeping an earlier stamp; False when there is no such key."""
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key, api_keys.c.project_id == project)
            .values(revoked_at=func.coalesce(api_keys.c.revoked_at, at))
        )
        return await self._writer.write(run(statement)) == 1

    async def add_session(self, session: WebSession) -> None:
        """Store a new web session, and forget those that ended long before it."""
        ended_before = session.created_at - SESSION_KEPT_SECONDS
        forget = delete(web_sessions).where(web_sessions.c.expires_at < ended_before)
        statement = insert(web_sessions).values(rows.write_session(session))

        def change(connection: Connection) -> None:
            connection.execute(forget)
            connection.execute(statement)

        await self._writer.write(change)

    async def find_session(self, token_hash: str) -> WebSession | None:
        """The session with that hash, expired or not."""
        query = select(web_sessions).where(web_sessions.c.token_hash == token_hash)
        row = await self._readers.read(lambda connection: connection.execute(query).first())
        return None if row is None else rows.read_session(row)

    async def remove_session(self, session: SessionId) -> None:
        """Forget the session; quiet when it is not there."""
        statement = delete(web_sessions).where(web_sessions.c.id == session)
        await self._writer.write(run(statement))

    async def add_sign_in_link(self, token_hash: str, expires_at: float) -> None:
        """Store a one-time link."""
        statement = insert(sign_in_links).values(token_hash=token_hash, expires_at=expires_at)
        await self._writer.write(run(statement))

    async def take_sign_in_link(self, token_hash: str, now: float) -> bool:
        """Use the link up; True for exactly one caller, and only before it expires."""
        take = (
            delete(sign_in_links)
            .where(sign_in_links.c.token_hash == token_hash)
            .returning(sign_in_links.c.expires_at)
        )
        forget = delete(sign_in_links).where(sign_in_links.c.expires_at <= now)

        def change(connection: Connection) -> bool:
            expires_at = connection.execute(take).scalar()
            connection.execute(forget)
            return expires_at is not None and now < expires_at

        return await self._writer.write(change)
