"""What a key may, for how long, and what becomes of it when it is rotated."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from support.asgi import Answer, AsgiClient
from support.batches import create, jsonl, line, read, until
from support.tenants import CHEAP, ROOT, Person, join, sign_in_owner
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.identity import Identity, credentials_of
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.runtime.settings import Settings
from tokenyard.vocabulary.errors import Unauthenticated, Unavailable
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

KEYS = f"{ROOT}/projects/{DEFAULT_PROJECT}/api_keys"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
PRICES = (PriceSettings(model="*", input="1", cached_input="1", output="1"),)


@pytest.fixture
async def yard() -> AsyncIterator[FakeYard]:
    settings = Settings(identity=CHEAP, ledger=LedgerSettings(prices=PRICES))
    async with open_fake_yard(settings) as built:
        yield built


@pytest.fixture
async def owner(yard: FakeYard) -> Person:
    return await sign_in_owner(yard)


async def use(
    yard: FakeYard, secret: str, method: str = "GET", target: str = "/v1/models", body: Any = None
) -> Answer:
    headers = {"authorization": f"Bearer {secret}"}
    return await yard.stranger.call(method, target, json_body=body, headers=headers)


async def make(person: Person, **terms: Any) -> Any:
    answer = await person.call("POST", KEYS, {"name": "k", **terms})
    assert answer.status == 200, answer.body
    return answer.json()


async def test_a_key_may_what_its_scopes_say(yard: FakeYard, owner: Person) -> None:
    secret = (await make(owner, scopes=["models.read"]))["value"]
    assert (await use(yard, secret)).status == 200
    denied = await use(yard, secret, "POST", "/v1/chat/completions", ASK)
    assert (denied.status, denied.error["code"]) == (403, "permission_denied")
    assert "inference" in denied.error["message"]
    wrong = await owner.call("POST", KEYS, {"name": "k", "scopes": ["everything"]})
    assert (wrong.status, wrong.error["param"]) == (400, "scopes")


async def test_a_key_without_scopes_does_the_work_and_manages_nothing(
    yard: FakeYard, owner: Person
) -> None:
    secret = (await make(owner))["value"]
    assert (await use(yard, secret, "POST", "/v1/chat/completions", ASK)).status == 200
    for method, target in (
        ("GET", KEYS),
        ("GET", f"{ROOT}/users"),
        ("GET", f"{ROOT}/audit_logs"),
        ("POST", "/api/cluster/nodes/n0"),
    ):
        assert (await use(yard, secret, method, target)).status == 403, target


async def test_a_key_may_use_the_models_it_names(yard: FakeYard, owner: Person) -> None:
    secret = (await make(owner, models=["another"]))["value"]
    assert (await use(yard, secret)).json()["data"] == []
    for target, body in (
        ("/v1/chat/completions", ASK),
        ("/v1/completions", {"model": MODEL, "prompt": "Hi"}),
        ("/v1/responses", {"model": MODEL, "input": "Hi"}),
    ):
        denied = await use(yard, secret, "POST", target, body)
        assert (denied.status, denied.error["code"]) == (403, "model_not_allowed"), target
    assert not yard.upstream.calls
    allowed = (await make(owner, models=[MODEL]))["value"]
    assert (await use(yard, allowed, "POST", "/v1/chat/completions", ASK)).status == 200


async def test_a_batch_is_held_to_what_its_key_is_held_to(yard: FakeYard, owner: Person) -> None:
    secret = (await make(owner, models=["another"]))["value"]
    client = AsgiClient(yard.gateway.app, {"authorization": f"Bearer {secret}"})
    batch = await create(replace(yard, client=client), jsonl([line(1)]))
    ended = await until(yard, batch)
    assert ended["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    (failed,) = await read(yard, ended["error_file_id"])
    assert failed["response"]["body"]["error"]["code"] == "model_not_allowed"
    assert not yard.upstream.calls


async def test_a_key_spends_no_more_than_its_cap(yard: FakeYard, owner: Person) -> None:
    secret = (await make(owner, monthly_cap_nanos=1_000_000))["value"]
    body = {**ASK, "max_tokens": 10}
    assert (await use(yard, secret, "POST", "/v1/chat/completions", body)).status == 200
    body = {**ASK, "max_tokens": 5000}
    denied = await use(yard, secret, "POST", "/v1/chat/completions", body)
    assert (denied.status, denied.error["code"]) == (429, "insufficient_quota")


async def test_a_key_ends_when_it_says(yard: FakeYard, owner: Person) -> None:
    key = await make(owner, expires_at=int(yard.clock.now()) + 5)
    assert (await use(yard, key["value"])).status == 200
    await yard.clock.advance(5)
    ended = await use(yard, key["value"])
    assert (ended.status, ended.error["code"]) == (401, "expired_api_key")
    past = await owner.call("POST", KEYS, {"name": "k", "expires_at": 1})
    assert (past.status, past.error["param"]) == (400, "expires_at")


async def test_both_secrets_work_during_the_overlap_only(yard: FakeYard, owner: Person) -> None:
    key = await make(owner)
    target = f"{KEYS}/{key['id']}/rotate"
    rotated = (await owner.call("POST", target, {"overlap_seconds": 10})).json()
    assert (rotated["id"], rotated["name"]) == (key["id"], key["name"])
    assert rotated["value"] != key["value"]
    for secret in (key["value"], rotated["value"]):
        assert (await use(yard, secret)).status == 200
    await yard.clock.advance(10)
    old = await use(yard, key["value"])
    assert (old.status, old.error["code"]) == (401, "revoked_api_key")
    assert (await use(yard, rotated["value"])).status == 200
    at_once = (await owner.call("POST", target, {"overlap_seconds": 0})).json()
    assert (await use(yard, rotated["value"])).status == 401
    assert (await use(yard, at_once["value"])).status == 200


async def test_what_is_left_out_of_a_change_stays(yard: FakeYard, owner: Person) -> None:
    key = await make(owner, scopes=["models.read"], models=[MODEL], monthly_cap_nanos=5)
    changed = (await owner.call("POST", f"{KEYS}/{key['id']}", {"models": None})).json()
    assert (changed["models"], changed["scopes"]) == (None, ["models.read"])
    assert (changed["monthly_cap_nanos"], changed["value"]) == (5, None)
    assert changed["redacted_value"] == key["redacted_value"]


async def test_revoked_keys_stay_in_the_list(yard: FakeYard, owner: Person) -> None:
    key = await make(owner)
    assert (await owner.call("DELETE", f"{KEYS}/{key['id']}")).json()["deleted"]
    assert (await use(yard, key["value"])).error["code"] == "revoked_api_key"
    listed = (await owner.call("GET", KEYS)).json()["data"]
    assert next(one for one in listed if one["id"] == key["id"])["revoked_at"] is not None
    assert (await owner.call("POST", f"{KEYS}/{key['id']}/rotate")).status == 404


async def test_developers_see_their_own_keys_and_admins_all(yard: FakeYard, owner: Person) -> None:
    there = [{"id": DEFAULT_PROJECT, "role": "developer"}]
    dev = await join(yard, owner, "dev", projects=there)
    mine, theirs = await make(dev), await make(owner)
    seen = {one["id"] for one in (await dev.call("GET", KEYS)).json()["data"]}
    assert seen == {mine["id"]}
    for method, target in (
        ("GET", f"{KEYS}/{theirs['id']}"),
        ("POST", f"{KEYS}/{theirs['id']}/rotate"),
        ("DELETE", f"{KEYS}/{theirs['id']}"),
    ):
        assert (await dev.call(method, target)).status == 404
    assert (await owner.call("GET", f"{KEYS}/{mine['id']}")).status == 200
    # To rotate would show the secret: not even an admin gets to act as somebody else.
    assert (await owner.call("POST", f"{KEYS}/{mine['id']}/rotate")).status == 404
    assert (await owner.call("DELETE", f"{KEYS}/{mine['id']}")).status == 200
    other = await dev.call("POST", KEYS, {"name": "k", "user_id": owner.id})
    assert (other.status, other.error["code"]) == (403, "permission_denied")


async def test_a_key_passes_on_no_more_than_it_has(yard: FakeYard, owner: Person) -> None:
    secret = (await make(owner, scopes=["keys.write", "keys.read", "models.read"]))["value"]
    wanted: list[tuple[dict[str, Any], int]] = [
        ({"scopes": ["models.read"]}, 200),
        ({"scopes": ["inference"]}, 403),
        ({"scopes": ["*"]}, 403),
        ({}, 403),
    ]
    for terms, status in wanted:
        answer = await use(yard, secret, "POST", KEYS, {"name": "k", **terms})
        assert answer.status == status, terms
    stronger = await make(owner, scopes=["*"])
    for target, change in (
        (f"{KEYS}/{stronger['id']}/rotate", None),
        (f"{KEYS}/{stronger['id']}", {"name": "mine"}),
    ):
        assert (await use(yard, secret, "POST", target, change)).status == 403
    capped = (await make(owner, scopes=["keys.write"], monthly_cap_nanos=5))["value"]
    same = {"name": "k", "scopes": ["keys.write"]}
    assert (await use(yard, capped, "POST", KEYS, same)).status == 403
    # Nor does a key open the account of its owner.
    for target, asked in (
        ("/api/session/password", {"new": "another long passphrase"}),
        ("/api/session/project", {"project": DEFAULT_PROJECT}),
    ):
        everything = (await make(owner, scopes=["*"]))["value"]
        assert (await use(yard, everything, "POST", target, asked)).status == 403


async def test_last_use_is_written_now_and_then(yard: FakeYard, owner: Person) -> None:
    key = await make(owner)
    await use(yard, key["value"])
    target = f"{KEYS}/{key['id']}"
    assert (await owner.call("GET", target)).json()["last_used_at"] is None
    await yard.identity.write_last_used()
    assert (await owner.call("GET", target)).json()["last_used_at"] == int(yard.clock.now())


async def test_what_is_known_is_asked_for_once_a_while(
    yard: FakeYard, owner: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request waits for the store but the first of each interval, for one number."""
    secret = (await make(owner))["value"]
    await use(yard, secret)
    asked: list[str] = []
    for name in ("revision", "find_key", "find_standing", "find_session"):
        kept = getattr(yard.store.identity, name)

        async def note(*given: Any, name: str = name, kept: Any = kept) -> Any:
            asked.append(name)
            return await kept(*given)

        monkeypatch.setattr(yard.store.identity, name, note)
    for _ in range(20):
        await use(yard, secret)
    assert asked == []
    await yard.clock.advance(0.5)
    for _ in range(20):
        await use(yard, secret)
    assert asked == ["revision"]


async def test_who_cannot_be_asked_for_is_not_let_in(
    yard: FakeYard, owner: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (await make(owner))["value"]
    assert (await use(yard, secret)).status == 200

    async def away() -> int:
        raise Unavailable("The database cannot be used now.")

    monkeypatch.setattr(yard.store.identity, "revision", away)
    assert (await use(yard, secret)).status == 200
    await yard.clock.advance(0.5)
    assert (await use(yard, secret)).status == 503


async def test_a_revocation_counts_on_every_gateway(yard: FakeYard, owner: Person) -> None:
    """Another process over the same store, which hears of nothing."""
    other = Identity(yard.store.identity, CHEAP, clock=yard.clock, randomness=SeededRandomness(2))
    key = await make(owner)
    headers = {"authorization": f"Bearer {key['value']}"}
    credentials = credentials_of("GET", headers, {})
    assert (await other.authenticate(credentials)).key == key["id"]
    await owner.call("DELETE", f"{KEYS}/{key['id']}")
    await yard.clock.advance(CHEAP.revision_seconds)
    with pytest.raises(Unauthenticated):
        await other.authenticate(credentials)


async def test_a_project_has_so_many_keys() -> None:
    few = msgspec.structs.replace(CHEAP, keys_max=3)
    async with open_fake_yard(Settings(identity=few)) as yard:
        owner = await sign_in_owner(yard)
        first, _ = await make(owner), await make(owner)
        denied = await owner.call("POST", KEYS, {"name": "k"})
        assert (denied.status, denied.error["code"]) == (409, "keys_limit")
        await owner.call("DELETE", f"{KEYS}/{first['id']}")
        await make(owner)
