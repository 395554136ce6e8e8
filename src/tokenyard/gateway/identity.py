"""Who is calling: finds the key or the session of a request and what its owner may now.

What was read is remembered until anything changes in the store: one small question for its
revision, asked at most every `identity.revision_seconds`, covers all keys, sessions, roles and
projects, so that a revocation by any gateway counts on all of them within that time. A store that
does not answer denies. Decides whether credentials hold; the permission table decides the rest.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tokenyard.gateway.keys import Keys
from tokenyard.gateway.ports import IdentityStore
from tokenyard.gateway.rules.keys import hash_secret, well_formed
from tokenyard.gateway.rules.origins import comes_from_us
from tokenyard.gateway.rules.permissions import cut, grant, role_in_project
from tokenyard.gateway.sessions import SESSION_COOKIE, Sessions
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.runtime.randomness import Randomness
from tokenyard.vocabulary.errors import Forbidden, NotFound, Unauthenticated
from tokenyard.vocabulary.identity import ApiKey, Permission, Principal, Standing, WebSession
from tokenyard.vocabulary.ids import KeyId, ProjectId, SessionId, UserId
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of its sender, taken from its headers."""

    method: str
    host: str
    authorization: str | None
    session: str | None
    origin: str | None
    fetch_site: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store said of a secret."""

    held: ApiKey | WebSession
    # None when its owner may no longer work in its project.
    principal: Principal | None


class Identity:
    """Names the callers of one gateway; `keys` and `sessions` make and end what they come with."""

    def __init__(
        self,
        store: IdentityStore,
        settings: IdentitySettings,
        *,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self.keys = Keys(store, settings, clock=clock, randomness=randomness, changed=self.forget)
        self.sessions = Sessions(
            store, settings, clock=clock, randomness=randomness, changed=self.forget
        )
        # By hash of the secret, the longest known first.
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._revision = -1
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self._keys_used: dict[KeyId, float] = {}
        self._sessions_used: dict[SessionId, float] = {}

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The caller; raises Unauthenticated, or Forbidden for a cookie on a foreign page."""
        if credentials.authorization is not None:
            return await self._by_key(credentials.authorization)
        if credentials.session is not None:
            principal, _ = await self.by_session(credentials.session)
            if not comes_from_us(
                credentials.method, credentials.host, credentials.origin, credentials.fetch_site
            ):
                raise Forbidden("This request comes from a page of another site.")
            return principal
        raise Unauthenticated(
            "Send an API key as 'Authorization: Bearer ty-…'. "
            "`tokenyard keys create --name NAME` makes one.",
            reason=Reason.MISSING_CREDENTIALS,
        )

    async def by_session(self, cookie: str) -> tuple[Principal, WebSession]:
        """Who is signed in with that cookie; raises Unauthenticated."""
        token_hash = hash_secret(cookie)
        find_session = self._store.find_session
        known = await self._find(token_hash, find_session)
        if known is not None and self._is_over(known.held):
            # It may have been used elsewhere since it was read.
            self._known.pop(token_hash, None)
            known = await self._find(token_hash, find_session)
        if known is None or not isinstance(known.held, WebSession) or self._is_over(known.held):
            raise _session_over()
        session, now = known.held, self._clock.now()
        if known.principal is None:
            raise _withdrawn()
        self._sessions_used[session.id] = now
        return known.principal, session

    async def in_project(self, caller: Principal, project: ProjectId) -> Principal:
        """The same caller in another project; raises NotFound where it has no business."""
        if project == caller.project:
            return caller
        standing = await self._store.find_standing(caller.user, project)
        there = None if standing is None else _principal(caller.user, project, standing)
        # A key belongs to its project; elsewhere it may only what counts for the organisation.
        if there is None or (caller.key is not None and not caller.may(Permission.PROJECTS_WRITE)):
            raise no_project(project)
        if caller.key is None:
            return there
        return Principal(
            there.user,
            project,
            caller.key,
            organisation=there.organisation,
            role=there.role,
            operator=there.operator,
            permissions=there.permissions & caller.permissions,
        )

    def forget(self) -> None:
        """Read everything anew: something was changed here."""
        self._asked_at = float("-inf")

    async def write_last_used(self) -> None:
        """Write down when keys and sessions were last used, since this was last called."""
        keys, self._keys_used = self._keys_used, {}
        sessions, self._sessions_used = self._sessions_used, {}
        if keys or sessions:
            await self._store.note_used(keys, sessions)

    async def keep_last_used(self) -> None:
        """Write it down now and then, for ever."""
        while True:
            await self._clock.sleep(self._settings.last_use_seconds)
            await self.write_last_used()

    async def _by_key(self, authorization: str) -> Principal:
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        secret_hash = hash_secret(secret)
        # What is known needs no look at its checksum.
        formed = secret_hash in self._known or well_formed(secret)
        if scheme.lower() != "bearer" or not formed:
            raise Unauthenticated("This is not an API key of this server: check for typing errors.")
        known = await self._find(secret_hash, self._store.find_key)
        if known is None or not isinstance(known.held, ApiKey):
            raise Unauthenticated("There is no such API key here.")
        now = self._clock.now()
        _check_key(known.held, secret_hash, now)
        if known.principal is None:
            raise _withdrawn()
        self._keys_used[known.held.id] = now
        return known.principal

    def _is_over(self, held: ApiKey | WebSession) -> bool:
        if isinstance(held, ApiKey):
            return False
        now, idle = self._clock.now(), self._settings.session_idle_seconds
        used = self._sessions_used.get(held.id, held.last_used_at or held.created_at)
        return held.expires_at <= now or used + idle <= now

    async def _find(
        self, secret_hash: str, look_up: Callable[[str], Awaitable[ApiKey | WebSession | None]]
    ) -> _Known | None:
        await self._keep_up()
        known = self._known.get(secret_hash)
        if known is not None:
            return known
        revision = self._revision
        held = await look_up(secret_hash)
        if held is None:
            return None
        standing = await self._store.find_standing(held.user, held.project)
        known = _Known(held, None if standing is None else _caller(held, standing))
        # What was read before a change that is known by now is not remembered.
        if revision == self._revision:
            self._known[secret_hash] = known
            if len(self._known) > self._settings.remembered_max:
                self._known.popitem(last=False)
        return known

    async def _keep_up(self) -> None:
        """Forget what was read before the newest change."""
        if self._is_fresh():
            return
        async with self._asking:
            if self._is_fresh():
                return
            began = self._clock.monotonic()
            revision = await self._store.revision()
            if revision != self._revision:
                self._known.clear()
                self._revision = revision
            self._asked_at = began

    def _is_fresh(self) -> bool:
        return self._clock.monotonic() - self._asked_at < self._settings.revision_seconds


def credentials_of(
    method: str, headers: Mapping[str, str], cookies: Mapping[str, str]
) -> Credentials:
    """Take from a request's headers (lower case names) what tells who sent it."""
    return Credentials(
        method=method,
        host=headers.get("host", ""),
        authorization=headers.get("authorization"),
        session=cookies.get(SESSION_COOKIE),
        origin=headers.get("origin"),
        fetch_site=headers.get("sec-fetch-site"),
    )


def no_project(project: str) -> NotFound:
    """The same words for one that is not there and one that is somebody else's."""
    return NotFound(f"There is no project '{project}'.", param="project_id")


def _check_key(key: ApiKey, secret_hash: str, now: float) -> None:
    if key.revoked_at is not None:
        raise Unauthenticated(
            f"The API key '{key.name}' was revoked.", reason=Reason.REVOKED_API_KEY
        )
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthenticated(
            f"The API key '{key.name}' has expired.", reason=Reason.EXPIRED_API_KEY
        )
    if hmac.compare_digest(key.secret_hash, secret_hash):
        return
    if key.previous_until is None or key.previous_until <= now:
        raise Unauthenticated(
            f"The API key '{key.name}' was given a new secret; use that one.",
            reason=Reason.REVOKED_API_KEY,
        )


def _caller(held: ApiKey | WebSession, standing: Standing) -> Principal | None:
    there = _principal(held.user, held.project, standing)
    if there is None or isinstance(held, WebSession):
        return there
    return Principal(
        held.user,
        held.project,
        held.id,
        organisation=there.organisation,
        role=there.role,
        operator=there.operator,
        permissions=cut(there.permissions, held.scopes),
        models=None if held.models is None else frozenset(held.models),
        monthly_cap_nanos=held.monthly_cap_nanos,
        server_tags=frozenset(held.server_tags),
    )


def _principal(user: UserId, project: ProjectId, standing: Standing) -> Principal | None:
    role = role_in_project(standing)
    if role is None:
        return None
    return Principal(
        user,
        project,
        None,
        organisation=standing.organisation,
        role=role,
        operator=standing.operator,
        permissions=grant(standing),
    )


def _session_over() -> Unauthenticated:
    return Unauthenticated("The sign-in has expired. Sign in again.", reason=Reason.EXPIRED_SESSION)


def _withdrawn() -> Unauthenticated:
    return Unauthenticated(
        "Who this belongs to no longer has access to its project.",
        reason=Reason.ACCESS_WITHDRAWN,
    )
