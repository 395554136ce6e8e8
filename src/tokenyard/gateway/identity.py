"""Who is calling: API keys, web sessions and the one-time links that start them.

Decides whether credentials hold; does not decide what the caller may do with them.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from tokenyard.gateway.ports import IdentityStore
from tokenyard.gateway.rules.keys import (
    RANDOM_CHARACTERS,
    hash_secret,
    hint_of,
    spell_key,
    well_formed,
)
from tokenyard.gateway.rules.origins import comes_from_us
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, base62, mint
from tokenyard.runtime.settings import GatewaySettings
from tokenyard.vocabulary.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from tokenyard.vocabulary.identity import (
    DEFAULT_PROJECT,
    DEFAULT_USER,
    ApiKey,
    Principal,
    WebSession,
)
from tokenyard.vocabulary.ids import IdPrefix, KeyId, ProjectId, SessionId
from tokenyard.vocabulary.reasons import Reason

SESSION_COOKIE = "tokenyard_session"
KEY_NAME_MAX = 100
_SECRET_BYTES = 40
# A revoked key stops working within this time on every gateway.
_CACHE_SECONDS = 1.0
_CACHE_KEYS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of its sender, taken from its headers."""

    method: str
    host: str
    authorization: str | None
    session: str | None
    origin: str | None
    fetch_site: str | None


class Identity:
    """Makes, checks and ends keys and sessions."""

    def __init__(
        self,
        store: IdentityStore,
        settings: GatewaySettings,
        *,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        # Keys lately seen and when they were read, the oldest first.
        self._cache: OrderedDict[str, tuple[ApiKey, float]] = OrderedDict()

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The caller; raises Unauthenticated, or Forbidden for a cookie on a foreign page."""
        if credentials.authorization is not None:
            return await self._by_key(credentials.authorization)
        if credentials.session is not None:
            session = await self._store.find_session(hash_secret(credentials.session))
            if session is None or session.expires_at <= self._clock.now():
                raise Unauthenticated(
                    "The sign-in has expired. Open a new sign-in link.",
                    reason=Reason.EXPIRED_SESSION,
                )
            if not comes_from_us(
                credentials.method, credentials.host, credentials.origin, credentials.fetch_site
            ):
                raise Forbidden("This request comes from a page of another site.")
            return Principal(session.user, session.project, None)
        raise Unauthenticated(
            "Send an API key as 'Authorization: Bearer ty-…'. "
            "`tokenyard keys create --name NAME` makes one.",
            reason=Reason.MISSING_CREDENTIALS,
        )

    async def create_key(
        self, name: str, project: ProjectId = DEFAULT_PROJECT
    ) -> tuple[str, ApiKey]:
        """A new key: its secret, which is not kept, and its record."""
        if not 1 <= len(name) <= KEY_NAME_MAX or not name.isprintable():
            raise InvalidRequest(
                f"A key's name has 1 to {KEY_NAME_MAX} printable characters.", param="name"
            )
        secret = spell_key(base62(self._randomness.bytes(_SECRET_BYTES), RANDOM_CHARACTERS))
        key = ApiKey(
            id=KeyId(mint(IdPrefix.KEY, self._randomness)),
            name=name,
            secret_hash=hash_secret(secret),
            hint=hint_of(secret),
            user=DEFAULT_USER,
            project=project,
            created_at=self._clock.now(),
        )
        await self._store.add_key(key)
        return secret, key

    async def list_keys(self, project: ProjectId = DEFAULT_PROJECT) -> list[ApiKey]:
        """All keys of the project, revoked ones too."""
        return await self._store.list_keys(project)

    async def revoke_key(self, key: KeyId, project: ProjectId = DEFAULT_PROJECT) -> None:
        """Make a key worthless; raises NotFound."""
        if not await self._store.revoke_key(key, project, self._clock.now()):
            raise NotFound(f"There is no key '{key}'.", param="key")
        self._cache.clear()

    async def create_sign_in_token(self) -> str:
        """The secret part of a one-time sign-in link."""
        token = base62(self._randomness.bytes(_SECRET_BYTES), RANDOM_CHARACTERS)
        expires_at = self._clock.now() + self._settings.sign_in_link_seconds
        await self._store.add_sign_in_link(hash_secret(token), expires_at)
        return token

    async def sign_in(self, token: str) -> str:
        """Use up a sign-in token; the new session's cookie. Raises Unauthenticated."""
        now = self._clock.now()
        if not await self._store.take_sign_in_link(hash_secret(token), now):
            raise Unauthenticated(
                "This sign-in link was used already or has expired. "
                "`tokenyard sign-in-link` prints a new one.",
                reason=Reason.INVALID_SIGN_IN_LINK,
            )
        cookie = base62(self._randomness.bytes(_SECRET_BYTES), RANDOM_CHARACTERS)
        await self._store.add_session(
            WebSession(
                id=SessionId(mint(IdPrefix.SESSION, self._randomness)),
                token_hash=hash_secret(cookie),
                user=DEFAULT_USER,
                project=DEFAULT_PROJECT,
                created_at=now,
                expires_at=now + self._settings.session_seconds,
            )
        )
        return cookie

    async def sign_out(self, cookie: str) -> None:
        """End the session of that cookie, if there is one."""
        session = await self._store.find_session(hash_secret(cookie))
        if session is not None:
            await self._store.remove_session(session.id)

    async def _by_key(self, authorization: str) -> Principal:
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not well_formed(secret):
            raise Unauthenticated("This is not an API key of this server: check for typing errors.")
        key = await self._find_key(hash_secret(secret))
        if key is None:
            raise Unauthenticated("There is no such API key here.")
        if key.revoked_at is not None:
            raise Unauthenticated(
                f"The API key '{key.name}' was revoked.", reason=Reason.REVOKED_API_KEY
            )
        return Principal(key.user, key.project, key.id)

    async def _find_key(self, secret_hash: str) -> ApiKey | None:
        now = self._clock.monotonic()
        cached = self._cache.get(secret_hash)
        if cached is not None and now - cached[1] < _CACHE_SECONDS:
            return cached[0]
        key = await self._store.find_key(secret_hash)
        self._cache.pop(secret_hash, None)
        if key is not None:
            self._cache[secret_hash] = (key, now)
            if len(self._cache) > _CACHE_KEYS_MAX:
                self._cache.popitem(last=False)
        return key


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
