"""Who is calling: keys, web sessions, and the principal that either of them stands for."""

from dataclasses import dataclass

from tokenyard.vocabulary.ids import KeyId, ProjectId, SessionId, UserId

DEFAULT_USER = UserId("user_owner")
DEFAULT_PROJECT = ProjectId("proj_default")


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request, as limits, ledger and chat see it."""

    user: UserId
    project: ProjectId
    # None when the caller came with a web session instead of a key.
    key: KeyId | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: the secret itself is shown once and never kept."""

    id: KeyId
    name: str
    # sha256 of the whole secret, hex.
    secret_hash: str
    # The visible ends of the secret ("ty-Ab3…x9Qk"), enough to recognise it in a list.
    hint: str
    user: UserId
    project: ProjectId
    created_at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class WebSession:
    """A signed-in browser; only the hash of its cookie is stored."""

    id: SessionId
    token_hash: str
    user: UserId
    project: ProjectId
    created_at: float
    expires_at: float
