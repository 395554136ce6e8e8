"""The ways in: a one-time link, a password, an invitation, a provider; each ends in a session.

Decides who somebody is that has proved it, and which project the session begins in.
"""

from dataclasses import dataclass

from tokenyard.gateway.invitations import Invitations, read_email
from tokenyard.gateway.keys import check_name
from tokenyard.gateway.openid import Claims, OpenId
from tokenyard.gateway.passwords import Passwords
from tokenyard.gateway.people import People
from tokenyard.gateway.sessions import Sessions
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.identity_settings import ProviderSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.audit import AuditAction, AuditEntry, entry_by
from tokenyard.vocabulary.errors import Forbidden, Unauthenticated
from tokenyard.vocabulary.identity import (
    DEFAULT_ORGANISATION,
    DEFAULT_PROJECT,
    Principal,
    Role,
    User,
    UserKind,
)
from tokenyard.vocabulary.ids import IdPrefix, UserId
from tokenyard.vocabulary.reasons import Reason

_NAME_CHARACTERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser that wants in."""

    # The host that it comes from.
    place: str
    agent: str
    # The session cookie that it came with; its session ends with the new sign-in.
    cookie: str


class SignIn:
    """Turns proofs into session cookies."""

    def __init__(
        self,
        *,
        people: People,
        sessions: Sessions,
        passwords: Passwords,
        invitations: Invitations,
        openid: OpenId,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._people = people
        self._sessions = sessions
        self._passwords = passwords
        self.invitations = invitations
        self.openid = openid
        self._clock = clock
        self._randomness = randomness

    async def by_link(self, token: str, visitor: Visitor) -> str:
        """Use up a one-time link; raises Unauthenticated."""
        user = await self._people.store.find_user(await self._sessions.take_link(token))
        return await self._begin(user, visitor, "link")

    async def by_password(self, email: str, password: str, visitor: Visitor) -> str:
        """Raises Unauthenticated, without saying what was wrong, or LimitReached."""
        email = email.strip().lower()
        user = await self._people.store.find_user_by_email(email)
        password_hash = None if user is None else user.password_hash
        await self._passwords.check(password, password_hash, account=email, place=visitor.place)
        return await self._begin(user, visitor, "password")

    async def by_invitation(self, token: str, name: str, password: str, visitor: Visitor) -> str:
        """Become a user; raises Unauthenticated, InvalidRequest or Conflict."""
        # Looked at first: who has no invitation shall not make the server work for it.
        invitation = await self.invitations.look_up(token)
        password_hash = await self._passwords.hash(password, beside=invitation.email)
        user = await self.invitations.accept(token, name, password_hash)
        return await self._begin(user, visitor, "invitation")

    async def by_provider(self, claims: Claims, provider: str, visitor: Visitor) -> str:
        """Somebody whom a provider knows; raises Forbidden for who has no place here."""
        store = self._people.store
        known = await store.find_identity(claims.issuer, claims.subject)
        user = (
            await self._match(claims, self.openid.provider(provider))
            if known is None
            else await store.find_user(known)
        )
        return await self._begin(user, visitor, provider)

    async def change_profile(self, caller: Principal, name: str | None, email: str | None) -> User:
        """One's own name and address; None leaves it. Raises InvalidRequest or Conflict."""
        user = await self._people.user(caller, caller.user)
        name = user.name if name is None else name
        email = user.email if email is None else read_email(email)
        check_name(name)
        told = {"name": name, "email": email or ""}
        entry = entry_by(caller, self._clock.now(), AuditAction.USER_UPDATED, user.id, told)
        await self._people.store.set_profile(user.id, name=name, email=email, entry=entry)
        return await self._people.user(caller, caller.user)

    async def change_password(
        self, caller: Principal, current: str, new: str, visitor: Visitor
    ) -> None:
        """Set one's own password, which ends all sessions; who has none yet needs no current."""
        user = await self._people.user(caller, caller.user)
        if user.password_hash is not None:
            await self._passwords.check(
                current, user.password_hash, account=user.id, place=visitor.place
            )
        password_hash = await self._passwords.hash(new, beside=user.email or "")
        entry = entry_by(caller, self._clock.now(), AuditAction.PASSWORD_CHANGED, user.id)
        await self._people.store.set_password(user.id, password_hash, entry)
        self._sessions.forget()

    async def _begin(self, user: User | None, visitor: Visitor, how: str) -> str:
        if user is None or user.removed_at is not None or user.kind is not UserKind.PERSON:
            raise Unauthenticated("This user was removed.", reason=Reason.ACCESS_WITHDRAWN)
        project = await self._people.first_project_of(user)
        if project is None:
            raise Forbidden(
                "You are no member of any project yet. Ask an admin of your organisation.",
                reason=Reason.ACCESS_WITHDRAWN,
            )
        return await self._sessions.begin(
            user.id,
            user.organisation,
            project,
            how=how,
            agent=visitor.agent,
            before=visitor.cookie,
        )

    async def _match(self, claims: Claims, provider: ProviderSettings) -> User:
        """The user with the confirmed address, or a new one where the settings allow it."""
        store, now = self._people.store, self._clock.now()
        user = None if claims.email is None else await store.find_user_by_email(claims.email)
        if user is None:
            user = await self._welcome(claims, provider)
        entry = self._told(user, AuditAction.IDENTITY_LINKED, now, {"issuer": claims.issuer})
        await store.link_identity(claims.issuer, claims.subject, user.id, entry)
        return user

    async def _welcome(self, claims: Claims, provider: ProviderSettings) -> User:
        domain = (claims.email or "").partition("@")[2]
        if not domain or domain not in {allowed.lower() for allowed in provider.domains}:
            raise Forbidden(
                "Nobody here has your address. Ask an admin for an invitation.",
                reason=Reason.NOT_INVITED,
            )
        name = "".join(one for one in claims.name if one.isprintable()).strip()
        user = User(
            id=UserId(mint(IdPrefix.USER, self._randomness)),
            organisation=DEFAULT_ORGANISATION,
            kind=UserKind.PERSON,
            name=name[:_NAME_CHARACTERS_MAX] or str(claims.email),
            role=Role.VIEWER,
            created_at=self._clock.now(),
            email=claims.email,
        )
        told = {"email": str(claims.email), "provider": provider.name}
        entry = self._told(user, AuditAction.USER_ADDED, user.created_at, told)
        await self._people.store.add_user(
            user, entry, member_of=DEFAULT_PROJECT, as_role=Role(provider.role)
        )
        return user

    def _told(self, user: User, action: str, at: float, details: dict[str, str]) -> AuditEntry:
        return AuditEntry(user.organisation, at, action, user.id, None, None, user.id, details)
