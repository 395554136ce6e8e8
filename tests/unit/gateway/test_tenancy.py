"""What belongs to another tenant is not there: a walk over all routes of the description.

A route with an id in its path that this module does not know fails the walk: whoever adds it says
here whose object it names, and gives a body that would be accepted from its owner.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from support.tenants import CHEAP, ROOT, Person, found_tenant, join, sign_in_owner
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.operation import Operation
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.settings import Settings
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

TURN = {"type": "message", "role": "user", "content": "Hi"}
# Paths about what belongs to no tenant.
# Whoever has the secret of a link may read it.
SHARED = {"model", "node", "provider", "secret", "name"}
# Only an operator reaches these at all, whose business all tenants are.
OPERATORS = {"inviteOwner", "setNode", "deleteUpstream", "deleteModelRoute"}
BODIES: dict[str, Any] = {
    "updateUser": {"name": "Mallory"},
    "updateProject": {"name": "Mine"},
    "createProjectUser": {"user_id": "user_owner", "role": "viewer"},
    "updateProjectUser": {"role": "viewer"},
    "createServiceAccount": {"name": "ci"},
    "createProjectKey": {"name": "key"},
    "updateProjectKey": {"name": "key"},
    "rotateProjectKey": {"overlap_seconds": 1},
    "updateConversation": {"metadata": {}},
    "createConversationItems": {"items": [TURN]},
    "compactConversation": {"model": MODEL, "keep_questions": 0},
    "switchBranch": {"item_id": "msg_1"},
    "renamePrompt": {"name": "mine"},
    "createPromptVersion": {"from_version": 1},
    "setPromptLabel": {"version": 1},
    "setJobPriority": {"priority": "high"},
}
# Query parameters without which a route refuses before it looks.
QUERIES = {"diffPrompt": "?from=1&to=1"}


@pytest.fixture
async def yard() -> AsyncIterator[FakeYard]:
    # So that a job is looked for, and not denied before.
    everybody = JobSettings(local_execution="all")
    async with open_fake_yard(Settings(identity=CHEAP, jobs=everybody)) as built:
        yield built


async def make(person: Person, target: str, body: Any) -> Any:
    answer = await person.call("POST", target, body)
    assert answer.status == 200, (target, answer.body)
    return answer.json()


async def upload(person: Person) -> str:
    form = (
        b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": '
        b'"scripted", "messages": [{"role": "user", "content": "Hi"}]}}\n\r\n--b--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await person.client.call("POST", "/v1/files", body=form, headers=headers)
    assert answer.status == 200, answer.body
    return str(answer.json()["id"])


async def furnish(yard: FakeYard, owner: Person) -> dict[str, str]:
    """One of everything, by the name that paths have for it."""
    project = f"{ROOT}/projects/{DEFAULT_PROJECT}"
    there = [{"id": DEFAULT_PROJECT, "role": "developer"}]
    ask = {"model": MODEL, "input": "Hi"}
    conversation = (await make(owner, "/v1/conversations", {"items": [TURN]}))["id"]
    items = (await owner.call("GET", f"/v1/conversations/{conversation}/items")).json()["data"]
    file = await upload(owner)
    batch = {
        "input_file_id": file,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    prompt = {"name": "p", "content": {"instructions": "Be brief."}}
    prompt_id = (await make(owner, "/api/prompts", prompt))["id"]
    await owner.call("PUT", f"/api/prompts/{prompt_id}/labels/live", {"version": 1})
    limit = {"level": "project", "measure": "requests", "window": "minute", "amount": 10**6}
    budget = {"scope": "project", "subject": DEFAULT_PROJECT, "hard_nanos": 10**12}
    job = {"name": "j", "command": ["true"], "roles": [{"gpus": 1}]}
    invite = {"email": "late@example.com"}
    sessions = (await owner.call("GET", "/api/sessions")).json()["data"]
    return {
        "project_id": DEFAULT_PROJECT,
        "user_id": (await join(yard, owner, "dev", projects=there)).id,
        "service_account": (await make(owner, f"{project}/service_accounts", {"name": "s"}))["id"],
        "key_id": (await make(owner, f"{project}/api_keys", {"name": "k"}))["id"],
        "invite_id": (await make(owner, f"{ROOT}/invites", invite))["id"],
        "session_id": sessions[0]["id"],
        "budget_id": (await make(owner, f"{ROOT}/budgets", budget))["id"],
        "limit_id": (await make(owner, "/api/organisation/limits", limit))["id"],
        "response_id": (await make(owner, "/v1/responses", ask))["id"],
        "conversation_id": conversation,
        "item_id": items[0]["id"],
        "share_id": (await make(owner, f"/api/conversations/{conversation}/shares", {}))["id"],
        "prompt_id": prompt_id,
        "version": "1",
        "label": "live",
        "file_id": file,
        "batch_id": (await make(owner, "/v1/batches", batch))["id"],
        "job_id": (await make(owner, "/api/jobs", job))["data"][0]["id"],
    }


def address(operation: Operation, held: dict[str, str]) -> str:
    """The path with the ids that are held; KeyError for a parameter that is not known here."""
    if "service_accounts" in operation.path:
        held = {**held, "user_id": held["service_account"]}
    path = re.sub(r"\{(\w+)\}", lambda match: held[match[1]], operation.path)
    return path + QUERIES.get(operation.name, "")


def with_ids(yard: FakeYard) -> list[Operation]:
    """The operations about one object of a tenant."""
    return [
        operation
        for operation in yard.gateway.operations
        if set(re.findall(r"\{(\w+)\}", operation.path)) - SHARED
        and operation.name not in OPERATORS
    ]


async def test_no_route_shows_or_changes_what_is_anothers(yard: FakeYard) -> None:
    owner = await sign_in_owner(yard)
    held = await furnish(yard, owner)
    stranger = await found_tenant(yard, owner, "other")
    # In the same organisation, and an admin of a project of their own.
    second = (await make(owner, f"{ROOT}/projects", {"name": "Second"}))["id"]
    neighbour = await join(
        yard, owner, "neighbour", role="viewer", projects=[{"id": second, "role": "admin"}]
    )
    yard.upstream.script = Script(hold_after=1)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    running = owner.client.open("POST", "/v1/chat/completions", json_body=body)
    await running.until(lambda answer: bool(answer.body))
    held["request_id"] = running.answer.headers["x-request-id"]

    async def walk(person: Person, allowed: set[tuple[int, str]]) -> None:
        for operation in with_ids(yard):
            target = address(operation, held)
            assert operation.request is None or operation.name in BODIES, operation.name
            answer = await person.call(operation.method, target, BODIES.get(operation.name))
            told = (answer.status, answer.error["code"])
            assert told in allowed, (operation.name, answer.body)
            assert "dev" not in answer.error["message"].split()

    await walk(stranger, {(404, "not_found")})
    # What only the organisation's admins may is denied before anything is looked for.
    await walk(neighbour, {(404, "not_found"), (403, "permission_denied")})
    yard.upstream.go_on()
    await running.finish()
    assert b"[DONE]" in running.answer.body
    for operation in with_ids(yard):
        if operation.method == "GET" and "request_id" not in operation.path:
            answer = await owner.call("GET", address(operation, held))
            assert answer.status == 200, (operation.name, answer.body)


async def test_no_list_holds_what_is_anothers(yard: FakeYard) -> None:
    owner = await sign_in_owner(yard)
    held = await furnish(yard, owner)
    stranger = await found_tenant(yard, owner, "other")
    ids = {one for one in held.values() if "_" in one}
    for operation in yard.gateway.operations:
        if operation.method != "GET" or "{" in operation.path or operation.permission is None:
            continue
        answer = await stranger.call("GET", operation.path)
        assert not [one for one in ids if one in answer.body.decode()], operation.name


async def test_nothing_of_anothers_can_be_named_in_a_body(yard: FakeYard) -> None:
    owner = await sign_in_owner(yard)
    held = await furnish(yard, owner)
    stranger = await found_tenant(yard, owner, "other")
    ask = {"model": MODEL, "input": "Hi"}
    project = f"{ROOT}/projects/{stranger.project}"
    for target, body in (
        ("/v1/responses", {**ask, "conversation": held["conversation_id"]}),
        ("/v1/responses", {**ask, "previous_response_id": held["response_id"]}),
        ("/v1/responses", {**ask, "prompt": {"id": held["prompt_id"]}}),
        ("/api/context", {**ask, "conversation": held["conversation_id"]}),
        ("/v1/responses/input_tokens", {**ask, "conversation": held["conversation_id"]}),
        (
            "/v1/batches",
            {
                "input_file_id": held["file_id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            },
        ),
        ("/api/jobs", {"name": "j", "command": ["true"], "after": [held["job_id"]]}),
        ("/api/session/project", {"project": DEFAULT_PROJECT}),
        (f"{ROOT}/invites", {"email": "x@example.com", "projects": [
            {"id": DEFAULT_PROJECT, "role": "viewer"}]}),
        (f"{project}/users", {"user_id": owner.id, "role": "viewer"}),
        (f"{project}/api_keys", {"name": "k", "user_id": held["service_account"]}),
    ):  # fmt: skip
        answer = await stranger.call("POST", target, body)
        assert answer.status in (400, 404), (target, body, answer.body)
        assert answer.error["code"] != "unknown_parameter", (target, answer.body)


async def test_a_key_reaches_no_project_but_its_own(yard: FakeYard) -> None:
    owner = await sign_in_owner(yard)
    second = (await make(owner, f"{ROOT}/projects", {"name": "Second"}))["id"]
    terms = {"name": "k", "scopes": ["keys.read", "members.read", "models.read"]}
    keys = f"{ROOT}/projects/{DEFAULT_PROJECT}/api_keys"
    secret = (await make(owner, keys, terms))["value"]
    headers = {"authorization": f"Bearer {secret}"}
    with_key = replace(owner, client=type(owner.client)(yard.gateway.app, headers))
    assert (await with_key.call("GET", keys)).status == 200
    for target in (f"{ROOT}/projects/{second}/api_keys", f"{ROOT}/projects/{second}"):
        assert (await with_key.call("GET", target)).status == 404
