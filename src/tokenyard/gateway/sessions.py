"""Web sessions: how they begin, with a one-time link or after a proof of another kind, and end."""

from collections.abc import Callable

from tokenyard.gateway.keys import SECRET_BYTES
from tokenyard.gateway.ports import IdentityStore
from tokenyard.gateway.rules.keys import RANDOM_CHARACTERS, hash_secret
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.runtime.randomness import Randomness, base62, mint
from tokenyard.vocabulary.audit import AuditAction, AuditEntry
from tokenyard.vocabulary.errors import NotFound, Unauthenticated
from tokenyard.vocabulary.identity import DEFAULT_USER, WebSession
from tokenyard.vocabulary.ids import IdPrefix, OrganisationId, ProjectId, SessionId, UserId
from tokenyard.vocabulary.reasons import Reason

SESSION_COOKIE = "tokenyard_session"
_AGENT_CHARACTERS_MAX = 200


class Sessions:
    """The signed-in browsers. `changed` is called when what is remembered of them is old."""

    def __init__(
        self,
        store: IdentityStore,
        settings: IdentitySettings,
        *,
        clock: Clock,
        randomness: Randomness,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        self._changed = changed

    async def create_link_token(self, user: UserId = DEFAULT_USER) -> str:
        """The secret part of a one-time sign-in link."""
        return (await self.create_link(user))[0]

    async def create_link(self, user: UserId) -> tuple[str, float]:
        """The secret part of a one-time sign-in link, and until when it works."""
        token = self._secret()
        expires_at = self._clock.now() + self._settings.sign_in_link_seconds
        await self._store.add_sign_in_link(hash_secret(token), user, expires_at)
        return token, expires_at

    async def take_link(self, token: str) -> UserId:
        """Use up a sign-in token; whom it signs in. Raises Unauthenticated."""
        user = await self._store.take_sign_in_link(hash_secret(token), self._clock.now())
        if user is None:
            raise Unauthenticated(
                "This sign-in link was used already or has expired. "
                "`tokenyard sign-in-link` prints a new one.",
                reason=Reason.INVALID_SIGN_IN_LINK,
            )
        return user

    async def begin(
        self,
        user: UserId,
        organisation: OrganisationId,
        project: ProjectId,
        *,
        how: str,
        agent: str = "",
        before: str = "",
    ) -> str:
        """A session for somebody whose identity was proved; its cookie, which is always new.

        how: by link, password, invitation or provider. before: the cookie that the browser came
        with, whose session ends.
        """
        if before:
            await self.end_by_cookie(before, organisation)
        cookie, now = self._secret(), self._clock.now()
        session = WebSession(
            id=SessionId(mint(IdPrefix.SESSION, self._randomness)),
            token_hash=hash_secret(cookie),
            user=user,
            project=project,
            created_at=now,
            expires_at=now + self._settings.session_seconds,
            agent=agent[:_AGENT_CHARACTERS_MAX],
        )
        entry = self._entry(AuditAction.SIGNED_IN, session, organisation, how=how)
        await self._store.add_session(session, entry)
        return cookie

    def forget(self) -> None:
        """Read everything anew: sessions were ended elsewhere."""
        self._changed()

    async def list(self, user: UserId) -> list[WebSession]:
        """The sessions of a user that have not ended, the newest first."""
        now, idle = self._clock.now(), self._settings.session_idle_seconds
        return [
            held
            for held in await self._store.list_sessions(user)
            if held.expires_at > now and (held.last_used_at or held.created_at) + idle > now
        ]

    async def end(self, session: SessionId, user: UserId, organisation: OrganisationId) -> None:
        """End a session of that user; raises NotFound."""
        for held in await self._store.list_sessions(user):
            if held.id == session:
                entry = self._entry(AuditAction.SIGNED_OUT, held, organisation)
                if await self._store.remove_session(session, user, entry):
                    self._changed()
                    return
        raise NotFound(f"There is no session '{session}'.", param="session_id")

    async def end_by_cookie(self, cookie: str, organisation: OrganisationId) -> None:
        """End the session of that cookie, if there is one."""
        held = await self._store.find_session(hash_secret(cookie))
        if held is not None:
            entry = self._entry(AuditAction.SIGNED_OUT, held, organisation)
            await self._store.remove_session(held.id, held.user, entry)
            self._changed()

    async def choose_project(
        self, session: WebSession, project: ProjectId, organisation: OrganisationId
    ) -> None:
        """From now on the session works in that project."""
        entry = self._entry(AuditAction.PROJECT_CHOSEN, session, organisation, project=project)
        await self._store.choose_project(session.id, project, entry)
        self._changed()

    def _secret(self) -> str:
        return base62(self._randomness.bytes(SECRET_BYTES), RANDOM_CHARACTERS)

    def _entry(
        self, action: str, session: WebSession, organisation: OrganisationId, **details: str
    ) -> AuditEntry:
        return AuditEntry(
            organisation=organisation,
            at=self._clock.now(),
            action=action,
            user=session.user,
            key=None,
            project=session.project,
            object=session.id,
            details=details,
        )
