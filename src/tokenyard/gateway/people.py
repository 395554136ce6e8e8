"""Organisations, projects, people and service accounts: who may change whom, and to what.

The permission table has decided that the caller may do such things at all; here it is decided whom
it reaches: nobody above the caller's own role, nobody of another organisation.
"""

from collections.abc import Callable
from dataclasses import replace

from tokenyard.gateway.identity import no_project
from tokenyard.gateway.keys import check_name
from tokenyard.gateway.ports import DirectoryStore
from tokenyard.gateway.rules.permissions import outranks
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.audit import AuditAction, AuditEntry, entry_by
from tokenyard.vocabulary.errors import Conflict, Forbidden, InvalidRequest, NotFound
from tokenyard.vocabulary.identity import (
    DEFAULT_PROJECT,
    Member,
    Organisation,
    Permission,
    Principal,
    Project,
    Role,
    User,
    UserKind,
)
from tokenyard.vocabulary.ids import IdPrefix, OrganisationId, ProjectId, UserId
from tokenyard.vocabulary.reasons import Reason

_PROJECTS_SHOWN_MAX = 1_000


class People:
    """The directory of one installation, as callers may see and change it."""

    def __init__(
        self,
        store: DirectoryStore,
        *,
        clock: Clock,
        randomness: Randomness,
        changed: Callable[[], None],
    ) -> None:
        """changed: called when what is remembered of callers is old."""
        self.store = store
        self._changed = changed
        self._clock = clock
        self._randomness = randomness

    async def organisation(self, caller: Principal) -> Organisation:
        """The caller's own."""
        return await self.tenant(caller.organisation)

    async def rename_organisation(self, caller: Principal, name: str) -> Organisation:
        """Give the caller's organisation another name."""
        check_name(name)
        entry = self._entry(
            caller, AuditAction.ORGANISATION_UPDATED, caller.organisation, {"name": name}
        )
        await self.store.rename_organisation(caller.organisation, name, entry)
        return await self.organisation(caller)

    async def create_organisation(self, caller: Principal, name: str) -> Organisation:
        """A new tenant with a project, and nobody in it yet; for operators."""
        check_name(name)
        now = self._clock.now()
        made = Organisation(
            OrganisationId(mint(IdPrefix.ORGANISATION, self._randomness)), name, now
        )
        there = Principal(caller.user, caller.project, caller.key, made.id, caller.role)
        # Told in the chain of the new organisation, of which it is the first entry.
        entry = self._entry(there, AuditAction.ORGANISATION_CREATED, made.id, {"name": name})
        # Not the project of the operator, which is none of theirs.
        await self.store.add_organisation(made, replace(entry, project=None))
        await self.create_project(there, "Default")
        return made

    async def tenant(self, organisation: OrganisationId) -> Organisation:
        """Any organisation, for operators; raises NotFound."""
        found = await self.store.find_organisation(organisation)
        if found is None:
            raise NotFound(f"There is no organisation '{organisation}'.", param="organisation_id")
        return found

    async def projects_of(self, caller: Principal) -> list[tuple[Project, Role]]:
        """Where the caller may work, and as what."""
        if caller.may(Permission.PROJECTS_WRITE):
            every = await self.store.list_projects(
                caller.organisation, archived=False, limit=_PROJECTS_SHOWN_MAX, after=None
            )
            return [(project, caller.role) for project in every]
        return await self.store.list_memberships(caller.user)

    async def first_project_of(self, user: User) -> ProjectId | None:
        """Where somebody begins who has just signed in; None for who has nowhere to go."""
        if user.role in (Role.OWNER, Role.ADMIN):
            every = await self.store.list_projects(
                user.organisation, archived=False, limit=_PROJECTS_SHOWN_MAX, after=None
            )
            known = [project.id for project in every]
        else:
            known = [project.id for project, _ in await self.store.list_memberships(user.id)]
        if DEFAULT_PROJECT in known:
            return DEFAULT_PROJECT
        return known[0] if known else None

    async def create_project(self, caller: Principal, name: str) -> Project:
        """A new project of the caller's organisation."""
        check_name(name)
        made = Project(
            ProjectId(mint(IdPrefix.PROJECT, self._randomness)),
            caller.organisation,
            name,
            self._clock.now(),
        )
        entry = self._entry(
            caller, AuditAction.PROJECT_CREATED, made.id, {"name": name}, project=made.id
        )
        await self.store.add_project(made, entry)
        return made

    async def project(self, caller: Principal) -> Project:
        """The project that the caller is asking about."""
        found = await self.store.find_project(caller.project)
        if found is None or found.organisation != caller.organisation:
            raise no_project(caller.project)
        return found

    async def rename_project(self, caller: Principal, name: str) -> Project:
        """Give it another name."""
        check_name(name)
        entry = self._entry(caller, AuditAction.PROJECT_UPDATED, caller.project, {"name": name})
        await self.store.rename_project(caller.project, name, entry)
        return await self.project(caller)

    async def archive_project(self, caller: Principal) -> Project:
        """Close it: its keys stop working, what it holds stays."""
        if caller.project == DEFAULT_PROJECT:
            raise Conflict(
                "The first project stays: the command line works in it.",
                reason=Reason.FIRST_PROJECT,
            )
        entry = self._entry(caller, AuditAction.PROJECT_ARCHIVED, caller.project)
        await self.store.archive_project(caller.project, self._clock.now(), entry)
        self._changed()
        return await self.project(caller)

    async def user(self, caller: Principal, user: UserId) -> User:
        """Somebody of the caller's organisation; raises NotFound."""
        found = await self.store.find_user(user)
        if (
            found is None
            or found.organisation != caller.organisation
            or found.removed_at is not None
        ):
            raise NotFound(f"There is no user '{user}'.", param="user_id")
        return found

    async def change_user(
        self,
        caller: Principal,
        user: UserId,
        *,
        name: str | None,
        role: Role | None,
        operator: bool | None,
    ) -> User:
        """Change what somebody is in the organisation; None leaves a thing as it is."""
        held = await self.reachable_person(caller, user)
        name = held.name if name is None else name
        role = held.role if role is None else role
        operator = held.operator if operator is None else operator
        check_name(name)
        check_reach(caller, role, operator)
        told = {"name": name, "role": role.value, "operator": str(operator).lower()}
        entry = self._entry(caller, AuditAction.USER_UPDATED, user, told)
        await self.store.change_user(user, name=name, role=role, operator=operator, entry=entry)
        self._changed()
        return await self.user(caller, user)

    async def remove_user(self, caller: Principal, user: UserId) -> None:
        """Take away everything somebody has here; raises Conflict for the last owner."""
        held = await self.reachable_person(caller, user)
        entry = self._entry(caller, AuditAction.USER_REMOVED, user, {"name": held.name})
        await self.store.remove_user(user, self._clock.now(), entry)
        self._changed()

    async def reachable_person(self, caller: Principal, user: UserId) -> User:
        """Somebody whom the caller may act on; raises NotFound or Forbidden."""
        held = await self._person(caller, user)
        check_reach(caller, held.role, held.operator)
        return held

    async def member(self, caller: Principal, user: UserId, *, kind: UserKind) -> Member:
        """Somebody in the project that the caller asks about; raises NotFound."""
        found = await self.store.find_member(caller.project, user)
        if found is None or found.user.kind is not kind:
            raise NotFound(f"There is no user '{user}' in this project.", param="user_id")
        return found

    async def set_member(self, caller: Principal, user: UserId, role: Role, *, new: bool) -> Member:
        """Make a person of the organisation a member, or give the member another role."""
        await self._person(caller, user)
        held = await self.store.find_member(caller.project, user)
        if held is None and not new:
            raise NotFound(f"There is no user '{user}' in this project.", param="user_id")
        if held is not None:
            # Also when it is added again: nobody above the caller is made less.
            check_reach(caller, held.role)
        check_reach(caller, role)
        action = AuditAction.MEMBER_ADDED if new else AuditAction.MEMBER_UPDATED
        entry = self._entry(caller, action, user, {"role": role.value})
        await self.store.set_member(caller.project, user, role, entry)
        self._changed()
        return await self.member(caller, user, kind=UserKind.PERSON)

    async def remove_member(self, caller: Principal, user: UserId) -> None:
        """Take somebody out of the project."""
        held = await self.member(caller, user, kind=UserKind.PERSON)
        check_reach(caller, held.role)
        entry = self._entry(caller, AuditAction.MEMBER_REMOVED, user)
        await self.store.remove_member(caller.project, user, entry)
        self._changed()

    async def create_service_account(self, caller: Principal, name: str, role: Role) -> Member:
        """A user without a sign-in, a member of the project; keys are made for it."""
        check_name(name)
        check_reach(caller, role)
        now = self._clock.now()
        user = User(
            id=UserId(mint(IdPrefix.SERVICE_ACCOUNT, self._randomness)),
            organisation=caller.organisation,
            kind=UserKind.SERVICE_ACCOUNT,
            name=name,
            role=Role.VIEWER,
            created_at=now,
            project=caller.project,
        )
        told = {"name": name, "role": role.value}
        entry = self._entry(caller, AuditAction.SERVICE_ACCOUNT_CREATED, user.id, told)
        await self.store.add_user(user, entry, member_of=caller.project, as_role=role)
        return Member(user, role, now)

    async def remove_service_account(self, caller: Principal, user: UserId) -> None:
        """Remove it, and revoke its keys."""
        held = await self.member(caller, user, kind=UserKind.SERVICE_ACCOUNT)
        check_reach(caller, held.role)
        entry = self._entry(caller, AuditAction.SERVICE_ACCOUNT_REMOVED, user)
        await self.store.remove_user(user, self._clock.now(), entry)
        self._changed()

    async def _person(self, caller: Principal, user: UserId) -> User:
        found = await self.user(caller, user)
        if found.kind is not UserKind.PERSON:
            raise InvalidRequest("That is a service account, not a person.", param="user_id")
        return found

    def _entry(
        self,
        caller: Principal,
        action: str,
        changed: str,
        details: dict[str, str] | None = None,
        *,
        project: ProjectId | None = None,
    ) -> AuditEntry:
        return entry_by(caller, self._clock.now(), action, changed, details, project=project)


def check_reach(caller: Principal, role: Role, operator: bool = False) -> None:
    """Raises Forbidden for a role above the caller's, or an operator when the caller is none."""
    if not outranks(caller.role, role):
        raise Forbidden(
            f"Your role here is {caller.role}, which is below {role}.", reason=Reason.ROLE_TOO_LOW
        )
    if operator and not caller.may(Permission.TENANTS_MANAGE):
        raise Forbidden(
            "Only an operator can make, change or remove an operator.", reason=Reason.ROLE_TOO_LOW
        )
