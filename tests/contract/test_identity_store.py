"""The contract of `gateway.ports.IdentityStore`, over every store that keeps it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from contract.conftest import Store
from contract.samples import AT, ME, MINE, STRANGE_TEXT, THEIRS
from tokenyard.gateway.ports import IdentityStore
from tokenyard.storage.retention import SESSION_KEPT_SECONDS
from tokenyard.vocabulary.errors import InternalFailure
from tokenyard.vocabulary.identity import ApiKey, WebSession
from tokenyard.vocabulary.ids import KeyId, SessionId


@pytest.fixture
def identity(store: Store) -> IdentityStore:
    return store.identity


def key(name: str = "a", **changes: Any) -> ApiKey:
    made = ApiKey(
        id=KeyId(f"key_{name}"),
        name=STRANGE_TEXT,
        secret_hash=f"hash-{name}",
        hint="ty-Ab3…x9Qk",
        user=ME,
        project=MINE,
        created_at=AT,
    )
    return replace(made, **changes)


def session(name: str = "a", **changes: Any) -> WebSession:
    made = WebSession(
        id=SessionId(f"sess_{name}"),
        token_hash=f"hash-{name}",
        user=ME,
        project=MINE,
        created_at=AT,
        expires_at=AT + 60,
    )
    return replace(made, **changes)


async def test_a_key_is_found_by_the_hash_of_its_secret_alone(identity: IdentityStore) -> None:
    await identity.add_key(key("a"))
    await identity.add_key(key("b", revoked_at=AT + 1))
    assert await identity.find_key("hash-a") == key("a")
    assert await identity.find_key("hash-b") == key("b", revoked_at=AT + 1)
    for wrong in ("hash-c", "HASH-A", "hash-_", "hash-%", "", "key_a"):
        assert await identity.find_key(wrong) is None


async def test_keys_are_listed_oldest_first_and_by_project(identity: IdentityStore) -> None:
    for name, at in (("c", AT), ("a", AT + 1), ("b", AT)):
        await identity.add_key(key(name, created_at=at))
    await identity.add_key(key("t", project=THEIRS))
    assert [held.id for held in await identity.list_keys(MINE)] == ["key_b", "key_c", "key_a"]
    assert [held.id for held in await identity.list_keys(THEIRS)] == ["key_t"]


async def test_the_first_revocation_stays(identity: IdentityStore) -> None:
    await identity.add_key(key())
    assert not await identity.revoke_key(KeyId("key_a"), THEIRS, AT + 1)
    assert not await identity.revoke_key(KeyId("key_none"), MINE, AT + 1)
    assert await identity.find_key("hash-a") == key()
    assert await identity.revoke_key(KeyId("key_a"), MINE, AT + 2)
    assert await identity.revoke_key(KeyId("key_a"), MINE, AT + 3)
    assert await identity.find_key("hash-a") == key(revoked_at=AT + 2)
    assert await identity.list_keys(MINE) == [key(revoked_at=AT + 2)]


async def test_a_second_key_with_the_same_id_or_secret_is_refused(
    identity: IdentityStore,
) -> None:
    await identity.add_key(key())
    for twin in (key(secret_hash="other"), key(id=KeyId("key_other"))):
        with pytest.raises(InternalFailure):
            await identity.add_key(twin)
    assert await identity.list_keys(MINE) == [key()]


async def test_sessions_are_found_until_they_are_removed(identity: IdentityStore) -> None:
    await identity.add_session(session("a"))
    await identity.add_session(session("b", created_at=AT - 99, expires_at=AT - 9))
    assert await identity.find_session("hash-a") == session("a")
    assert await identity.find_session("hash-b") is not None
    assert await identity.find_session("sess_a") is None
    await identity.remove_session(SessionId("sess_a"))
    await identity.remove_session(SessionId("sess_a"))
    assert await identity.find_session("hash-a") is None
    assert await identity.find_session("hash-b") is not None


async def test_a_second_session_with_the_same_id_or_token_is_refused(
    identity: IdentityStore,
) -> None:
    await identity.add_session(session())
    for twin in (session(token_hash="other"), session(id=SessionId("sess_other"))):
        with pytest.raises(InternalFailure):
            await identity.add_session(twin)


async def test_sessions_that_ended_long_ago_are_forgotten(identity: IdentityStore) -> None:
    await identity.add_session(session("old"))
    just_kept = AT + 60 + SESSION_KEPT_SECONDS
    await identity.add_session(session("b", created_at=just_kept))
    assert await identity.find_session("hash-old") is not None
    await identity.add_session(session("c", created_at=just_kept + 1))
    assert await identity.find_session("hash-old") is None


async def test_of_many_who_take_a_link_one_does(identity: IdentityStore) -> None:
    await identity.add_sign_in_link("link", AT + 60)
    await identity.add_sign_in_link("other", AT + 60)
    taken = await asyncio.gather(*(identity.take_sign_in_link("link", AT) for _ in range(50)))
    assert taken.count(True) == 1
    assert not await identity.take_sign_in_link("link", AT)
    assert await identity.take_sign_in_link("other", AT)


async def test_a_link_ends_when_it_says(identity: IdentityStore) -> None:
    await identity.add_sign_in_link("a", AT)
    await identity.add_sign_in_link("b", AT)
    assert not await identity.take_sign_in_link("a", AT)
    # Time that runs backwards brings no used or expired link back.
    assert not await identity.take_sign_in_link("a", AT - 1)
    assert not await identity.take_sign_in_link("b", AT - 1)
    assert not await identity.take_sign_in_link("never", AT)


async def test_the_same_link_twice_is_refused(identity: IdentityStore) -> None:
    await identity.add_sign_in_link("a", AT)
    with pytest.raises(InternalFailure):
        await identity.add_sign_in_link("a", AT + 60)
