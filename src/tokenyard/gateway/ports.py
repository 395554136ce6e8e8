"""What the gateway needs from a store; memory and SQL in `storage` both keep it."""

from typing import Protocol

from tokenyard.vocabulary.identity import ApiKey, WebSession
from tokenyard.vocabulary.ids import KeyId, ProjectId, SessionId


class IdentityStore(Protocol):
    """Durable keys, web sessions and one-time sign-in links; secrets come in as sha256 hex only."""

    async def add_key(self, key: ApiKey) -> None:
        """Store a new key."""
        ...

    async def find_key(self, secret_hash: str) -> ApiKey | None:
        """The key with that hash, revoked or not."""
        ...

    async def list_keys(self, project: ProjectId) -> list[ApiKey]:
        """All keys of the project, oldest first, revoked ones too."""
        ...

    async def revoke_key(self, key: KeyId, project: ProjectId, at: float) -> bool:
        """Stamp the key as revoked, keeping an earlier stamp; False when there is no such key."""
        ...

    async def add_session(self, session: WebSession) -> None:
        """Store a new web session."""
        ...

    async def find_session(self, token_hash: str) -> WebSession | None:
        """The session with that hash, expired or not."""
        ...

    async def remove_session(self, session: SessionId) -> None:
        """Forget the session; quiet when it is not there."""
        ...

    async def add_sign_in_link(self, token_hash: str, expires_at: float) -> None:
        """Store a one-time link."""
        ...

    async def take_sign_in_link(self, token_hash: str, now: float) -> bool:
        """Use the link up; True for exactly one caller, and only before it expires."""
        ...
