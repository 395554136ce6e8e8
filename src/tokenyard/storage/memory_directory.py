"""Keeps the gateway's ports for people, invitations and the audit log in memory."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from tokenyard.storage.memory_identity import MemoryPeople
from tokenyard.storage.refusals import already_there, email_taken, last_owner, unknown_cursor
from tokenyard.vocabulary.audit import AuditEntry, AuditFilter, AuditRecord
from tokenyard.vocabulary.identity import (
    Invitation,
    Member,
    Organisation,
    Project,
    Role,
    User,
    UserKind,
)
from tokenyard.vocabulary.ids import InvitationId, OrganisationId, ProjectId, UserId

T = TypeVar("T")


class MemoryDirectoryStore:
    """Organisations, projects and people over one state."""

    def __init__(self, people: MemoryPeople) -> None:
        self._people = people

    async def add_organisation(self, organisation: Organisation, entry: AuditEntry) -> None:
        """Store a new organisation."""
        if organisation.id in self._people.organisations:
            raise already_there("organisation")
        self._people.organisations[organisation.id] = organisation
        self._people.append(entry)

    async def find_organisation(self, organisation: OrganisationId) -> Organisation | None:
        """The organisation with that id."""
        return self._people.organisations.get(organisation)

    async def list_organisations(
        self, *, limit: int, after: OrganisationId | None
    ) -> list[Organisation]:
        """All tenants of the installation."""
        return _page(self._people.organisations.values(), limit, after)

    async def rename_organisation(
        self, organisation: OrganisationId, name: str, entry: AuditEntry
    ) -> bool:
        """Give it another name; False when there is none."""
        held = self._people.organisations.get(organisation)
        if held is None:
            return False
        self._people.organisations[organisation] = replace(held, name=name)
        self._people.append(entry)
        return True

    async def add_project(self, project: Project, entry: AuditEntry) -> None:
        """Store a new project."""
        if project.id in self._people.projects:
            raise already_there("project")
        self._people.projects[project.id] = project
        self._people.append(entry)

    async def find_project(self, project: ProjectId) -> Project | None:
        """The project with that id, archived or not."""
        return self._people.projects.get(project)

    async def list_projects(
        self, organisation: OrganisationId, *, archived: bool, limit: int, after: ProjectId | None
    ) -> list[Project]:
        """The organisation's projects, those that are archived only when asked for."""
        wanted = [
            held
            for held in self._people.projects.values()
            if held.organisation == organisation and (archived or held.archived_at is None)
        ]
        return _page(wanted, limit, after)

    async def rename_project(self, project: ProjectId, name: str, entry: AuditEntry) -> bool:
        """Give it another name; False when there is none."""
        held = self._people.projects.get(project)
        if held is None:
            return False
        self._people.projects[project] = replace(held, name=name)
        self._people.append(entry)
        return True

    async def archive_project(self, project: ProjectId, at: float, entry: AuditEntry) -> bool:
        """Close it for everybody; False when there is none that is open."""
        held = self._people.projects.get(project)
        if held is None or held.archived_at is not None:
            return False
        self._people.projects[project] = replace(held, archived_at=at)
        self._people.append(entry)
        return True

    async def add_user(
        self, user: User, entry: AuditEntry, *, member_of: ProjectId | None, as_role: Role | None
    ) -> None:
        """Store a new user, a member of that project at once; raises Conflict for a taken email."""
        self._people.add_user(user, member_of, as_role)
        self._people.append(entry)

    async def find_user(self, user: UserId) -> User | None:
        """The user with that id, removed or not."""
        return self._people.users.get(user)

    async def find_user_by_email(self, email: str) -> User | None:
        """The user with that address, in lower case."""
        return next((held for held in self._people.users.values() if held.email == email), None)

    async def list_users(
        self, organisation: OrganisationId, *, limit: int, after: UserId | None
    ) -> list[User]:
        """The organisation's people who were not removed, without service accounts."""
        wanted = [
            held
            for held in self._people.users.values()
            if held.organisation == organisation
            and held.kind is UserKind.PERSON
            and held.removed_at is None
        ]
        return _page(wanted, limit, after)

    async def change_user(
        self, user: UserId, *, name: str, role: Role, operator: bool, entry: AuditEntry
    ) -> bool:
        """False when there is no such user; raises Conflict when no owner would be left."""
        held = self._present(user)
        if held is None:
            return False
        self._put(replace(held, name=name, role=role, operator=operator), entry)
        return True

    async def set_profile(
        self, user: UserId, *, name: str, email: str | None, entry: AuditEntry
    ) -> bool:
        """False when there is no such user; raises Conflict for a taken email."""
        held, others = self._present(user), self._people.users.values()
        if held is None:
            return False
        if email is not None and email in {one.email for one in others if one.id != user}:
            raise email_taken(email)
        self._people.users[user] = replace(held, name=name, email=email)
        self._people.append(entry)
        return True

    async def set_password(self, user: UserId, password_hash: str, entry: AuditEntry) -> bool:
        """Set the password and end all sessions of the user; False when there is no such user."""
        held = self._present(user)
        if held is None:
            return False
        self._people.users[user] = replace(held, password_hash=password_hash)
        self._people.end_sessions(user)
        self._people.append(entry)
        return True

    async def remove_user(self, user: UserId, at: float, entry: AuditEntry) -> bool:
        """Take away all they had; False when there is no such user, Conflict for the last owner."""
        held, people = self._present(user), self._people
        if held is None:
            return False
        gone = replace(held, removed_at=at, email=None, password_hash=None, operator=False)
        self._put(gone, entry)
        people.end_sessions(user)
        for place in [place for place in people.members if place[1] == user]:
            del people.members[place]
        for known in [known for known, who in people.identities.items() if who == user]:
            del people.identities[known]
        for key in list(people.keys.values()):
            if key.user == user and key.revoked_at is None:
                people.keys[key.id] = replace(key, revoked_at=at)
        return True

    async def find_identity(self, issuer: str, subject: str) -> UserId | None:
        """Who that subject of an OpenID Connect provider is here."""
        return self._people.identities.get((issuer, subject))

    async def link_identity(
        self, issuer: str, subject: str, user: UserId, entry: AuditEntry
    ) -> None:
        """From now on that subject is that user."""
        if (issuer, subject) in self._people.identities:
            raise already_there("identity")
        self._people.identities[issuer, subject] = user
        self._people.append(entry)

    async def set_member(
        self, project: ProjectId, user: UserId, role: Role, entry: AuditEntry
    ) -> None:
        """Make a user a member, or give the member that role."""
        _, since = self._people.members.get((project, user), (role, entry.at))
        self._people.members[project, user] = (role, since)
        self._people.append(entry)

    async def remove_member(self, project: ProjectId, user: UserId, entry: AuditEntry) -> bool:
        """False when the user was no member."""
        if self._people.members.pop((project, user), None) is None:
            return False
        self._people.append(entry)
        return True

    async def find_member(self, project: ProjectId, user: UserId) -> Member | None:
        """One member, a service account too."""
        held = self._people.members.get((project, user))
        return None if held is None else Member(self._people.users[user], *held)

    async def list_members(
        self, project: ProjectId, *, service_accounts: bool, limit: int, after: UserId | None
    ) -> list[Member]:
        """The project's people, or its service accounts."""
        kind = UserKind.SERVICE_ACCOUNT if service_accounts else UserKind.PERSON
        mine = {user: held for (of, user), held in self._people.members.items() if of == project}
        wanted = [self._people.users[user] for user in mine]
        paged = _page([user for user in wanted if user.kind is kind], limit, after)
        return [Member(user, *mine[user.id]) for user in paged]

    async def list_memberships(self, user: UserId) -> list[tuple[Project, Role]]:
        """The open projects that the user is a member of."""
        mine = [
            (self._people.projects[project], role)
            for (project, who), (role, _) in self._people.members.items()
            if who == user and self._people.projects[project].archived_at is None
        ]
        return sorted(mine, key=lambda one: (one[0].created_at, one[0].id))

    def _present(self, user: UserId) -> User | None:
        held = self._people.users.get(user)
        return held if held is not None and held.removed_at is None else None

    def _put(self, user: User, entry: AuditEntry) -> None:
        others = {**self._people.users, user.id: user}.values()
        if not any(
            one.organisation == user.organisation
            and one.role is Role.OWNER
            and one.kind is UserKind.PERSON
            and one.removed_at is None
            for one in others
        ):
            raise last_owner()
        self._people.users[user.id] = user
        self._people.append(entry)


class MemoryInvitationStore:
    """Invitations, and the users that they become."""

    def __init__(self, people: MemoryPeople) -> None:
        self._people = people

    async def add_invitation(self, invitation: Invitation, entry: AuditEntry) -> None:
        """Store a new invitation."""
        if invitation.id in self._people.invitations:
            raise already_there("invitation")
        self._people.invitations[invitation.id] = invitation
        self._people.append(entry)

    async def find_invitation(self, token_hash: str) -> Invitation | None:
        """The invitation with that hash, whatever became of it."""
        held = self._people.invitations.values()
        return next((one for one in held if one.token_hash == token_hash), None)

    async def list_invitations(
        self, organisation: OrganisationId, *, limit: int, after: InvitationId | None
    ) -> list[Invitation]:
        """All invitations of the organisation."""
        held = self._people.invitations.values()
        return _page([one for one in held if one.organisation == organisation], limit, after)

    async def revoke_invitation(
        self, invitation: InvitationId, organisation: OrganisationId, at: float, entry: AuditEntry
    ) -> bool:
        """False when there is none that is open."""
        held = self._people.invitations.get(invitation)
        if held is None or held.organisation != organisation or not _is_open(held):
            return False
        self._people.invitations[invitation] = replace(held, revoked_at=at)
        self._people.append(entry)
        return True

    async def accept_invitation(
        self, invitation: Invitation, user: User, at: float, entry: AuditEntry
    ) -> bool:
        """Make the user and use the invitation up, together; False when it was not open any more.

        Raises Conflict when the address belongs to somebody by now.
        """
        held = self._people.invitations.get(invitation.id)
        if held is None or not _is_open(held) or held.expires_at <= at:
            return False
        self._people.add_user(user, held.project, held.project_role)
        self._people.invitations[held.id] = replace(held, accepted_at=at)
        self._people.append(entry)
        return True


class MemoryAuditStore:
    """Keeps `gateway.ports.AuditStore`."""

    def __init__(self, people: MemoryPeople) -> None:
        self._people = people

    async def append(self, entry: AuditEntry) -> None:
        """Add an entry by itself."""
        self._people.append(entry)

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
        found = [
            record
            for record in self._people.audit.get(organisation, [])
            if (before is None or record.number < before)
            and (after is None or record.number > after)
            and _fits(record.entry, wanted)
        ]
        if after is None:
            found.reverse()
        return found[:limit]


def _fits(entry: AuditEntry, wanted: AuditFilter) -> bool:
    return (
        wanted.action in (None, entry.action)
        and wanted.user in (None, entry.user)
        and wanted.project in (None, entry.project)
        and wanted.object in (None, entry.object)
        and (wanted.since is None or entry.at >= wanted.since)
        and (wanted.until is None or entry.at < wanted.until)
    )


def _is_open(invitation: Invitation) -> bool:
    return invitation.accepted_at is None and invitation.revoked_at is None


def _page(held: Iterable[T], limit: int, after: str | None) -> list[T]:
    def place(one: Any) -> tuple[float, str]:
        return (one.created_at, one.id)

    ordered = sorted(held, key=place)
    if after is None:
        return ordered[:limit]
    ids = [place(one)[1] for one in ordered]
    if after not in ids:
        raise unknown_cursor()
    return ordered[ids.index(after) + 1 :][:limit]
