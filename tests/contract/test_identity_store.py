"""The contract of `gateway.ports.IdentityStore`, over every store that keeps it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from contract.conftest import Store
from contract.samples import AT, ME, MINE, STRANGE_TEXT, THEIRS, YOU
from tokenyard.gateway.ports import IdentityStore
from tokenyard.storage.retention import SESSION_KEPT_SECONDS
from tokenyard.vocabulary.audit import AuditEntry
from tokenyard.vocabulary.errors import InternalFailure
from tokenyard.vocabulary.identity import (
    DEFAULT_ORGANISATION,
    DEFAULT_PROJECT,
    DEFAULT_USER,
    ApiKey,
    Role,
    Standing,
    WebSession,
)
from tokenyard.vocabulary.ids import KeyId, OrganisationId, SessionId


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


def entry(what: str = "test.done", organisation: str = "org_default") -> AuditEntry:
    return AuditEntry(
        organisation=OrganisationId(organisation),
        at=AT,
        action=what,
        user=ME,
        key=None,
        project=MINE,
        object="key_a",
        details={"b": STRANGE_TEXT, "a": "1"},
    )


async def test_a_key_is_found_by_the_hash_of_its_secret_alone(identity: IdentityStore) -> None:
    await identity.add_key(key("a"), entry())
    await identity.add_key(key("b", revoked_at=AT + 1), entry())
    assert await identity.find_key("hash-a") == key("a")
    assert await identity.find_key("hash-b") == key("b", revoked_at=AT + 1)
    for wrong in ("hash-c", "HASH-A", "hash-_", "hash-%", "", "key_a"):
        assert await identity.find_key(wrong) is None


async def test_keys_are_listed_oldest_first_and_by_project(identity: IdentityStore) -> None:
    for name, at in (("c", AT), ("a", AT + 1), ("b", AT)):
        await identity.add_key(key(name, created_at=at), entry())
    await identity.add_key(key("t", project=THEIRS), entry())
    assert [held.id for held in await identity.list_keys(MINE)] == ["key_b", "key_c", "key_a"]
    assert [held.id for held in await identity.list_keys(THEIRS)] == ["key_t"]


async def test_the_first_revocation_stays(identity: IdentityStore) -> None:
    await identity.add_key(key(), entry())
    assert not await identity.revoke_key(KeyId("key_a"), THEIRS, AT + 1, entry())
    assert not await identity.revoke_key(KeyId("key_none"), MINE, AT + 1, entry())
    assert await identity.find_key("hash-a") == key()
    assert await identity.revoke_key(KeyId("key_a"), MINE, AT + 2, entry())
    assert await identity.revoke_key(KeyId("key_a"), MINE, AT + 3, entry())
    assert await identity.find_key("hash-a") == key(revoked_at=AT + 2)
    assert await identity.list_keys(MINE) == [key(revoked_at=AT + 2)]


async def test_a_second_key_with_the_same_id_or_secret_is_refused(
    identity: IdentityStore,
) -> None:
    await identity.add_key(key(), entry())
    for twin in (key(secret_hash="other"), key(id=KeyId("key_other"))):
        with pytest.raises(InternalFailure):
            await identity.add_key(twin, entry())
    assert await identity.list_keys(MINE) == [key()]


async def test_sessions_are_found_until_they_are_removed(identity: IdentityStore) -> None:
    await identity.add_session(session("a"), entry())
    await identity.add_session(session("b", created_at=AT - 99, expires_at=AT - 9), entry())
    assert await identity.find_session("hash-a") == session("a")
    assert await identity.find_session("hash-b") is not None
    assert await identity.find_session("sess_a") is None
    await identity.remove_session(SessionId("sess_a"), ME, entry())
    await identity.remove_session(SessionId("sess_a"), ME, entry())
    assert await identity.find_session("hash-a") is None
    assert await identity.find_session("hash-b") is not None


async def test_a_second_session_with_the_same_id_or_token_is_refused(
    identity: IdentityStore,
) -> None:
    await identity.add_session(session(), entry())
    for twin in (session(token_hash="other"), session(id=SessionId("sess_other"))):
        with pytest.raises(InternalFailure):
            await identity.add_session(twin, entry())


async def test_sessions_that_ended_long_ago_are_forgotten(identity: IdentityStore) -> None:
    await identity.add_session(session("old"), entry())
    just_kept = AT + 60 + SESSION_KEPT_SECONDS
    await identity.add_session(session("b", created_at=just_kept), entry())
    assert await identity.find_session("hash-old") is not None
    await identity.add_session(session("c", created_at=just_kept + 1), entry())
    assert await identity.find_session("hash-old") is None


async def test_of_many_who_take_a_link_one_does(identity: IdentityStore) -> None:
    await identity.add_sign_in_link("link", ME, AT + 60)
    await identity.add_sign_in_link("other", ME, AT + 60)
    taken = await asyncio.gather(*(identity.take_sign_in_link("link", AT) for _ in range(50)))
    assert taken.count(ME) == 1
    assert not await identity.take_sign_in_link("link", AT)
    assert await identity.take_sign_in_link("other", AT)


async def test_a_link_ends_when_it_says(identity: IdentityStore) -> None:
    await identity.add_sign_in_link("a", ME, AT)
    await identity.add_sign_in_link("b", ME, AT)
    assert not await identity.take_sign_in_link("a", AT)
    # Time that runs backwards brings no used or expired link back.
    assert not await identity.take_sign_in_link("a", AT - 1)
    assert not await identity.take_sign_in_link("b", AT - 1)
    assert not await identity.take_sign_in_link("never", AT)


async def test_the_same_link_twice_is_refused(identity: IdentityStore) -> None:
    await identity.add_sign_in_link("a", ME, AT)
    with pytest.raises(InternalFailure):
        await identity.add_sign_in_link("a", ME, AT + 60)


async def test_a_rotated_key_is_found_by_both_its_secrets(identity: IdentityStore) -> None:
    await identity.add_key(key(), entry())
    for place, secret in enumerate(("second", "third")):
        assert await identity.rotate_key(
            KeyId("key_a"),
            MINE,
            secret_hash=secret,
            hint="ty-new",
            previous_until=AT + place,
            entry=entry(),
        )
    found = await identity.find_key("third")
    assert found == key(
        secret_hash="third", hint="ty-new", previous_hash="second", previous_until=AT + 1
    )
    assert await identity.find_key("second") == found
    # Only one secret before the newest is kept.
    assert await identity.find_key("hash-a") is None
    assert await identity.get_key(KeyId("key_a"), MINE) == found
    assert await identity.get_key(KeyId("key_a"), THEIRS) is None


async def test_a_key_is_edited_until_it_is_revoked(identity: IdentityStore) -> None:
    await identity.add_key(key(), entry())
    wanted = replace(
        key(),
        name="new",
        scopes=("inference",),
        models=(),
        monthly_cap_nanos=2**60,
        expires_at=AT + 9,
        server_tags=("eu", "gold"),
    )
    assert await identity.edit_key(wanted, entry())
    assert await identity.get_key(KeyId("key_a"), MINE) == wanted
    assert not await identity.edit_key(key(project=THEIRS), entry())
    assert await identity.revoke_key(KeyId("key_a"), MINE, AT, entry())
    assert not await identity.edit_key(key(), entry())
    assert not await identity.rotate_key(
        KeyId("key_a"), MINE, secret_hash="x", hint="x", previous_until=AT, entry=entry()
    )
    await identity.note_used({KeyId("key_a"): AT + 3, KeyId("key_gone"): AT}, {})
    held = await identity.get_key(KeyId("key_a"), MINE)
    assert held is not None
    assert (held.last_used_at, held.revoked_at, held.scopes) == (AT + 3, AT, ("inference",))


async def test_sessions_of_a_user_are_listed_and_changed(identity: IdentityStore) -> None:
    await identity.add_session(session("a"), entry())
    await identity.add_session(session("b", created_at=AT + 1, agent="Netscape"), entry())
    await identity.add_session(session("c", user=YOU), entry())
    assert [held.id for held in await identity.list_sessions(ME)] == ["sess_b", "sess_a"]
    await identity.choose_project(SessionId("sess_a"), THEIRS, entry())
    await identity.note_used({}, {SessionId("sess_a"): AT + 2})
    assert await identity.find_session("hash-a") == session(project=THEIRS, last_used_at=AT + 2)
    assert not await identity.remove_session(SessionId("sess_a"), YOU, entry())
    assert await identity.find_session("hash-a") is not None


async def test_the_first_owner_stands_in_the_first_project_only(identity: IdentityStore) -> None:
    assert await identity.find_standing(DEFAULT_USER, DEFAULT_PROJECT) == Standing(
        DEFAULT_ORGANISATION, Role.OWNER, None, operator=True
    )
    assert await identity.find_standing(DEFAULT_USER, MINE) is None
    assert await identity.find_standing(ME, DEFAULT_PROJECT) is None


async def test_every_change_raises_the_revision_and_what_failed_does_not(
    identity: IdentityStore,
) -> None:
    seen = [await identity.revision()]
    await identity.add_key(key(), entry())
    seen.append(await identity.revision())
    await identity.add_session(session(), entry(organisation="org_other"))
    seen.append(await identity.revision())
    await identity.revoke_key(KeyId("key_a"), MINE, AT, entry())
    seen.append(await identity.revision())
    assert seen == sorted(set(seen))
    await identity.revoke_key(KeyId("key_none"), MINE, AT, entry())
    await identity.remove_session(SessionId("sess_none"), ME, entry())
    with pytest.raises(InternalFailure):
        await identity.add_key(key(), entry())
    assert await identity.revision() == seen[-1]
