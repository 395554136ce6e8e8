"""API keys of a project: one's own for developers, everybody's for who may manage members."""

from collections.abc import Iterable, Sequence

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.keys import Keys, KeyTerms
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.gateway.people import People
from tokenyard.gateway.rules.permissions import may_hand_out
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.organisation import (
    ChangeKeyRequest,
    Deleted,
    KeyBody,
    KeyList,
    KeyOwner,
    KeyRequest,
    RotateKeyRequest,
)
from tokenyard.vocabulary.errors import Forbidden, NotFound
from tokenyard.vocabulary.identity import ApiKey, Permission, Principal, User, UserKind
from tokenyard.vocabulary.ids import KeyId, UserId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Keys"
_LIST = "/api/organisation/projects/{project_id}/api_keys"
_ONE = f"{_LIST}/{{key_id}}"


class KeyRoutes:
    """Handlers of the keys of a project."""

    def __init__(self, *, doorway: Doorway, keys: Keys, people: People) -> None:
        self._doorway = doorway
        self._keys = keys
        self._people = people

    def operations(self) -> list[Operation]:
        """What this module serves."""
        read, write = Permission.KEYS_READ, Permission.KEYS_WRITE
        return [
            Operation(
                "GET", _LIST, "listProjectKeys", "The project's keys that the caller may see.",
                self._list, _TAG, answer=KeyList, errors=(404,), permission=read,
            ),
            Operation(
                "POST", _LIST, "createProjectKey",
                "A new key; its secret is in this answer and nowhere else.",
                self._create, _TAG, KeyRequest, KeyBody, errors=(404, 409, 413), permission=write,
            ),
            Operation(
                "GET", _ONE, "getProjectKey", "One key.",
                self._get, _TAG, answer=KeyBody, errors=(404,), permission=read,
            ),
            Operation(
                "POST", _ONE, "updateProjectKey", "Change what a key is called and may.",
                self._update, _TAG, ChangeKeyRequest, KeyBody, errors=(404, 413),
                permission=write,
            ),
            Operation(
                "POST", f"{_ONE}/rotate", "rotateProjectKey",
                "A new secret for a key; the one before works on for the overlap.",
                self._rotate, _TAG, RotateKeyRequest, KeyBody, errors=(404, 413),
                permission=write,
            ),
            Operation(
                "DELETE", _ONE, "deleteProjectKey", "Revoke a key; it stays in the list.",
                self._revoke, _TAG, answer=Deleted, errors=(404,), permission=write,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        keys = [key for key in await self._keys.list(caller.project) if _may_see(caller, key.user)]
        owners = await self._owners(keys)
        return json_answer(KeyList(data=[render_key(key, owners.get(key.user)) for key in keys]))

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(KeyRequest, await self._doorway.body(request))
        _check_hand_out(caller, asked.scopes)
        owner = await self._owner(caller, asked.user_id)
        terms = KeyTerms(
            asked.name,
            asked.scopes,
            asked.models,
            asked.monthly_cap_nanos,
            asked.expires_at,
            asked.server_tags,
        )
        secret, key = await self._keys.create(caller, terms, owner=owner.id)
        return json_answer(render_key(key, owner, secret))

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return await self._answer(await self._find(caller, request))

    async def _update(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(ChangeKeyRequest, await self._doorway.body(request))
        key = await self._find(caller, request)
        told = {
            name: value
            for name, value in msgspec.structs.asdict(asked).items()
            if value is not msgspec.UNSET
        }
        held = {
            "name": key.name,
            "scopes": key.scopes,
            "models": key.models,
            "monthly_cap_nanos": key.monthly_cap_nanos,
            "expires_at": key.expires_at,
            "server_tags": key.server_tags,
        }
        terms = KeyTerms(**{**held, **told})
        _check_hand_out(caller, key.scopes)
        _check_hand_out(caller, terms.scopes)
        return await self._answer(await self._keys.edit(caller, key, terms))

    async def _rotate(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        asked = decode_request(RotateKeyRequest, body or b"{}")
        key = await self._find(caller, request)
        # The new secret is shown: it must not be that of somebody else.
        await self._owner(caller, key.user)
        _check_hand_out(caller, key.scopes)
        secret, rotated = await self._keys.rotate(caller, key.id, asked.overlap_seconds)
        return await self._answer(rotated, secret)

    async def _revoke(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        key = await self._find(caller, request)
        await self._keys.revoke(caller, key.id)
        return json_answer(Deleted(id=key.id, object="organization.project.api_key.deleted"))

    async def _find(self, caller: Principal, request: Request) -> ApiKey:
        wanted = KeyId(request.path_params["key_id"])
        key = await self._keys.get(wanted, caller.project)
        if not _may_see(caller, key.user):
            raise NotFound(f"There is no key '{wanted}'.", param="key_id")
        return key

    async def _owner(self, caller: Principal, user: str | None) -> User:
        """Whose key the caller may be given: its own, or that of a service account."""
        if user is None or user == caller.user:
            return await self._people.user(caller, caller.user)
        if not caller.may(Permission.MEMBERS_WRITE):
            raise Forbidden(
                "Keys for others need the permission 'members.write'.",
                reason=Reason.PERMISSION_DENIED,
            )
        member = await self._people.member(caller, UserId(user), kind=UserKind.SERVICE_ACCOUNT)
        return member.user

    async def _answer(self, key: ApiKey, secret: str | None = None) -> ASGIApp:
        return json_answer(render_key(key, (await self._owners([key])).get(key.user), secret))

    async def _owners(self, keys: Iterable[ApiKey]) -> dict[UserId, User]:
        found = {user: await self._people.store.find_user(user) for user in {k.user for k in keys}}
        return {user: held for user, held in found.items() if held is not None}


def render_key(key: ApiKey, owner: User | None, secret: str | None = None) -> KeyBody:
    """A key as the API tells of it."""
    service = owner is not None and owner.kind is UserKind.SERVICE_ACCOUNT
    return KeyBody(
        id=key.id,
        name=key.name,
        redacted_value=key.hint,
        owner=KeyOwner(
            id=key.user,
            name="" if owner is None else owner.name,
            type="service_account" if service else "user",
        ),
        created_at=int(key.created_at),
        last_used_at=_whole(key.last_used_at),
        expires_at=_whole(key.expires_at),
        revoked_at=_whole(key.revoked_at),
        previous_until=_whole(key.previous_until),
        scopes=None if key.scopes is None else list(key.scopes),
        models=None if key.models is None else list(key.models),
        monthly_cap_nanos=key.monthly_cap_nanos,
        server_tags=list(key.server_tags),
        value=secret,
    )


def _may_see(caller: Principal, owner: UserId) -> bool:
    return owner == caller.user or caller.may(Permission.MEMBERS_WRITE)


def _check_hand_out(caller: Principal, scopes: Sequence[str] | None) -> None:
    if not may_hand_out(caller, scopes):
        raise Forbidden(
            "A key can only make or change keys that may no more than it does.",
            reason=Reason.PERMISSION_DENIED,
        )


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)
