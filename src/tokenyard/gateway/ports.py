"""What the gateway needs from a store; memory and SQL in `storage` both keep it."""

from collections.abc import Mapping
from typing import Protocol

from tokenyard.vocabulary.audit import AuditEntry
from tokenyard.vocabulary.identity import ApiKey, Standing, WebSession
from tokenyard.vocabulary.ids import KeyId, ProjectId, SessionId, UserId


class IdentityStore(Protocol):
    """Durable keys, web sessions and one-time sign-in links; secrets come in as sha256 hex only.

    An audit entry is written together with the change that it tells of, or not at all.
    """

    async def revision(self) -> int:
        """A number that rises with every change of what somebody may."""
        ...

    async def find_standing(self, user: UserId, project: ProjectId) -> Standing | None:
        """Where the user stands; None when either is gone, or they are of two organisations."""
        ...

    async def add_key(self, key: ApiKey, entry: AuditEntry) -> None:
        """Store a new key."""
        ...

    async def find_key(self, secret_hash: str) -> ApiKey | None:
        """The key with that hash, now or before its last rotation, revoked or not."""
        ...

    async def get_key(self, key: KeyId, project: ProjectId) -> ApiKey | None:
        """The key with that id; None when it is another project's."""
        ...

    async def list_keys(self, project: ProjectId) -> list[ApiKey]:
        """All keys of the project, oldest first, revoked ones too."""
        ...

    async def edit_key(self, key: ApiKey, entry: AuditEntry) -> bool:
        """Write name, scopes, models, cap and expiry; False when it is gone or revoked."""
        ...

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
        ...

    async def revoke_key(
        self, key: KeyId, project: ProjectId, at: float, entry: AuditEntry
    ) -> bool:
        """Stamp the key as revoked, keeping an earlier stamp; False when there is no such key."""
        ...

    async def note_used(
        self, keys: Mapping[KeyId, float], sessions: Mapping[SessionId, float]
    ) -> None:
        """When each was last used."""
        ...

    async def add_session(self, session: WebSession, entry: AuditEntry) -> None:
        """Store a new web session."""
        ...

    async def find_session(self, token_hash: str) -> WebSession | None:
        """The session with that hash, expired or not."""
        ...

    async def list_sessions(self, user: UserId) -> list[WebSession]:
        """The sessions of a user, the newest first."""
        ...

    async def choose_project(
        self, session: SessionId, project: ProjectId, entry: AuditEntry
    ) -> None:
        """From now on the session works in that project."""
        ...

    async def remove_session(self, session: SessionId, user: UserId, entry: AuditEntry) -> bool:
        """Forget the session; False when that user has none like it."""
        ...

    async def add_sign_in_link(self, token_hash: str, user: UserId, expires_at: float) -> None:
        """Store a one-time link that signs that user in."""
        ...

    async def take_sign_in_link(self, token_hash: str, now: float) -> UserId | None:
        """Use the link up; its user for exactly one caller, and only before it expires."""
        ...
