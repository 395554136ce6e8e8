"""The contracts of the gateway's directory, invitation and audit stores, over every adapter."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from contract.conftest import Store
from contract.samples import AT, STRANGE_TEXT
from contract.test_identity_store import entry, key, session
from tokenyard.vocabulary.audit import AuditFilter, find_break
from tokenyard.vocabulary.errors import Conflict, InvalidRequest
from tokenyard.vocabulary.identity import (
    DEFAULT_ORGANISATION,
    DEFAULT_PROJECT,
    DEFAULT_USER,
    Invitation,
    Member,
    Organisation,
    Project,
    Role,
    Standing,
    User,
    UserKind,
)
from tokenyard.vocabulary.ids import InvitationId, OrganisationId, ProjectId, UserId

# Later than what the first migration makes, in every store.
LATER = AT + 10_000_000
EVERY = AuditFilter()


def person(name: str, **changes: Any) -> User:
    made = User(
        id=UserId(f"user_{name}"),
        organisation=DEFAULT_ORGANISATION,
        kind=UserKind.PERSON,
        name=STRANGE_TEXT,
        role=Role.DEVELOPER,
        created_at=LATER,
        email=f"{name}@example.com",
    )
    return replace(made, **changes)


def invitation(name: str = "a", **changes: Any) -> Invitation:
    made = Invitation(
        id=InvitationId(f"inv_{name}"),
        organisation=DEFAULT_ORGANISATION,
        token_hash=f"hash-{name}",
        email=f"{name}@example.com",
        role=Role.ADMIN,
        invited_by=DEFAULT_USER,
        created_at=AT,
        expires_at=AT + 60,
        project=DEFAULT_PROJECT,
        project_role=Role.VIEWER,
    )
    return replace(made, **changes)


async def add(store: Store, user: User, role: Role | None = None) -> None:
    await store.directory.add_user(user, entry(), member_of=DEFAULT_PROJECT, as_role=role)


async def test_organisations_and_projects(store: Store) -> None:
    directory = store.directory
    other = Organisation(OrganisationId("org_b"), "B", LATER)
    await directory.add_organisation(other, entry(organisation="org_b"))
    assert await directory.find_organisation(other.id) == other
    listed = await directory.list_organisations(limit=9, after=DEFAULT_ORGANISATION)
    assert listed == [other]
    assert await directory.rename_organisation(other.id, "C", entry())
    assert not await directory.rename_organisation(OrganisationId("org_no"), "C", entry())
    found = await directory.find_organisation(other.id)
    assert found is not None
    assert found.name == "C"
    made = [Project(ProjectId(f"proj_{n}"), other.id, "P", LATER + n) for n in range(3)]
    for project in made:
        await directory.add_project(project, entry())
    page = await directory.list_projects(other.id, archived=False, limit=2, after=None)
    assert page == made[:2]
    rest = await directory.list_projects(other.id, archived=False, limit=2, after=page[-1].id)
    assert rest == made[2:]
    assert await directory.archive_project(made[0].id, LATER + 9, entry())
    assert not await directory.archive_project(made[0].id, LATER + 9, entry())
    assert await directory.rename_project(made[1].id, STRANGE_TEXT, entry())
    left = await directory.list_projects(other.id, archived=False, limit=9, after=None)
    assert [one.name for one in left] == [STRANGE_TEXT, "P"]
    assert len(await directory.list_projects(other.id, archived=True, limit=9, after=None)) == 3
    with pytest.raises(InvalidRequest):
        await directory.list_projects(other.id, archived=False, limit=9, after=DEFAULT_PROJECT)


async def test_users_are_found_by_id_and_address(store: Store) -> None:
    await add(store, person("a"))
    await add(store, person("b", created_at=LATER + 1, role=Role.VIEWER))
    robot = person("r", kind=UserKind.SERVICE_ACCOUNT, email=None, project=DEFAULT_PROJECT)
    await add(store, robot, Role.DEVELOPER)
    assert await store.directory.find_user(UserId("user_a")) == person("a")
    assert await store.directory.find_user_by_email("a@example.com") == person("a")
    assert await store.directory.find_user_by_email("A@example.com") is None
    listed = await store.directory.list_users(DEFAULT_ORGANISATION, limit=9, after=None)
    assert [one.id for one in listed] == [DEFAULT_USER, "user_a", "user_b"]
    before = await store.identity.revision()
    with pytest.raises(Conflict):
        await add(store, person("c", email="a@example.com"))
    assert await store.identity.revision() == before


async def test_a_removed_user_keeps_nothing(store: Store) -> None:
    await add(store, person("a"), Role.ADMIN)
    user = UserId("user_a")
    await store.identity.add_key(key(user=user, project=DEFAULT_PROJECT), entry())
    await store.identity.add_session(session(user=user), entry())
    await store.directory.link_identity("https://issuer", "subject", user, entry())
    assert await store.directory.find_identity("https://issuer", "subject") == user
    assert await store.identity.find_standing(user, DEFAULT_PROJECT) == Standing(
        DEFAULT_ORGANISATION, Role.DEVELOPER, Role.ADMIN
    )
    assert await store.directory.remove_user(user, LATER + 5, entry())
    assert not await store.directory.remove_user(user, LATER + 6, entry())
    held = await store.identity.find_key("hash-a")
    assert held is not None
    assert held.revoked_at == LATER + 5
    assert await store.identity.find_session("hash-a") is None
    assert await store.directory.find_identity("https://issuer", "subject") is None
    assert await store.identity.find_standing(user, DEFAULT_PROJECT) is None
    assert await store.directory.find_user_by_email("a@example.com") is None
    await add(store, person("again", email="a@example.com"))


async def test_of_two_owners_who_leave_at_once_one_stays(store: Store) -> None:
    await add(store, person("a", role=Role.OWNER))
    gone = await asyncio.gather(
        *(
            store.directory.remove_user(UserId(user), LATER, entry())
            for user in (DEFAULT_USER, "user_a")
        ),
        return_exceptions=True,
    )
    assert [type(one) for one in gone if one is not True] == [Conflict]
    left = await store.directory.list_users(DEFAULT_ORGANISATION, limit=9, after=None)
    assert [one.role for one in left] == [Role.OWNER]
    with pytest.raises(Conflict):
        await store.directory.change_user(
            left[0].id, name="x", role=Role.ADMIN, operator=False, entry=entry()
        )


async def test_a_profile_takes_no_address_of_anothers(store: Store) -> None:
    for name in "ab":
        await add(store, person(name))
    set_profile, user = store.directory.set_profile, UserId("user_a")
    assert await set_profile(user, name="A", email="a@example.com", entry=entry())
    assert await set_profile(user, name="A", email="new@example.com", entry=entry())
    wanted = replace(person("a"), name="A", email="new@example.com")
    assert await store.directory.find_user(user) == wanted
    with pytest.raises(Conflict):
        await set_profile(user, name="A", email="b@example.com", entry=entry())
    assert not await set_profile(UserId("user_no"), name="A", email=None, entry=entry())


async def test_a_new_password_ends_all_sessions(store: Store) -> None:
    await add(store, person("a"))
    user = UserId("user_a")
    await store.identity.add_session(session(user=user), entry())
    assert await store.directory.set_password(user, "$argon2id$…", entry())
    assert not await store.directory.set_password(UserId("user_no"), "x", entry())
    assert await store.directory.find_user(user) == person("a", password_hash="$argon2id$…")
    assert await store.identity.find_session("hash-a") is None


async def test_members_come_and_go(store: Store) -> None:
    await add(store, person("a"))
    robot = person("r", kind=UserKind.SERVICE_ACCOUNT, email=None)
    await add(store, robot, Role.DEVELOPER)
    user, at = UserId("user_a"), entry().at
    for role in (Role.VIEWER, Role.ADMIN):
        await store.directory.set_member(DEFAULT_PROJECT, user, role, entry())
    member = Member(person("a"), Role.ADMIN, at)
    assert await store.directory.find_member(DEFAULT_PROJECT, user) == member
    people = await store.directory.list_members(
        DEFAULT_PROJECT, service_accounts=False, limit=9, after=None
    )
    assert people == [member]
    robots = await store.directory.list_members(
        DEFAULT_PROJECT, service_accounts=True, limit=9, after=None
    )
    assert [one.user for one in robots] == [robot]
    ((project, role),) = await store.directory.list_memberships(user)
    assert (project.id, role) == (DEFAULT_PROJECT, Role.ADMIN)
    assert await store.directory.remove_member(DEFAULT_PROJECT, user, entry())
    assert not await store.directory.remove_member(DEFAULT_PROJECT, user, entry())
    assert await store.directory.list_memberships(user) == []


async def test_of_many_who_accept_an_invitation_one_does(store: Store) -> None:
    await store.invitations.add_invitation(invitation(), entry())
    assert await store.invitations.find_invitation("hash-a") == invitation()
    accepted = await asyncio.gather(
        *(
            store.invitations.accept_invitation(
                invitation(), person(str(n), email="a@example.com"), AT + n, entry()
            )
            for n in range(20)
        )
    )
    assert accepted.count(True) == 1
    user = await store.directory.find_user_by_email("a@example.com")
    assert user is not None
    member = await store.directory.find_member(DEFAULT_PROJECT, user.id)
    assert member is not None
    assert member.role is Role.VIEWER


async def test_an_invitation_that_is_over_makes_nobody(store: Store) -> None:
    for name in "ab":
        await store.invitations.add_invitation(invitation(name), entry())
    invitations = store.invitations
    other = OrganisationId("org_other")
    assert not await invitations.revoke_invitation(InvitationId("inv_a"), other, AT, entry())
    assert await invitations.revoke_invitation(
        InvitationId("inv_a"), DEFAULT_ORGANISATION, AT + 1, entry()
    )
    assert not await invitations.accept_invitation(invitation("a"), person("a"), AT + 2, entry())
    assert not await invitations.accept_invitation(invitation("b"), person("b"), AT + 60, entry())
    assert await store.directory.find_user(UserId("user_a")) is None
    listed = await invitations.list_invitations(DEFAULT_ORGANISATION, limit=9, after=None)
    assert [one.revoked_at for one in listed] == [AT + 1, None]
    # The address was given to somebody in the meantime: the invitation stays open.
    await add(store, person("b"))
    with pytest.raises(Conflict):
        await invitations.accept_invitation(
            invitation("b"), person("c", email="b@example.com"), AT + 2, entry()
        )
    listed = await invitations.list_invitations(DEFAULT_ORGANISATION, limit=9, after=None)
    assert listed[1].accepted_at is None


async def test_the_chain_of_entries_has_no_gap_and_shows_a_change(store: Store) -> None:
    await asyncio.gather(
        *(store.identity.add_key(key(str(n)), entry(f"test.{n}")) for n in range(30)),
        *(store.identity.add_session(session(str(n)), entry("s", "org_b")) for n in range(5)),
    )
    mine = await store.audit.list_entries(DEFAULT_ORGANISATION, EVERY, limit=99, after=0)
    assert [one.number for one in mine] == list(range(1, 31))
    assert find_break(mine) is None
    assert {one.entry.action for one in mine} == {f"test.{n}" for n in range(30)}
    theirs = await store.audit.list_entries(OrganisationId("org_b"), EVERY, limit=99, after=0)
    assert (len(theirs), find_break(theirs)) == (5, None)
    changed = [*mine]
    changed[7] = replace(mine[7], entry=replace(mine[7].entry, object="key_other"))
    assert find_break(changed) == 8
    assert find_break([*mine[:4], *mine[5:]]) == 5
    assert find_break(mine[10:], mine[9].hash, 10) is None


async def test_entries_are_paged_and_chosen(store: Store) -> None:
    for number in range(5):
        made = replace(entry(f"test.{number % 2}"), at=AT + number, user=UserId(f"u{number}"))
        await store.identity.add_key(key(str(number)), made)

    async def numbers(wanted: AuditFilter = EVERY, **page: Any) -> list[int]:
        found = await store.audit.list_entries(DEFAULT_ORGANISATION, wanted, **{"limit": 9, **page})
        return [one.number for one in found]

    assert await numbers(limit=2) == [5, 4]
    assert await numbers(limit=2, before=4) == [3, 2]
    assert await numbers(after=3) == [4, 5]
    assert await numbers(AuditFilter(action="test.1")) == [4, 2]
    assert await numbers(AuditFilter(user=UserId("u0"))) == [1]
    assert await numbers(AuditFilter(since=AT + 1, until=AT + 3)) == [3, 2]
    assert await numbers(AuditFilter(object="nothing")) == []
    (newest,) = await store.audit.list_entries(DEFAULT_ORGANISATION, EVERY, limit=1)
    assert newest.entry == replace(entry("test.0"), at=AT + 4, user=UserId("u4"))
