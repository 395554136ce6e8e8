"""API keys: made, listed, changed, rotated and revoked.

Decides what a key may be called and how long an old secret lives; not who may ask for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tokenyard.gateway.ports import IdentityStore
from tokenyard.gateway.rules.keys import RANDOM_CHARACTERS, hash_secret, hint_of, spell_key
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.runtime.randomness import Randomness, base62, mint
from tokenyard.vocabulary.audit import AuditAction, AuditEntry, entry_by
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, NotFound
from tokenyard.vocabulary.identity import (
    DEFAULT_ORGANISATION,
    DEFAULT_USER,
    EVERYTHING,
    ApiKey,
    Permission,
    Principal,
    Role,
)
from tokenyard.vocabulary.ids import IdPrefix, KeyId, ProjectId, UserId
from tokenyard.vocabulary.reasons import Reason

NAME_CHARACTERS_MAX = 100
MODELS_MAX = 100
SECRET_BYTES = 40
_SCOPES = frozenset({EVERYTHING, *Permission})


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key is called and what it may; None leaves it to the usual, or without a bound."""

    name: str
    scopes: Sequence[str] | None = None
    models: Sequence[str] | None = None
    monthly_cap_nanos: int | None = None
    expires_at: float | None = None
    server_tags: Sequence[str] = ()


def command_line(project: ProjectId, user: UserId = DEFAULT_USER) -> Principal:
    """Who works with the data folder itself, beside the server, and may do everything."""
    return Principal(
        user,
        project,
        None,
        organisation=DEFAULT_ORGANISATION,
        role=Role.OWNER,
        operator=True,
        permissions=frozenset(Permission),
    )


class Keys:
    """The keys of all projects. `changed` is called when what is remembered of them is old."""

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
        self._overlap_seconds_max = settings.overlap_seconds_max
        self._keys_max = settings.keys_max
        self._clock = clock
        self._randomness = randomness
        self._changed = changed

    async def create(
        self, by: Principal, terms: KeyTerms, *, owner: UserId | None = None
    ) -> tuple[str, ApiKey]:
        """A new key in the caller's project: its secret, which is not kept, and its record.

        owner: whose it is, when not the caller's. Raises InvalidRequest naming what is wrong.
        """
        self._check(terms)
        there = await self._store.list_keys(by.project)
        if sum(key.revoked_at is None for key in there) >= self._keys_max:
            raise Conflict(
                f"This project has {self._keys_max} keys, which is its limit. Revoke one first.",
                reason=Reason.KEYS_LIMIT,
            )
        secret = self._spell()
        key = ApiKey(
            id=KeyId(mint(IdPrefix.KEY, self._randomness)),
            name=terms.name,
            secret_hash=hash_secret(secret),
            hint=hint_of(secret),
            user=owner or by.user,
            project=by.project,
            created_at=self._clock.now(),
            scopes=None if terms.scopes is None else tuple(terms.scopes),
            models=None if terms.models is None else tuple(terms.models),
            monthly_cap_nanos=terms.monthly_cap_nanos,
            expires_at=terms.expires_at,
            server_tags=tuple(terms.server_tags),
        )
        entry = self._entry(by, AuditAction.KEY_CREATED, key.id, name=key.name, **_told(terms))
        await self._store.add_key(key, entry)
        self._changed()
        return secret, key

    async def list(self, project: ProjectId) -> list[ApiKey]:
        """All keys of the project, revoked ones too."""
        return await self._store.list_keys(project)

    async def get(self, key: KeyId, project: ProjectId) -> ApiKey:
        """One key; raises NotFound."""
        found = await self._store.get_key(key, project)
        if found is None:
            raise _no_key(key)
        return found

    async def edit(self, by: Principal, key: ApiKey, terms: KeyTerms) -> ApiKey:
        """Change what a key is called and may; raises InvalidRequest or NotFound."""
        self._check(terms)
        edited = replace(
            key,
            name=terms.name,
            scopes=None if terms.scopes is None else tuple(terms.scopes),
            models=None if terms.models is None else tuple(terms.models),
            monthly_cap_nanos=terms.monthly_cap_nanos,
            expires_at=terms.expires_at,
            server_tags=tuple(terms.server_tags),
        )
        entry = self._entry(by, AuditAction.KEY_UPDATED, key.id, name=terms.name, **_told(terms))
        if not await self._store.edit_key(edited, entry):
            raise _no_key(key.id)
        self._changed()
        return edited

    async def rotate(self, by: Principal, key: KeyId, overlap_seconds: float) -> tuple[str, ApiKey]:
        """A new secret for a key; the one before works on for that long. Raises NotFound."""
        if not 0 <= overlap_seconds <= self._overlap_seconds_max:
            raise InvalidRequest(
                f"'overlap_seconds' must be from 0 to {self._overlap_seconds_max:.0f}.",
                param="overlap_seconds",
            )
        secret = self._spell()
        overlap = f"{overlap_seconds:g}"
        rotated = await self._store.rotate_key(
            key,
            by.project,
            secret_hash=hash_secret(secret),
            hint=hint_of(secret),
            previous_until=self._clock.now() + overlap_seconds,
            entry=self._entry(by, AuditAction.KEY_ROTATED, key, overlap_seconds=overlap),
        )
        if not rotated:
            raise _no_key(key)
        self._changed()
        return secret, await self.get(key, by.project)

    async def revoke(self, by: Principal, key: KeyId) -> None:
        """Make a key worthless; raises NotFound."""
        entry = self._entry(by, AuditAction.KEY_REVOKED, key)
        if not await self._store.revoke_key(key, by.project, self._clock.now(), entry):
            raise _no_key(key)
        self._changed()

    def _spell(self) -> str:
        return spell_key(base62(self._randomness.bytes(SECRET_BYTES), RANDOM_CHARACTERS))

    def _entry(self, by: Principal, action: str, key: KeyId, **details: str) -> AuditEntry:
        return entry_by(by, self._clock.now(), action, key, details)

    def _check(self, terms: KeyTerms) -> None:
        check_name(terms.name)
        for scope in terms.scopes or ():
            if scope not in _SCOPES:
                raise InvalidRequest(f"There is no scope '{scope[:64]}'.", param="scopes")
        if len(terms.models or ()) > MODELS_MAX:
            raise InvalidRequest(f"A key names at most {MODELS_MAX} models.", param="models")
        if terms.expires_at is not None and terms.expires_at <= self._clock.now():
            raise InvalidRequest("'expires_at' has passed.", param="expires_at")


def check_name(name: str, param: str = "name") -> None:
    """Raises InvalidRequest for what cannot be shown in a list."""
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable() or not name.strip():
        raise InvalidRequest(
            f"A name has 1 to {NAME_CHARACTERS_MAX} printable characters.", param=param
        )


def _told(terms: KeyTerms) -> dict[str, str]:
    """The terms as the audit log tells them."""
    told = {
        "scopes": None if terms.scopes is None else " ".join(terms.scopes),
        "models": None if terms.models is None else " ".join(terms.models),
        "monthly_cap_nanos": terms.monthly_cap_nanos,
        "expires_at": terms.expires_at,
        "server_tags": " ".join(terms.server_tags) or None,
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def _no_key(key: str) -> NotFound:
    return NotFound(f"There is no key '{key}'.", param="key_id")
