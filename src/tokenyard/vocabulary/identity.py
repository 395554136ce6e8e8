"""Who is calling: organisations, projects, people, keys, sessions, and the principal they become.

An organisation is a tenant: it owns projects and people, and nothing of it is seen by another. A
project owns what is made in it. A service account is a user without a sign-in, for programs.
"""

from dataclasses import dataclass
from enum import StrEnum

from tokenyard.vocabulary.errors import Forbidden
from tokenyard.vocabulary.ids import (
    InvitationId,
    KeyId,
    OrganisationId,
    ProjectId,
    SessionId,
    UserId,
)
from tokenyard.vocabulary.reasons import Reason

# What the first start makes; also the owner of everything that is older than organisations.
DEFAULT_ORGANISATION = OrganisationId("org_default")
DEFAULT_PROJECT = ProjectId("proj_default")
DEFAULT_USER = UserId("user_owner")

# The scope of a key that may do whatever its owner may.
EVERYTHING = "*"


class Role(StrEnum):
    """What somebody is in an organisation or a project, the most powerful first."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class UserKind(StrEnum):
    """People sign in; service accounts have keys only."""

    PERSON = "person"
    SERVICE_ACCOUNT = "service_account"


class Permission(StrEnum):
    """What an operation needs; `gateway.rules.permissions` says which role has it.

    The same words are the scopes of an API key.
    """

    ACCOUNT = "account"
    MODELS_READ = "models.read"
    INFERENCE = "inference"
    CHAT_READ = "chat.read"
    CHAT_WRITE = "chat.write"
    PROMPTS_READ = "prompts.read"
    PROMPTS_WRITE = "prompts.write"
    FILES_READ = "files.read"
    FILES_WRITE = "files.write"
    BATCHES_READ = "batches.read"
    BATCHES_WRITE = "batches.write"
    JOBS_READ = "jobs.read"
    JOBS_WRITE = "jobs.write"
    USAGE_READ = "usage.read"
    USAGE_READ_ALL = "usage.read_all"
    KEYS_READ = "keys.read"
    KEYS_WRITE = "keys.write"
    MEMBERS_READ = "members.read"
    MEMBERS_WRITE = "members.write"
    LIMITS_READ = "limits.read"
    LIMITS_WRITE = "limits.write"
    ORGANISATION_READ = "organisation.read"
    ORGANISATION_WRITE = "organisation.write"
    PROJECTS_WRITE = "projects.write"
    PEOPLE_READ = "people.read"
    PEOPLE_WRITE = "people.write"
    AUDIT_READ = "audit.read"
    CLUSTER_READ = "cluster.read"
    CLUSTER_MANAGE = "cluster.manage"
    UPSTREAMS_READ = "upstreams.read"
    UPSTREAMS_WRITE = "upstreams.write"
    TENANTS_MANAGE = "tenants.manage"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request, as limits, ledger, chat and jobs see it."""

    user: UserId
    project: ProjectId
    # None when the caller came with a web session instead of a key.
    key: KeyId | None
    organisation: OrganisationId = DEFAULT_ORGANISATION
    role: Role = Role.VIEWER
    # Whether the user runs the installation, whatever the scopes of the key are.
    operator: bool = False
    # What this caller may: the role's permissions, cut to the key's scopes. Checked at the door.
    permissions: frozenset[Permission] = frozenset()
    # Models that the key may use; None means all. Checked where money is set aside.
    models: frozenset[str] | None = None
    # What the key may spend in a calendar month (UTC); None means no cap of its own.
    monthly_cap_nanos: int | None = None
    # Tags that a model server must have to be asked for this caller: of the key, and the request.
    server_tags: frozenset[str] = frozenset()

    def may(self, permission: Permission) -> bool:
        """Whether the caller has it."""
        return permission in self.permissions

    def check_model(self, model: str) -> None:
        """Raises Forbidden for a model that the key may not use."""
        if self.models is not None and model not in self.models:
            raise Forbidden(
                f"This key may not use the model '{model}'.",
                reason=Reason.MODEL_NOT_ALLOWED,
                param="model",
            )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a user stands in a project, as the store knows it now."""

    organisation: OrganisationId
    organisation_role: Role
    # None for who is no member; owners and admins of the organisation need not be.
    project_role: Role | None
    # May run the installation itself: nodes, model servers, tenants.
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Organisation:
    """A tenant."""

    id: OrganisationId
    name: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Project:
    """What owns objects; it never changes its organisation."""

    id: ProjectId
    organisation: OrganisationId
    name: str
    created_at: float
    # Since when nobody may work in it; what it holds stays.
    archived_at: float | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A person, or a service account, of one organisation."""

    id: UserId
    organisation: OrganisationId
    kind: UserKind
    name: str
    # In the organisation; a service account is a viewer there and has its role in its project.
    role: Role
    created_at: float
    # In lower case, nobody's twice; None for a service account and for who was removed.
    email: str | None = None
    operator: bool = False
    # Of a service account.
    project: ProjectId | None = None
    # argon2id; None for who signs in another way.
    password_hash: str | None = None
    removed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a project."""

    user: User
    role: Role
    added_at: float


@dataclass(frozen=True, slots=True)
class Invitation:
    """A place in an organisation for who comes with its link, once and in time."""

    id: InvitationId
    organisation: OrganisationId
    # sha256 of the link's secret, hex.
    token_hash: str
    email: str
    role: Role
    invited_by: UserId
    created_at: float
    expires_at: float
    operator: bool = False
    # A project to be a member of from the first day, and as what.
    project: ProjectId | None = None
    project_role: Role | None = None
    accepted_at: float | None = None
    revoked_at: float | None = None


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
    # Permissions by name, or EVERYTHING; None means the usual ones of a key.
    scopes: tuple[str, ...] | None = None
    # Names of models; None means all.
    models: tuple[str, ...] | None = None
    monthly_cap_nanos: int | None = None
    expires_at: float | None = None
    # Tags that a model server must have; empty for any server.
    server_tags: tuple[str, ...] = ()
    # Written now and then, not with every request.
    last_used_at: float | None = None
    # The secret before the last rotation, and until when it still works.
    previous_hash: str | None = None
    previous_until: float | None = None


@dataclass(frozen=True, slots=True)
class WebSession:
    """A signed-in browser; only the hash of its cookie is stored."""

    id: SessionId
    token_hash: str
    user: UserId
    project: ProjectId
    created_at: float
    expires_at: float
    # Written now and then; ends the session when it is too long ago.
    last_used_at: float | None = None
    # What the browser said of itself, cut short.
    agent: str = ""
