"""Invitations: a link that makes its bearer a user, once and in time.

No mail is sent: who invites hands the link over. The address is what the new user signs in with.
"""

import re
from dataclasses import replace
from typing import Literal

from tokenyard.gateway.keys import SECRET_BYTES, check_name
from tokenyard.gateway.people import People, check_reach
from tokenyard.gateway.ports import InvitationStore
from tokenyard.gateway.rules.keys import RANDOM_CHARACTERS, hash_secret
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, base62, mint
from tokenyard.vocabulary.audit import AuditAction, AuditEntry, entry_by
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from tokenyard.vocabulary.identity import Invitation, Principal, Role, User, UserKind
from tokenyard.vocabulary.ids import IdPrefix, InvitationId, OrganisationId, ProjectId, UserId
from tokenyard.vocabulary.reasons import Reason

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")


class Invitations:
    """The invitations of all organisations."""

    def __init__(
        self,
        store: InvitationStore,
        people: People,
        *,
        seconds: float,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self.store = store
        self._people = people
        self._seconds = seconds
        self._clock = clock
        self._randomness = randomness

    async def create(
        self,
        caller: Principal,
        email: str,
        role: Role,
        *,
        operator: bool = False,
        project: ProjectId | None = None,
        project_role: Role | None = None,
        organisation: OrganisationId | None = None,
    ) -> tuple[str, Invitation]:
        """The secret of the link, which is not kept, and the invitation.

        organisation: another than the caller's, for the operator who makes tenants.
        """
        email = read_email(email)
        check_reach(caller, role, operator)
        if project is not None and project_role is not None:
            check_reach(caller, project_role)
            held = await self._people.store.find_project(project)
            if held is None or held.organisation != (organisation or caller.organisation):
                raise NotFound(f"There is no project '{project}'.", param="projects")
        if await self._people.store.find_user_by_email(email) is not None:
            raise Conflict(
                f"Somebody with the address '{email}' is here already.",
                reason=Reason.EMAIL_TAKEN,
                param="email",
            )
        token = base62(self._randomness.bytes(SECRET_BYTES), RANDOM_CHARACTERS)
        now = self._clock.now()
        made = Invitation(
            id=InvitationId(mint(IdPrefix.INVITATION, self._randomness)),
            organisation=organisation or caller.organisation,
            token_hash=hash_secret(token),
            email=email,
            role=role,
            invited_by=caller.user,
            created_at=now,
            expires_at=now + self._seconds,
            operator=operator,
            project=project,
            project_role=project_role,
        )
        there = Principal(caller.user, caller.project, caller.key, made.organisation)
        told = {"email": email, "role": role.value}
        entry = entry_by(there, now, AuditAction.INVITED, made.id, told)
        await self.store.add_invitation(made, replace(entry, project=project))
        return token, made

    async def revoke(self, caller: Principal, invitation: InvitationId) -> None:
        """Make the link worthless; raises NotFound when it is not open."""
        now = self._clock.now()
        entry = entry_by(caller, now, AuditAction.INVITATION_REVOKED, invitation)
        if not await self.store.revoke_invitation(invitation, caller.organisation, now, entry):
            raise NotFound(f"There is no open invitation '{invitation}'.", param="invite_id")

    async def look_up(self, token: str) -> Invitation:
        """The open invitation of that link; raises Unauthenticated."""
        found = await self.store.find_invitation(hash_secret(token))
        if found is None or status_of(found, self._clock.now()) != "pending":
            raise _not_open()
        return found

    async def accept(self, token: str, name: str, password_hash: str | None) -> User:
        """Become the user that the invitation is for; raises Unauthenticated or Conflict."""
        check_name(name)
        found, now = await self.look_up(token), self._clock.now()
        user = User(
            id=UserId(mint(IdPrefix.USER, self._randomness)),
            organisation=found.organisation,
            kind=UserKind.PERSON,
            name=name,
            role=found.role,
            created_at=now,
            email=found.email,
            operator=found.operator,
            password_hash=password_hash,
        )
        entry = AuditEntry(
            organisation=found.organisation,
            at=now,
            action=AuditAction.INVITATION_ACCEPTED,
            user=user.id,
            key=None,
            project=found.project,
            object=found.id,
            details={"email": found.email, "invited_by": found.invited_by},
        )
        if not await self.store.accept_invitation(found, user, now, entry):
            raise _not_open()
        return user


def _not_open() -> Unauthenticated:
    return Unauthenticated(
        "This invitation was used, withdrawn or has expired. Ask for a new one.",
        reason=Reason.INVALID_INVITATION,
    )


def status_of(
    invitation: Invitation, now: float
) -> Literal["pending", "accepted", "expired", "revoked"]:
    """What became of it, in one word."""
    if invitation.accepted_at is not None:
        return "accepted"
    if invitation.revoked_at is not None:
        return "revoked"
    return "expired" if invitation.expires_at <= now else "pending"


def read_email(text: str) -> str:
    """The address as it is kept; raises InvalidRequest for what is none."""
    email = text.strip().lower()
    if not _EMAIL.fullmatch(email) or not email.isprintable():
        raise InvalidRequest("That is not an email address.", param="email")
    return email
