"""Who may come in, how often, and what strangers are told."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.asgi import HOST
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.keys import command_line
from tokenyard.gateway.rules.keys import hint_of, spell_key, well_formed
from tokenyard.gateway.rules.origins import comes_from_us
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.settings import Settings
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.audit import entry_by
from tokenyard.vocabulary.identity import DEFAULT_PROJECT

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


async def test_every_operation_that_needs_a_caller_refuses_strangers(yard: FakeYard) -> None:
    for operation in yard.gateway.operations:
        target = operation.path.replace("{", "x").replace("}", "")
        answer = await yard.stranger.call(operation.method, target)
        if operation.authenticated:
            assert (answer.status, answer.error["code"]) == (401, "missing_credentials"), target
        else:
            assert answer.status in (200, 303, 400, 404, 503), target


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Bearer ", "invalid_api_key"),
        ("Bearer sk-other", "invalid_api_key"),
        ("Basic dXNlcjpwYXNz", "invalid_api_key"),
        (f"Bearer {spell_key('a' * 43)}", "invalid_api_key"),
    ],
)
async def test_wrong_key_is_401(yard: FakeYard, authorization: str, code: str) -> None:
    answer = await yard.stranger.call("GET", "/v1/models", headers={"authorization": authorization})
    assert (answer.status, answer.error["code"]) == (401, code)
    assert answer.error["type"] == "authentication_error"


async def test_revoked_key_stops_within_a_second(yard: FakeYard) -> None:
    assert (await yard.client.call("GET", "/v1/models")).status == 200
    (key,) = await yard.identity.keys.list(DEFAULT_PROJECT)
    # Another process does it: this one's cache is not told.
    entry = entry_by(command_line(DEFAULT_PROJECT), yard.clock.now(), "test", key.id)
    await yard.store.identity.revoke_key(key.id, key.project, yard.clock.now(), entry)
    await yard.clock.advance(1)
    answer = await yard.client.call("GET", "/v1/models")
    assert (answer.status, answer.error["code"]) == (401, "revoked_api_key")


async def test_secret_of_a_key_is_nowhere_but_with_its_owner(yard: FakeYard) -> None:
    await yard.client.call("POST", PATH, json_body=ASK)
    (key,) = await yard.identity.keys.list(DEFAULT_PROJECT)
    assert yard.key not in repr(key)
    assert yard.key not in yard.log.getvalue()
    assert "Hi" not in yard.log.getvalue()
    assert len(key.hint) < 12


async def sign_in(yard: FakeYard) -> dict[str, str]:
    token = await yard.identity.sessions.create_link_token()
    answer = await yard.stranger.call("GET", f"/sign-in?token={token}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    return {"cookie": cookie.partition(";")[0]}


async def test_sign_in_link_works_once(yard: FakeYard) -> None:
    token = await yard.identity.sessions.create_link_token()
    for place in ("/", "/?sign_in=invalid"):
        answer = await yard.stranger.call("GET", f"/sign-in?token={token}")
        assert answer.headers["location"] == place


async def test_sign_in_link_and_session_expire() -> None:
    settings = Settings(identity=IdentitySettings(sign_in_link_seconds=10, session_seconds=100))
    async with open_fake_yard(settings) as yard:
        token = await yard.identity.sessions.create_link_token()
        await yard.clock.advance(11)
        answer = await yard.stranger.call("GET", f"/sign-in?token={token}")
        assert answer.headers["location"] == "/?sign_in=invalid"
        cookie = await sign_in(yard)
        assert (await yard.stranger.call("GET", "/api/session", headers=cookie)).status == 200
        await yard.clock.advance(101)
        answer = await yard.stranger.call("GET", "/api/session", headers=cookie)
        assert (answer.status, answer.error["code"]) == (401, "expired_session")


async def test_cookie_counts_only_from_our_own_page(yard: FakeYard) -> None:
    cookie = await sign_in(yard)
    for origin, status in (
        ({"origin": f"http://{HOST}"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.test"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({}, 403),
    ):
        answer = await yard.stranger.call("POST", PATH, json_body=ASK, headers={**cookie, **origin})
        assert answer.status == status, origin


async def test_sign_out_ends_the_session(yard: FakeYard) -> None:
    headers = {**await sign_in(yard), "origin": f"http://{HOST}"}
    assert (await yard.stranger.call("POST", "/api/sign-out", headers=headers)).status == 200
    assert (await yard.stranger.call("GET", "/api/session", headers=headers)).status == 401


async def test_request_rate_is_limited_with_the_wait_told() -> None:
    settings = Settings(limits=LimitSettings(requests_per_minute=60, requests_burst=3))
    async with open_fake_yard(settings) as yard:
        left = []
        for _ in range(3):
            answer = await yard.client.call("POST", PATH, json_body=ASK)
            left.append(answer.headers["x-ratelimit-remaining-requests"])
        assert left == ["2", "1", "0"]
        denied = await yard.client.call("POST", PATH, json_body=ASK)
        assert (denied.status, denied.error["code"]) == (429, "rate_limit_requests")
        await yard.clock.advance(float(denied.headers["retry-after"]))
        assert (await yard.client.call("POST", PATH, json_body=ASK)).status == 200
        assert b'denials_total{reason="rate_limit_requests"} 1.0' in yard.metrics.render()


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        (LimitSettings(concurrent_requests_per_key=1), 429, "concurrency_limit"),
        (LimitSettings(concurrent_requests=1), 503, "system_overloaded"),
    ],
)
async def test_answers_in_progress_are_limited(
    limits: LimitSettings, status: int, code: str
) -> None:
    async with open_fake_yard(Settings(limits=limits)) as yard:
        yard.upstream.script = Script(hold_after=1)
        call = yard.client.open("POST", PATH, json_body={**ASK, "stream": True})
        await call.until(lambda answer: bool(answer.body))
        denied = await yard.client.call("POST", PATH, json_body=ASK)
        assert (denied.status, denied.error["code"]) == (status, code)
        assert denied.headers["retry-after"] == "1"
        yard.upstream.go_on()
        await call.finish()
        assert (await yard.client.call("POST", PATH, json_body=ASK)).status == 200


async def test_budget_denies_before_the_work() -> None:
    prices = (PriceSettings(model="*", input="1", cached_input="1", output="1"),)
    ledger = LedgerSettings(prices=prices, monthly_budget="0.001")
    async with open_fake_yard(Settings(ledger=ledger)) as yard:
        answer = await yard.client.call("POST", PATH, json_body={**ASK, "max_tokens": 5000})
        assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
        assert not yard.upstream.calls
        assert (
            await yard.client.call("POST", PATH, json_body={**ASK, "max_tokens": 10})
        ).status == 200


async def test_stopping_gateway_admits_nobody(yard: FakeYard) -> None:
    yard.admission.close()
    answer = await yard.client.call("POST", PATH, json_body=ASK)
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")
    assert (await yard.stranger.call("GET", "/health/ready")).json() == {"status": "stopping"}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", PATH, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/assets/../../pyproject.toml", 404),
        ("GET", "/%2e%2e/%2e%2e/pyproject.toml", 404),
        ("GET", "/favicon.nothing", 404),
    ],
)
async def test_wrong_address_is_an_openai_error(
    yard: FakeYard, method: str, target: str, status: int
) -> None:
    answer = await yard.client.call(method, target)
    assert answer.status == status
    assert answer.error["message"]


async def test_fault_of_ours_is_a_plain_500_with_its_story_in_the_log(
    yard: FakeYard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(yard.pool, "models", broken)
    answer = await yard.client.call("GET", "/v1/models")
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert "secret" not in answer.body.decode()
    assert "secret detail" in yard.log.getvalue()
    assert answer.headers["x-request-id"] in yard.log.getvalue()


async def test_every_answer_carries_the_security_headers(yard: FakeYard) -> None:
    for target in ("/", "/docs", "/v1/models", "/v1/nothing"):
        headers = (await yard.client.call("GET", target)).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


async def test_description_names_every_route_and_resolves(yard: FakeYard) -> None:
    document = (await yard.stranger.call("GET", "/openapi.json")).json()
    served = {(one.path, one.method.lower()) for one in yard.gateway.operations}
    told = {(path, method) for path, ways in document["paths"].items() for method in ways}
    assert told == served
    text = (await yard.stranger.call("GET", "/openapi.json")).body.decode()
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"]
    page = (await yard.stranger.call("GET", "/docs")).body.decode()
    assert all(one.path in page for one in yard.gateway.operations)
    assert "<script" not in page


@given(st.text(alphabet="abcXYZ019", min_size=43, max_size=43), st.integers(3, 51))
def test_mistyped_key_is_noticed(random_part: str, place: int) -> None:
    key = spell_key(random_part)
    assert well_formed(key)
    wrong = key[:place] + ("q" if key[place] != "q" else "r") + key[place + 1 :]
    assert not well_formed(wrong)
    assert not well_formed(key[:-1])
    assert random_part not in hint_of(key)


@pytest.mark.parametrize(
    ("method", "origin", "fetch_site", "ours"),
    [
        ("GET", "http://evil.test", "cross-site", True),
        ("POST", f"https://{HOST}", None, True),
        ("POST", f"http://{HOST}.evil.test", None, False),
        ("POST", f"http://{HOST}:81", None, False),
        ("POST", "null", "same-origin", False),
        ("DELETE", None, "same-origin", True),
        ("DELETE", None, "same-site", False),
        ("DELETE", None, None, False),
    ],
)
def test_origin(method: str, origin: str | None, fetch_site: str | None, ours: bool) -> None:
    assert comes_from_us(method, HOST, origin, fetch_site) is ours
