"""Keeps `gateway.ports.IdentityStore` in memory, with the first organisation already there."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tokenyard.storage.refusals import already_there, email_taken
from tokenyard.storage.retention import SESSION_KEPT_SECONDS
from tokenyard.vocabulary.audit import GENESIS, AuditEntry, AuditRecord, chain
from tokenyard.vocabulary.identity import (
    DEFAULT_ORGANISATION,
    DEFAULT_PROJECT,
    DEFAULT_USER,
    ApiKey,
    Invitation,
    Organisation,
    Project,
    Role,
    Standing,
    User,
    UserKind,
    WebSession,
)
from tokenyard.vocabulary.ids import (
    InvitationId,
    KeyId,
    OrganisationId,
    ProjectId,
    SessionId,
    UserId,
)

_OWNER = User(
    DEFAULT_USER,
    DEFAULT_ORGANISATION,
    UserKind.PERSON,
    "Owner",
    Role.OWNER,
    created_at=0.0,
    operator=True,
)


@dataclass(slots=True)
class MemoryPeople:
    """Who and what there is; as the first migration leaves it."""

    organisations: dict[OrganisationId, Organisation] = field(
        default_factory=lambda: {
            DEFAULT_ORGANISATION: Organisation(DEFAULT_ORGANISATION, "My organisation", 0.0)
        }
    )
    projects: dict[ProjectId, Project] = field(
        default_factory=lambda: {
            DEFAULT_PROJECT: Project(DEFAULT_PROJECT, DEFAULT_ORGANISATION, "Default", 0.0)
        }
    )
    users: dict[UserId, User] = field(default_factory=lambda: {DEFAULT_USER: _OWNER})
    # With the role, and since when.
    members: dict[tuple[ProjectId, UserId], tuple[Role, float]] = field(default_factory=dict)
    invitations: dict[InvitationId, Invitation] = field(default_factory=dict)
    identities: dict[tuple[str, str], UserId] = field(default_factory=dict)
    keys: dict[KeyId, ApiKey] = field(default_factory=dict)
    sessions: dict[str, WebSession] = field(default_factory=dict)
    links: dict[str, tuple[UserId, float]] = field(default_factory=dict)
    audit: dict[OrganisationId, list[AuditRecord]] = field(default_factory=dict)

    def add_user(self, user: User, member_of: ProjectId | None, as_role: Role | None) -> None:
        """Store a new user, a member of that project at once; raises Conflict for a taken email."""
        if user.id in self.users:
            raise already_there("user")
        if user.email is not None and user.email in {held.email for held in self.users.values()}:
            raise email_taken(user.email)
        self.users[user.id] = user
        if member_of is not None and as_role is not None:
            self.members[member_of, user.id] = (as_role, user.created_at)

    def end_sessions(self, user: UserId) -> None:
        """Forget all sessions of the user."""
        for held in [held for held in self.sessions.values() if held.user == user]:
            del self.sessions[held.token_hash]

    def append(self, entry: AuditEntry) -> None:
        """Add an entry at the end of its organisation's chain."""
        records = self.audit.setdefault(entry.organisation, [])
        number = len(records) + 1
        before = records[-1].hash if records else GENESIS
        records.append(AuditRecord(entry, number, chain(before, number, entry)))


class MemoryIdentityStore:
    """Keys, sessions and links over one state."""

    def __init__(self, people: MemoryPeople) -> None:
        self._people = people

    async def revision(self) -> int:
        """A number that rises with every change of what somebody may."""
        return sum(len(records) for records in self._people.audit.values())

    async def find_standing(self, user: UserId, project: ProjectId) -> Standing | None:
        """Where the user stands; None when either is gone, or they are of two organisations."""
        who, where = self._people.users.get(user), self._people.projects.get(project)
        if who is None or who.removed_at is not None:
            return None
        if where is None or where.archived_at is not None:
            return None
        if who.organisation != where.organisation:
            return None
        role, _ = self._people.members.get((project, user), (None, 0.0))
        return Standing(who.organisation, who.role, role, who.operator)

    async def add_key(self, key: ApiKey, entry: AuditEntry) -> None:
        """Store a new key."""
        if key.id in self._people.keys or await self.find_key(key.secret_hash) is not None:
            raise already_there("key")
        self._people.keys[key.id] = key
        self._people.append(entry)

    async def find_key(self, secret_hash: str) -> ApiKey | None:
        """The key with that hash, now or before its last rotation, revoked or not."""
        keys = self._people.keys.values()
        return next(
            (key for key in keys if secret_hash in (key.secret_hash, key.previous_hash)), None
        )

    async def get_key(self, key: KeyId, project: ProjectId) -> ApiKey | None:
        """The key with that id; None when it is another project's."""
        held = self._people.keys.get(key)
        return held if held is not None and held.project == project else None

    async def list_keys(self, project: ProjectId) -> list[ApiKey]:
        """All keys of the project, oldest first, revoked ones too."""
        mine = [key for key in self._people.keys.values() if key.project == project]
        return sorted(mine, key=lambda key: (key.created_at, key.id))

    async def edit_key(self, key: ApiKey, entry: AuditEntry) -> bool:
        """Write name, scopes, models, cap and expiry; False when it is gone or revoked."""
        held = await self.get_key(key.id, key.project)
        if held is None or held.revoked_at is not None:
            return False
        self._people.keys[key.id] = replace(
            held,
            name=key.name,
            scopes=key.scopes,
            models=key.models,
            monthly_cap_nanos=key.monthly_cap_nanos,
            expires_at=key.expires_at,
            server_tags=key.server_tags,
        )
        self._people.append(entry)
        return True

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
        held = await self.get_key(key, project)
        if held is None or held.revoked_at is not None:
            return False
        self._people.keys[key] = replace(
            held,
            secret_hash=secret_hash,
            hint=hint,
            previous_hash=held.secret_hash,
            previous_until=previous_until,
        )
        self._people.append(entry)
        return True

    async def revoke_key(
        self, key: KeyId, project: ProjectId, at: float, entry: AuditEntry
    ) -> bool:
        """Stamp the key as revoked, keeping an earlier stamp; False when there is no such key."""
        held = await self.get_key(key, project)
        if held is None:
            return False
        if held.revoked_at is None:
            self._people.keys[key] = replace(held, revoked_at=at)
        self._people.append(entry)
        return True

    async def note_used(
        self, keys: Mapping[KeyId, float], sessions: Mapping[SessionId, float]
    ) -> None:
        """When each was last used."""
        for key, at in keys.items():
            if key in self._people.keys:
                self._people.keys[key] = replace(self._people.keys[key], last_used_at=at)
        for held in list(self._people.sessions.values()):
            if held.id in sessions:
                used = replace(held, last_used_at=sessions[held.id])
                self._people.sessions[held.token_hash] = used

    async def add_session(self, session: WebSession, entry: AuditEntry) -> None:
        """Store a new web session, and forget those that ended long before it."""
        sessions = self._people.sessions
        if session.token_hash in sessions or session.id in {held.id for held in sessions.values()}:
            raise already_there("session")
        ended_before = session.created_at - SESSION_KEPT_SECONDS
        for held in list(sessions.values()):
            if held.expires_at < ended_before:
                del sessions[held.token_hash]
        sessions[session.token_hash] = session
        self._people.append(entry)

    async def find_session(self, token_hash: str) -> WebSession | None:
        """The session with that hash, expired or not."""
        return self._people.sessions.get(token_hash)

    async def list_sessions(self, user: UserId) -> list[WebSession]:
        """The sessions of a user, the newest first."""
        mine = [held for held in self._people.sessions.values() if held.user == user]
        return sorted(mine, key=lambda held: (-held.created_at, held.id))

    async def choose_project(
        self, session: SessionId, project: ProjectId, entry: AuditEntry
    ) -> None:
        """From now on the session works in that project."""
        for held in list(self._people.sessions.values()):
            if held.id == session:
                self._people.sessions[held.token_hash] = replace(held, project=project)
        self._people.append(entry)

    async def remove_session(self, session: SessionId, user: UserId, entry: AuditEntry) -> bool:
        """Forget the session; False when that user has none like it."""
        for held in list(self._people.sessions.values()):
            if held.id == session and held.user == user:
                del self._people.sessions[held.token_hash]
                self._people.append(entry)
                return True
        return False

    async def add_sign_in_link(self, token_hash: str, user: UserId, expires_at: float) -> None:
        """Store a one-time link that signs that user in."""
        if token_hash in self._people.links:
            raise already_there("sign-in link")
        self._people.links[token_hash] = (user, expires_at)

    async def take_sign_in_link(self, token_hash: str, now: float) -> UserId | None:
        """Use the link up; its user for exactly one caller, and only before it expires."""
        links = self._people.links
        taken = links.pop(token_hash, None)
        for held in [held for held, (_, end) in links.items() if end <= now]:
            del links[held]
        return taken[0] if taken is not None and now < taken[1] else None
