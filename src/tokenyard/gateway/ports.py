"""What the gateway needs from a store; memory and SQL in `storage` both keep it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tokenyard.vocabulary.audit import AuditEntry, AuditFilter, AuditRecord
from tokenyard.vocabulary.identity import (
    ApiKey,
    Invitation,
    Member,
    Organisation,
    Project,
    Role,
    Standing,
    User,
    WebSession,
)
from tokenyard.vocabulary.ids import (
    InvitationId,
    KeyId,
    LimitId,
    OrganisationId,
    ProjectId,
    SessionId,
    UserId,
)
from tokenyard.vocabulary.limits import Demand, Grant, Limit, Refusal


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


class DirectoryStore(Protocol):
    """Durable organisations, projects, people and invitations, each change with its audit entry.

    Lists are in the order in which things were made; `after` is the id of the last one of the page
    before, and one that is not in the list is refused with InvalidRequest.
    """

    async def add_organisation(self, organisation: Organisation, entry: AuditEntry) -> None:
        """Store a new organisation."""
        ...

    async def find_organisation(self, organisation: OrganisationId) -> Organisation | None:
        """The organisation with that id."""
        ...

    async def list_organisations(
        self, *, limit: int, after: OrganisationId | None
    ) -> list[Organisation]:
        """All tenants of the installation."""
        ...

    async def rename_organisation(
        self, organisation: OrganisationId, name: str, entry: AuditEntry
    ) -> bool:
        """Give it another name; False when there is none."""
        ...

    async def add_project(self, project: Project, entry: AuditEntry) -> None:
        """Store a new project."""
        ...

    async def find_project(self, project: ProjectId) -> Project | None:
        """The project with that id, archived or not."""
        ...

    async def list_projects(
        self, organisation: OrganisationId, *, archived: bool, limit: int, after: ProjectId | None
    ) -> list[Project]:
        """The organisation's projects, those that are archived only when asked for."""
        ...

    async def rename_project(self, project: ProjectId, name: str, entry: AuditEntry) -> bool:
        """Give it another name; False when there is none."""
        ...

    async def archive_project(self, project: ProjectId, at: float, entry: AuditEntry) -> bool:
        """Close it for everybody; False when there is none that is open."""
        ...

    async def add_user(
        self, user: User, entry: AuditEntry, *, member_of: ProjectId | None, as_role: Role | None
    ) -> None:
        """Store a new user, a member of that project at once; raises Conflict for a taken email."""
        ...

    async def find_user(self, user: UserId) -> User | None:
        """The user with that id, removed or not."""
        ...

    async def find_user_by_email(self, email: str) -> User | None:
        """The user with that address, in lower case."""
        ...

    async def list_users(
        self, organisation: OrganisationId, *, limit: int, after: UserId | None
    ) -> list[User]:
        """The organisation's people who were not removed, without service accounts."""
        ...

    async def change_user(
        self, user: UserId, *, name: str, role: Role, operator: bool, entry: AuditEntry
    ) -> bool:
        """False when there is no such user; raises Conflict when no owner would be left."""
        ...

    async def set_profile(
        self, user: UserId, *, name: str, email: str | None, entry: AuditEntry
    ) -> bool:
        """False when there is no such user; raises Conflict for a taken email."""
        ...

    async def set_password(self, user: UserId, password_hash: str, entry: AuditEntry) -> bool:
        """Set the password and end all sessions of the user; False when there is no such user."""
        ...

    async def remove_user(self, user: UserId, at: float, entry: AuditEntry) -> bool:
        """Take away all they had: keys, sessions, memberships, email.

        False when there is no such user; raises Conflict when no owner would be left.
        """
        ...

    async def find_identity(self, issuer: str, subject: str) -> UserId | None:
        """Who that subject of an OpenID Connect provider is here."""
        ...

    async def link_identity(
        self, issuer: str, subject: str, user: UserId, entry: AuditEntry
    ) -> None:
        """From now on that subject is that user."""
        ...

    async def set_member(
        self, project: ProjectId, user: UserId, role: Role, entry: AuditEntry
    ) -> None:
        """Make a user a member, or give the member that role."""
        ...

    async def remove_member(self, project: ProjectId, user: UserId, entry: AuditEntry) -> bool:
        """False when the user was no member."""
        ...

    async def find_member(self, project: ProjectId, user: UserId) -> Member | None:
        """One member, a service account too."""
        ...

    async def list_members(
        self, project: ProjectId, *, service_accounts: bool, limit: int, after: UserId | None
    ) -> list[Member]:
        """The project's people, or its service accounts."""
        ...

    async def list_memberships(self, user: UserId) -> list[tuple[Project, Role]]:
        """The open projects that the user is a member of."""
        ...


class InvitationStore(Protocol):
    """Durable invitations; secrets come in as sha256 hex only."""

    async def add_invitation(self, invitation: Invitation, entry: AuditEntry) -> None:
        """Store a new invitation."""
        ...

    async def find_invitation(self, token_hash: str) -> Invitation | None:
        """The invitation with that hash, whatever became of it."""
        ...

    async def list_invitations(
        self, organisation: OrganisationId, *, limit: int, after: InvitationId | None
    ) -> list[Invitation]:
        """All invitations of the organisation."""
        ...

    async def revoke_invitation(
        self, invitation: InvitationId, organisation: OrganisationId, at: float, entry: AuditEntry
    ) -> bool:
        """False when there is none that is open."""
        ...

    async def accept_invitation(
        self, invitation: Invitation, user: User, at: float, entry: AuditEntry
    ) -> bool:
        """Make the user and use the invitation up, together; False when it was not open any more.

        Raises Conflict when the address belongs to somebody by now.
        """
        ...


class AuditStore(Protocol):
    """The audit log; what the stores of this room change is written with the change."""

    async def append(self, entry: AuditEntry) -> None:
        """Add an entry by itself."""
        ...

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
        ...


class LimitStore(Protocol):
    """The counts that limits are held against."""

    async def take(
        self, demands: Sequence[Demand], *, place: str, now: float, until: float
    ) -> list[Grant] | Refusal:
        """Meet all demands at time `now` (Unix seconds), or none of them.

        place, until: for limits of places, who comes, and when the place ends by itself. Raises
        Unavailable while the store is away.
        """
        ...

    def post_settle(self, changes: Sequence[Demand], *, place: str, now: float) -> None:
        """Correct what was taken by each demand's amount, and give places back. Never raises."""
        ...


class LimitDefinitions(Protocol):
    """Limits that were defined beside the settings, durably."""

    async def list_limits(self) -> list[Limit]:
        """All of them."""
        ...

    async def put_limit(self, limit: Limit) -> None:
        """Store a limit in place of that of its tenant, level, subject, measure and window."""
        ...

    async def delete_limit(self, limit: LimitId) -> bool:
        """Forget a limit; False when there is none of that id."""
        ...
