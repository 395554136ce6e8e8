"""People in browsers, and a tenant beside the first one, over a gateway of fakes."""

from dataclasses import dataclass
from typing import Any

from support.asgi import HOST, Answer, AsgiClient
from support.yards import FakeYard
from tokenyard.runtime.identity_settings import IdentitySettings

ROOT = "/api/organisation"
PASSWORD = "a long enough passphrase"
# Argon2 as cheap as it gets: what it costs is not the subject here.
CHEAP = IdentitySettings(password_memory_kib=8, password_rounds=1, invitation_seconds=10)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed in with a browser."""

    client: AsgiClient
    id: str
    project: str

    async def call(self, method: str, target: str, body: Any = None) -> Answer:
        return await self.client.call(method, target, json_body=body)


def browser(yard: FakeYard, cookie: str) -> AsgiClient:
    """A browser on our own page that holds that cookie."""
    return AsgiClient(yard.gateway.app, {"cookie": cookie, "origin": f"http://{HOST}"})


def cookie_of(answer: Answer) -> str:
    """The cookie that an answer has set, as a browser sends it back."""
    return answer.cookies[0].partition(";")[0]


async def person_with(yard: FakeYard, answer: Answer) -> Person:
    """Who was signed in by that answer."""
    client = browser(yard, cookie_of(answer))
    session = (await client.call("GET", "/api/session")).json()
    return Person(client, session["user"]["id"], session["project"]["id"])


async def sign_in_owner(yard: FakeYard) -> Person:
    """The first owner, by link."""
    token = await yard.identity.sessions.create_link_token()
    return await person_with(yard, await yard.stranger.call("GET", f"/sign-in?token={token}"))


async def accept(yard: FakeYard, invited: Answer, name: str) -> Person:
    """Who takes that invitation."""
    token = invited.json()["url"].partition("#invitation=")[2]
    told = {"token": token, "name": name, "password": PASSWORD}
    answer = await yard.stranger.call("POST", "/api/invitations/accept", json_body=told)
    assert answer.status == 200, answer.body
    return await person_with(yard, answer)


async def join(yard: FakeYard, by: Person, name: str, **invitation: Any) -> Person:
    """Somebody whom `by` invites into the own organisation."""
    asked = {"email": f"{name}@example.com", **invitation}
    return await accept(yard, await by.call("POST", f"{ROOT}/invites", asked), name)


async def found_tenant(yard: FakeYard, operator: Person, name: str) -> Person:
    """The owner of a new organisation."""
    made = (await operator.call("POST", "/api/organisations", {"name": name})).json()
    target = f"/api/organisations/{made['id']}/invites"
    invited = await operator.call("POST", target, {"email": f"boss@{name}.example"})
    return await accept(yard, invited, f"{name}'s owner")
