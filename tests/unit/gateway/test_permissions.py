"""The permission table, and that the door keeps it for every operation."""

import itertools

import pytest

from support.yards import FakeYard
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.gateway.rules.permissions import (
    TABLE,
    USUAL_SCOPES,
    Level,
    cut,
    grant,
    outranks,
    role_in_project,
)
from tokenyard.vocabulary.identity import (
    DEFAULT_ORGANISATION,
    DEFAULT_PROJECT,
    EVERYTHING,
    Permission,
    Role,
    Standing,
)


def standing(
    organisation: Role, project: Role | None = None, *, operator: bool = False
) -> Standing:
    return Standing(DEFAULT_ORGANISATION, organisation, project, operator)


def test_every_permission_is_in_the_table_once() -> None:
    assert set(TABLE) == set(Permission)


def test_a_higher_role_has_all_that_a_lower_one_has() -> None:
    for lower, higher in itertools.pairwise([Role.VIEWER, Role.DEVELOPER, Role.ADMIN, Role.OWNER]):
        assert grant(standing(lower, lower)) <= grant(standing(higher, higher))


@pytest.mark.parametrize(
    ("who", "role"),
    [
        (standing(Role.OWNER), Role.OWNER),
        (standing(Role.ADMIN, Role.VIEWER), Role.ADMIN),
        (standing(Role.DEVELOPER, Role.VIEWER), Role.VIEWER),
        (standing(Role.VIEWER, Role.ADMIN), Role.ADMIN),
        (standing(Role.DEVELOPER), None),
    ],
)
def test_the_role_that_counts_in_a_project(who: Standing, role: Role | None) -> None:
    assert role_in_project(who) is role
    assert bool(grant(who)) is (role is not None)


def test_the_admin_of_a_project_is_nobody_in_the_organisation() -> None:
    granted = grant(standing(Role.VIEWER, Role.ADMIN))
    assert Permission.MEMBERS_WRITE in granted
    assert not any(
        TABLE[one].level is Level.ORGANISATION and one is not Permission.ORGANISATION_READ
        for one in granted
    )


def test_only_operators_run_the_installation() -> None:
    for role in Role:
        assert Permission.CLUSTER_MANAGE not in grant(standing(role, role))
        assert Permission.CLUSTER_MANAGE in grant(standing(role, role, operator=True))


def test_scopes_only_take_away() -> None:
    owner = grant(standing(Role.OWNER, operator=True))
    viewer = grant(standing(Role.VIEWER, Role.VIEWER))
    assert cut(owner, [EVERYTHING]) == owner
    assert cut(viewer, [EVERYTHING]) == viewer
    assert cut(owner, None) == USUAL_SCOPES
    assert cut(viewer, ["inference", "chat.read"]) == {Permission.CHAT_READ}
    assert not cut(owner, [])
    # What a key may do with more keys, people or nodes has to be named.
    assert not {Permission.KEYS_WRITE, Permission.PEOPLE_WRITE, Permission.CLUSTER_MANAGE} & (
        cut(owner, None)
    )


def test_nobody_gives_a_role_above_the_own() -> None:
    assert outranks(Role.OWNER, Role.OWNER)
    assert outranks(Role.ADMIN, Role.DEVELOPER)
    assert not outranks(Role.ADMIN, Role.OWNER)
    assert not outranks(Role.VIEWER, Role.DEVELOPER)


async def test_every_operation_is_closed_to_who_lacks_its_permission(yard: FakeYard) -> None:
    keys = yard.identity.keys
    by_permission = {
        permission: (
            await keys.create(
                command_line(DEFAULT_PROJECT),
                KeyTerms("all but one", scopes=sorted({*Permission} - {permission})),
            )
        )[0]
        for permission in Permission
    }
    for operation in yard.gateway.operations:
        if operation.permission is None:
            continue
        target = operation.path.replace("{project_id}", DEFAULT_PROJECT)
        target = target.replace("{", "x").replace("}", "")
        headers = {"authorization": f"Bearer {by_permission[operation.permission]}"}
        answer = await yard.stranger.call(operation.method, target, headers=headers)
        assert (answer.status, answer.error["code"]) == (403, "permission_denied"), target
        assert operation.permission in answer.error["message"]


async def test_a_role_that_is_taken_away_counts_at_once(yard: FakeYard) -> None:
    people = yard.store.people
    headers = {"authorization": f"Bearer {await yard.other_key()}"}
    target = "/v1/models"
    assert (await yard.stranger.call("GET", target, headers=headers)).status == 200
    del people.projects[next(one for one in people.projects if one != DEFAULT_PROJECT)]
    people.append(people.audit[DEFAULT_ORGANISATION][0].entry)
    await yard.clock.advance(1)
    answer = await yard.stranger.call("GET", target, headers=headers)
    assert (answer.status, answer.error["code"]) == (401, "access_withdrawn")
