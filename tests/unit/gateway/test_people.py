"""Organisations, projects, people and service accounts: who may change whom, over HTTP."""

import json
from collections.abc import AsyncIterator

import pytest

from support.tenants import (
    CHEAP,
    PASSWORD,
    ROOT,
    Person,
    browser,
    cookie_of,
    found_tenant,
    join,
    sign_in_owner,
)
from support.yards import FakeYard, open_fake_yard
from tokenyard.runtime.settings import Settings
from tokenyard.vocabulary.audit import find_break
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION, DEFAULT_PROJECT


@pytest.fixture
async def yard() -> AsyncIterator[FakeYard]:
    async with open_fake_yard(Settings(identity=CHEAP)) as built:
        yield built


@pytest.fixture
async def owner(yard: FakeYard) -> Person:
    """The first owner, signed in by link."""
    return await sign_in_owner(yard)


IN_PROJECT = [{"id": DEFAULT_PROJECT, "role": "developer"}]


async def test_an_invitation_makes_a_user_once(yard: FakeYard, owner: Person) -> None:
    invited = (
        await owner.call(
            "POST", f"{ROOT}/invites", {"email": "Ann@Example.com ", "projects": IN_PROJECT}
        )
    ).json()
    assert (invited["email"], invited["status"]) == ("ann@example.com", "pending")
    token = invited["url"].partition("#invitation=")[2]
    told = await yard.stranger.call("POST", "/api/invitations/look-up", json_body={"token": token})
    assert told.json()["organisation"] == "My organisation"
    wanted = {"token": token, "name": "Ann", "password": "short"}
    refused = await yard.stranger.call("POST", "/api/invitations/accept", json_body=wanted)
    assert (refused.status, refused.error["param"]) == (400, "password")
    wanted["password"] = PASSWORD
    accepted = await yard.stranger.call("POST", "/api/invitations/accept", json_body=wanted)
    assert accepted.status == 200
    again = await yard.stranger.call("POST", "/api/invitations/accept", json_body=wanted)
    assert (again.status, again.error["code"]) == (401, "invalid_invitation")
    session = (await browser(yard, cookie_of(accepted)).call("GET", "/api/session")).json()
    assert session["role"] == "developer"
    assert session["organisation"]["id"] == DEFAULT_ORGANISATION
    (listed,) = (await owner.call("GET", f"{ROOT}/invites")).json()["data"]
    assert (listed["status"], listed["url"]) == ("accepted", None)
    taken = await owner.call("POST", f"{ROOT}/invites", {"email": "ann@example.com"})
    assert (taken.status, taken.error["code"]) == (409, "email_taken")


async def test_an_invitation_ends_by_time_and_by_hand(yard: FakeYard, owner: Person) -> None:
    for name, end in (("a", "time"), ("b", "hand")):
        invited = (
            await owner.call("POST", f"{ROOT}/invites", {"email": f"{name}@example.com"})
        ).json()
        if end == "hand":
            gone = await owner.call("DELETE", f"{ROOT}/invites/{invited['id']}")
            assert gone.json()["deleted"]
            again = await owner.call("DELETE", f"{ROOT}/invites/{invited['id']}")
            assert again.status == 404
        else:
            await yard.clock.advance(CHEAP.invitation_seconds - 1)
            await owner.call("GET", "/api/session")
            await yard.clock.advance(1)
        token = invited["url"].partition("#invitation=")[2]
        answer = await yard.stranger.call(
            "POST", "/api/invitations/look-up", json_body={"token": token}
        )
        assert (answer.status, answer.error["code"]) == (401, "invalid_invitation")


async def test_roles_reach_no_higher_than_themselves(yard: FakeYard, owner: Person) -> None:
    admin = await join(yard, owner, "admin", role="admin")
    dev = await join(yard, owner, "dev", role="developer", projects=IN_PROJECT)
    for method, target, body in (
        ("POST", f"{ROOT}/users/{owner.id}", {"role": "viewer"}),
        ("DELETE", f"{ROOT}/users/{owner.id}", None),
        ("POST", f"{ROOT}/users/{admin.id}", {"role": "owner"}),
        ("POST", f"{ROOT}/users/{dev.id}", {"operator": True}),
        ("POST", f"{ROOT}/invites", {"email": "x@example.com", "role": "owner"}),
        ("POST", f"{ROOT}/users/{owner.id}/sign_in_link", None),
    ):
        answer = await admin.call(method, target, body)
        assert (answer.status, answer.error["code"]) == (403, "role_too_low"), target
    for target in (f"{ROOT}/users", f"{ROOT}/invites", f"{ROOT}/audit_logs", f"{ROOT}/projects"):
        answer = await dev.call("GET", target)
        assert (answer.status, answer.error["code"]) == (403, "permission_denied"), target
    renamed = await admin.call("POST", f"{ROOT}/users/{dev.id}", {"name": "Dev", "role": "viewer"})
    assert (renamed.json()["name"], renamed.json()["role"]) == ("Dev", "viewer")


async def test_the_last_owner_stays(yard: FakeYard, owner: Person) -> None:
    for method, body in (("POST", {"role": "admin"}), ("DELETE", None)):
        answer = await owner.call(method, f"{ROOT}/users/{owner.id}", body)
        assert (answer.status, answer.error["code"]) == (409, "last_owner")
    other = await join(yard, owner, "other", role="owner")
    assert (await other.call("POST", f"{ROOT}/users/{other.id}", {"role": "admin"})).status == 200


async def test_a_removed_user_has_nothing_left(yard: FakeYard, owner: Person) -> None:
    dev = await join(yard, owner, "dev", projects=IN_PROJECT)
    keys = f"{ROOT}/projects/{DEFAULT_PROJECT}/api_keys"
    secret = (await dev.call("POST", keys, {"name": "mine"})).json()["value"]
    headers = {"authorization": f"Bearer {secret}"}
    assert (await yard.stranger.call("GET", "/v1/models", headers=headers)).status == 200
    assert (await owner.call("DELETE", f"{ROOT}/users/{dev.id}")).json()["deleted"]
    assert (await yard.stranger.call("GET", "/v1/models", headers=headers)).status == 401
    assert (await dev.call("GET", "/api/session")).status == 401
    assert dev.id not in (await owner.call("GET", f"{ROOT}/users")).body.decode()
    assert (await owner.call("GET", f"{ROOT}/users/{dev.id}")).status == 404
    # The address is free again.
    await join(yard, owner, "dev", projects=IN_PROJECT)


async def test_members_of_a_project_and_of_no_other(yard: FakeYard, owner: Person) -> None:
    dev = await join(yard, owner, "dev", projects=IN_PROJECT)
    made = (await owner.call("POST", f"{ROOT}/projects", {"name": "Second"})).json()
    second = f"{ROOT}/projects/{made['id']}"
    assert (await dev.call("GET", second)).status == 404
    chosen = await dev.call("POST", "/api/session/project", {"project": made["id"]})
    assert chosen.status == 404
    added = await owner.call("POST", f"{second}/users", {"user_id": dev.id, "role": "admin"})
    assert added.json()["role"] == "admin"
    assert (await dev.call("GET", second)).json()["role"] == "admin"
    chosen = await dev.call("POST", "/api/session/project", {"project": made["id"]})
    assert chosen.json()["name"] == "Second"
    session = (await dev.call("GET", "/api/session")).json()
    assert (session["project"]["id"], session["role"]) == (made["id"], "admin")
    own = (await dev.call("GET", "/api/session/projects")).json()["data"]
    assert [one["role"] for one in own] == ["developer", "admin"]
    listed = (await dev.call("GET", f"{second}/users")).json()["data"]
    assert [one["id"] for one in listed] == [dev.id]
    # An admin of the project manages it, and nothing above it.
    assert (await dev.call("POST", second, {"name": "Mine"})).json()["name"] == "Mine"
    assert (await dev.call("POST", f"{second}/archive")).status == 403
    assert (await dev.call("DELETE", f"{second}/users/{dev.id}")).status == 200
    assert (await dev.call("GET", second)).status == 401


async def test_an_archived_project_is_closed(yard: FakeYard, owner: Person) -> None:
    made = (await owner.call("POST", f"{ROOT}/projects", {"name": "Old"})).json()
    project = f"{ROOT}/projects/{made['id']}"
    secret = (await owner.call("POST", f"{project}/api_keys", {"name": "k"})).json()["value"]
    headers = {"authorization": f"Bearer {secret}"}
    assert (await yard.stranger.call("GET", "/v1/models", headers=headers)).status == 200
    archived = await owner.call("POST", f"{project}/archive")
    assert archived.json()["status"] == "archived"
    answer = await yard.stranger.call("GET", "/v1/models", headers=headers)
    assert (answer.status, answer.error["code"]) == (401, "access_withdrawn")
    listed = (await owner.call("GET", f"{ROOT}/projects")).json()["data"]
    assert made["id"] not in [one["id"] for one in listed]
    every = (await owner.call("GET", f"{ROOT}/projects?include_archived=true")).json()["data"]
    assert made["id"] in [one["id"] for one in every]


async def test_a_service_account_has_a_key_and_no_sign_in(yard: FakeYard, owner: Person) -> None:
    accounts = f"{ROOT}/projects/{DEFAULT_PROJECT}/service_accounts"
    made = (await owner.call("POST", accounts, {"name": "ci"})).json()
    headers = {"authorization": f"Bearer {made['api_key']['value']}"}
    told = (await yard.stranger.call("GET", "/api/session", headers=headers)).json()
    assert (told["user"]["id"], told["role"]) == (made["id"], "developer")
    assert "people.read" not in told["permissions"]
    # It is in neither list of people.
    for target in (f"{ROOT}/users", f"{ROOT}/projects/{DEFAULT_PROJECT}/users"):
        assert made["id"] not in (await owner.call("GET", target)).body.decode()
    assert (await owner.call("GET", f"{accounts}/{made['id']}")).json()["api_key"] is None
    assert (await owner.call("DELETE", f"{accounts}/{made['id']}")).status == 200
    assert (await yard.stranger.call("GET", "/v1/models", headers=headers)).status == 401


async def test_a_tenant_sees_nothing_of_another(yard: FakeYard, owner: Person) -> None:
    boss = await found_tenant(yard, owner, "Other")
    session = (await boss.call("GET", "/api/session")).json()
    assert session["organisation"]["name"] == "Other"
    assert session["role"] == "owner"
    assert (await boss.call("GET", f"{ROOT}/users/{owner.id}")).status == 404
    assert (await boss.call("GET", f"{ROOT}/projects/{DEFAULT_PROJECT}")).status == 404
    added = await boss.call(
        "POST",
        f"{ROOT}/projects/{session['project']['id']}/users",
        {"user_id": owner.id, "role": "viewer"},
    )
    assert added.status == 404
    assert (await boss.call("GET", "/api/organisations")).status == 403
    every = (await owner.call("GET", "/api/organisations")).json()["data"]
    assert [one["name"] for one in every] == ["My organisation", "Other"]


async def test_the_audit_log_tells_who_did_what(yard: FakeYard, owner: Person) -> None:
    dev = await join(yard, owner, "dev", projects=IN_PROJECT)
    await owner.call("POST", f"{ROOT}/projects", {"name": "=SUM(A1)"})
    first = (await owner.call("GET", f"{ROOT}/audit_logs?limit=2")).json()
    assert first["has_more"]
    assert first["data"][0]["type"] == "project.created"
    assert first["data"][0]["actor"] == {"user": owner.id, "api_key": None}
    assert first["data"][0]["details"] == {"name": "=SUM(A1)"}
    more = await owner.call("GET", f"{ROOT}/audit_logs?limit=100&before={first['last_number']}")
    numbers = [one["number"] for one in [*first["data"], *more.json()["data"]]]
    assert numbers == list(range(len(numbers), 0, -1))
    theirs = (await owner.call("GET", f"{ROOT}/audit_logs?actor={dev.id}")).json()["data"]
    assert [one["type"] for one in theirs] == ["session.created", "invite.accepted"]
    exported = await owner.call("GET", f"{ROOT}/audit_logs/export")
    lines = [json.loads(line) for line in exported.body.splitlines()]
    assert [line["number"] for line in lines] == numbers[::-1]
    table = (await owner.call("GET", f"{ROOT}/audit_logs/export?format=csv")).body.decode()
    assert table.splitlines()[0].startswith("number,effective_at,type,user")
    assert len(table.splitlines()) == len(numbers) + 1
    assert PASSWORD not in table + exported.body.decode()
    assert find_break(yard.store.people.audit[DEFAULT_ORGANISATION]) is None


async def test_what_others_keep_is_noted_at_the_door(yard: FakeYard, owner: Person) -> None:
    budget = {"scope": "project", "subject": DEFAULT_PROJECT, "hard_nanos": 10**12}
    made = (await owner.call("POST", f"{ROOT}/budgets", budget)).json()
    assert (await owner.call("POST", f"{ROOT}/budgets", {"scope": "no"})).status == 400
    await owner.call("DELETE", f"{ROOT}/budgets/{made['id']}")
    dev = await join(yard, owner, "dev", projects=IN_PROJECT)
    await owner.call("POST", f"{ROOT}/users/{dev.id}/sign_in_link")
    log = (await owner.call("GET", f"{ROOT}/audit_logs?limit=100")).json()["data"]
    told = {(one["type"], one["object_id"]) for one in log}
    assert {
        ("limits.write.putBudget", made["id"]),
        ("limits.write.deleteBudget", made["id"]),
        ("sign_in_link.created", dev.id),
    } <= told


async def test_nobody_above_is_made_less_by_being_added_again(
    yard: FakeYard, owner: Person
) -> None:
    second = (await owner.call("POST", f"{ROOT}/projects", {"name": "Second"})).json()["id"]
    users = f"{ROOT}/projects/{second}/users"
    there = [{"id": second, "role": "admin"}]
    admin = await join(yard, owner, "admin", role="viewer", projects=there)
    chief = await join(yard, owner, "chief", role="viewer", projects=IN_PROJECT)
    await owner.call("POST", users, {"user_id": chief.id, "role": "owner"})
    for target in (users, f"{users}/{chief.id}"):
        body = {"role": "viewer", **({"user_id": chief.id} if target == users else {})}
        answer = await admin.call("POST", target, body)
        assert (answer.status, answer.error["code"]) == (403, "role_too_low")


async def test_the_first_project_stays(yard: FakeYard, owner: Person) -> None:
    answer = await owner.call("POST", f"{ROOT}/projects/{DEFAULT_PROJECT}/archive")
    assert (answer.status, answer.error["code"]) == (409, "first_project")


async def test_only_operators_run_commands_on_this_machine(yard: FakeYard, owner: Person) -> None:
    dev = await join(yard, owner, "dev", projects=IN_PROJECT)
    job = {"name": "j", "command": ["id"]}
    refused = await dev.call("POST", "/api/jobs", job)
    assert (refused.status, refused.error["code"]) == (403, "local_execution_off")
    keys = f"{ROOT}/projects/{DEFAULT_PROJECT}/api_keys"
    for person, status in ((dev, 403), (owner, 200)):
        secret = (await person.call("POST", keys, {"name": "k"})).json()["value"]
        headers = {"authorization": f"Bearer {secret}"}
        answer = await yard.stranger.call("POST", "/api/jobs", json_body=job, headers=headers)
        assert answer.status == status
        assert (await person.call("POST", "/api/jobs", job)).status == status
