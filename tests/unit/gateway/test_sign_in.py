"""Passwords, sessions and what guessing gets one."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.asgi import HOST, Answer, AsgiClient
from support.tenants import (
    CHEAP,
    PASSWORD,
    ROOT,
    Person,
    browser,
    cookie_of,
    join,
    person_with,
    sign_in_owner,
)
from support.yards import FakeYard, open_fake_yard
from tokenyard.gateway.rules.attempts import (
    Failures,
    Patience,
    add_failure,
    is_forgotten,
    wait_seconds,
)
from tokenyard.runtime.settings import Settings
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

TARGET = "/api/sign-in"
EMAIL = "dev@example.com"
THERE = [{"id": DEFAULT_PROJECT, "role": "developer"}]


@pytest.fixture
async def yard() -> AsyncIterator[FakeYard]:
    settings = msgspec.structs.replace(CHEAP, session_seconds=1_000.0, session_idle_seconds=100.0)
    async with open_fake_yard(Settings(identity=settings)) as built:
        yield built


@pytest.fixture
async def dev(yard: FakeYard) -> Person:
    return await join(yard, await sign_in_owner(yard), "dev", projects=THERE)


async def attempt(client: AsgiClient, password: str, email: str = EMAIL, **headers: str) -> Answer:
    told = {"email": email, "password": password}
    return await client.call("POST", TARGET, json_body=told, headers=headers)


def from_host(yard: FakeYard, host: str) -> AsgiClient:
    """A client at another address."""

    async def app(scope: object, receive: object, send: object) -> None:
        assert isinstance(scope, dict)
        scope["client"] = (host, 1)
        await yard.gateway.app(scope, receive, send)  # type: ignore[arg-type]

    return AsgiClient(app)


async def test_a_password_signs_in(yard: FakeYard, dev: Person) -> None:
    answer = await attempt(yard.stranger, PASSWORD, " DEV@example.com")
    assert (answer.status, answer.json()) == (200, {"signed_in": True})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert (await person_with(yard, answer)).id == dev.id


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("", ""), (EMAIL, "")],
)
async def test_what_is_wrong_is_not_told(
    yard: FakeYard, dev: Person, email: str, password: str
) -> None:
    answer = await attempt(yard.stranger, password, email)
    assert (answer.status, answer.error["code"]) == (401, "wrong_password")
    assert answer.error["message"] == "There is no account with that address and password."


async def test_who_guesses_waits_longer_each_time_and_locks_nobody_out(
    yard: FakeYard, dev: Person
) -> None:
    guesser = from_host(yard, "203.0.113.9")
    for _ in range(5):
        assert (await attempt(guesser, "wrong")).status == 401
    denied = await attempt(guesser, PASSWORD)
    assert (denied.status, denied.error["code"]) == (429, "sign_in_limit")
    assert denied.headers["retry-after"] == "1"
    # The same account from another place, and another account from the same place.
    assert (await attempt(from_host(yard, "198.51.100.1"), PASSWORD)).status == 200
    assert (await attempt(guesser, "wrong", "other@example.com")).status == 401
    await yard.clock.advance(1)
    assert (await attempt(guesser, "wrong")).status == 401
    denied = await attempt(guesser, "wrong")
    assert (denied.status, denied.headers["retry-after"]) == (429, "2")
    await yard.clock.advance(2)
    assert (await attempt(guesser, PASSWORD)).status == 200


async def test_one_place_cannot_try_every_account(yard: FakeYard) -> None:
    host = from_host(yard, "2001:db8::1")
    for number in range(30):
        assert (await attempt(host, "wrong", f"{number}@example.com")).status == 401
    neighbour = from_host(yard, "2001:db8::ffff")
    assert (await attempt(neighbour, "wrong", "fresh@example.com")).status == 429


async def test_an_account_of_ones_own_buys_no_guesses_at_others(
    yard: FakeYard, dev: Person
) -> None:
    host = from_host(yard, "203.0.113.7")
    for number in range(30):
        assert (await attempt(host, "wrong", f"{number}@example.com")).status == 401
        if number % 4 == 0:
            assert (await attempt(host, PASSWORD)).status == 200
    assert (await attempt(host, "wrong", "fresh@example.com")).status == 429


async def test_a_page_of_another_site_cannot_sign_anybody_in(yard: FakeYard, dev: Person) -> None:
    for origin, status in (("http://evil.test", 403), (f"http://{HOST}", 200)):
        assert (await attempt(yard.stranger, PASSWORD, origin=origin)).status == status


async def test_a_new_password_ends_every_session(yard: FakeYard, dev: Person) -> None:
    target = "/api/session/password"
    other = await person_with(yard, await attempt(yard.stranger, PASSWORD))
    wrong = await dev.call("POST", target, {"current": "x", "new": "another long passphrase"})
    assert (wrong.status, wrong.error["code"]) == (401, "wrong_password")
    for poor in ("short", "a" * 40, EMAIL):
        refused = await dev.call("POST", target, {"current": PASSWORD, "new": poor})
        assert (refused.status, refused.error["param"]) == (400, "password"), poor
    told = {"current": PASSWORD, "new": "another long passphrase"}
    assert (await dev.call("POST", target, told)).status == 200
    for person in (dev, other):
        assert (await person.call("GET", "/api/session")).status == 401
    assert (await attempt(yard.stranger, PASSWORD)).status == 401
    assert (await attempt(yard.stranger, "another long passphrase")).status == 200


async def test_an_admin_makes_a_link_for_who_forgot(yard: FakeYard, dev: Person) -> None:
    owner = await sign_in_owner(yard)
    made = (await owner.call("POST", f"{ROOT}/users/{dev.id}/sign_in_link")).json()
    path = made["url"].removeprefix(f"http://{HOST}")
    answer = await yard.stranger.call("GET", path)
    assert (await person_with(yard, answer)).id == dev.id
    again = await yard.stranger.call("GET", path)
    assert again.headers["location"] == "/?sign_in=invalid"


async def test_signing_in_again_ends_the_session_before(yard: FakeYard, dev: Person) -> None:
    first = await attempt(yard.stranger, PASSWORD)
    second = await attempt(yard.stranger, PASSWORD, cookie=cookie_of(first))
    assert cookie_of(first) != cookie_of(second)
    assert (await browser(yard, cookie_of(first)).call("GET", "/api/session")).status == 401
    assert (await browser(yard, cookie_of(second)).call("GET", "/api/session")).status == 200


async def test_sessions_end_when_idle_and_in_any_case(yard: FakeYard, dev: Person) -> None:
    idle = await person_with(yard, await attempt(yard.stranger, PASSWORD))
    for _ in range(11):
        await yard.clock.advance(90)
        assert (await dev.call("GET", "/api/session")).status == 200
        await yard.identity.write_last_used()
    ended = await idle.call("GET", "/api/session")
    assert (ended.status, ended.error["code"]) == (401, "expired_session")
    await yard.clock.advance(20)
    assert (await dev.call("GET", "/api/session")).status == 401


async def test_sessions_are_listed_and_ended_one_by_one(yard: FakeYard, dev: Person) -> None:
    answer = await attempt(yard.stranger, PASSWORD, **{"user-agent": "Netscape"})
    other = await person_with(yard, answer)
    listed = (await dev.call("GET", "/api/sessions")).json()["data"]
    assert sorted((one["agent"], one["current"]) for one in listed) == [
        ("", True),
        ("Netscape", False),
    ]
    (theirs,) = [one["id"] for one in listed if not one["current"]]
    assert (await dev.call("DELETE", f"/api/sessions/{theirs}")).status == 200
    assert (await other.call("GET", "/api/session")).status == 401
    assert (await dev.call("DELETE", f"/api/sessions/{theirs}")).status == 404
    assert (await dev.call("GET", "/api/session")).status == 200


@given(st.lists(st.integers(0, 4_000), max_size=40), st.integers(0, 6))
def test_the_wait_grows_to_its_bound_and_is_forgotten(gaps: list[int], free: int) -> None:
    patience, now = Patience(free), 0.0
    failures: Failures | None = None
    for gap in gaps:
        now += gap
        wait = wait_seconds(failures, now, patience)
        assert 0 <= wait <= patience.wait_seconds_max
        if failures is not None and is_forgotten(failures, now, patience):
            assert wait == 0
        failures = add_failure(failures, now, patience)
        assert (wait_seconds(failures, now, patience) > 0) is (failures.count >= patience.free)
        assert wait_seconds(failures, now + patience.wait_seconds_max, patience) == 0


async def test_the_first_owner_takes_an_address_and_a_password(yard: FakeYard) -> None:
    owner = await sign_in_owner(yard)
    told = {"name": "Boss", "email": " Boss@Example.com"}
    changed = await owner.call("POST", "/api/session/profile", told)
    assert changed.json() == {"id": owner.id, "name": "Boss", "email": "boss@example.com"}
    assert (await owner.call("POST", "/api/session/password", {"new": PASSWORD})).status == 200
    answer = await attempt(yard.stranger, PASSWORD, "boss@example.com")
    assert (await person_with(yard, answer)).id == owner.id
    dev = await join(yard, await person_with(yard, answer), "dev", projects=THERE)
    taken = await dev.call("POST", "/api/session/profile", {"email": "boss@example.com"})
    assert (taken.status, taken.error["code"]) == (409, "email_taken")
    wrong = await dev.call("POST", "/api/session/profile", {"email": "no address"})
    assert (wrong.status, wrong.error["param"]) == (400, "email")
