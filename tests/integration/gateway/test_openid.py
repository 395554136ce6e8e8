"""Signing in with a real OpenID Connect provider, over HTTP."""

import html
import re
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest
import requests

from support.asgi import Answer
from support.tenants import CHEAP, ROOT, browser, cookie_of, sign_in_owner
from support.yards import FakeYard, open_fake_yard
from tokenyard.runtime.identity_settings import ProviderSettings
from tokenyard.runtime.settings import Settings

# The provider is a test's tool and speaks of deprecations of its own.
pytestmark = pytest.mark.filterwarnings("ignore")
WAY = "/api/sign-in/openid/local"
PEOPLE = {
    "ann": {"email": "Ann@example.com", "email_verified": True, "name": "Ann"},
    "bob": {"email": "bob@example.com", "email_verified": False, "name": "Bob"},
    "eve": {"email": "eve@elsewhere.example", "email_verified": True, "name": "Eve"},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    import oidc_provider_mock  # type: ignore[import-untyped]  # noqa: PLC0415

    users = [oidc_provider_mock.User(sub=sub, claims=dict(told)) for sub, told in PEOPLE.items()]
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
async def yard(issuer: str) -> AsyncIterator[FakeYard]:
    provider = ProviderSettings(
        name="local",
        issuer=issuer,
        client_id="yard",
        client_secret_variable="A_SECRET",
        domains=("Example.com",),
    )
    settings = Settings(identity=msgspec.structs.replace(CHEAP, providers=(provider,)))
    async with open_fake_yard(settings) as built:
        # The provider's clock is the real one.
        built.clock._now = time.time()
        yield built


def agree(address: str, sub: str) -> str:
    """What the person does at the provider; where the browser is sent then."""
    page = requests.get(address, timeout=10)
    assert page.status_code == 200, page.text
    form = re.search(r'<form[^>]*action="([^"]*)"', page.text)
    target = html.unescape(form[1]) if form and form[1] else address
    sent = requests.post(target, data={"sub": sub}, allow_redirects=False, timeout=10)
    assert sent.status_code in (302, 303), sent.text
    return sent.headers["location"]


async def begin(yard: FakeYard) -> tuple[str, str]:
    """Where the browser is sent, and the cookie that it carries."""
    answer = await yard.stranger.call("GET", WAY)
    assert answer.status == 303
    assert "HttpOnly" in answer.headers["set-cookie"]
    return answer.headers["location"], cookie_of(answer)


async def come_back(yard: FakeYard, address: str, cookie: str) -> Answer:
    parts = urlsplit(address)
    assert parts.path == f"{WAY}/callback"
    target = f"{parts.path}?{parts.query}"
    return await yard.stranger.call("GET", target, headers={"cookie": cookie})


async def sign_in(yard: FakeYard, sub: str) -> Answer:
    address, cookie = await begin(yard)
    return await come_back(yard, agree(address, sub), cookie)


async def test_somebody_of_an_allowed_domain_becomes_a_user(yard: FakeYard) -> None:
    ways = (await yard.stranger.call("GET", "/api/sign-in")).json()
    assert ways == {"password": True, "providers": ["local"]}
    first = await sign_in(yard, "ann")
    assert (first.status, first.headers["location"]) == (303, "/")
    session = (await browser(yard, cookie_of(first)).call("GET", "/api/session")).json()
    assert (session["user"]["name"], session["email"]) == ("Ann", "ann@example.com")
    assert session["role"] == "developer"
    again = await sign_in(yard, "ann")
    same = (await browser(yard, cookie_of(again)).call("GET", "/api/session")).json()
    assert same["user"]["id"] == session["user"]["id"]
    owner = await sign_in_owner(yard)
    log = (await owner.call("GET", f"{ROOT}/audit_logs?actor={session['user']['id']}")).json()
    assert [one["type"] for one in log["data"]] == [
        "session.created",
        "session.created",
        "user.identity_linked",
        "user.added",
    ]


@pytest.mark.parametrize("sub", ["bob", "eve"])
async def test_an_unconfirmed_or_foreign_address_is_nobodys(yard: FakeYard, sub: str) -> None:
    answer = await sign_in(yard, sub)
    assert answer.headers["location"] == "/?sign_in=failed&reason=not_invited"
    assert not [one for one in answer.cookies if one.startswith("tokenyard_session")]


async def test_the_request_asks_for_a_code_with_a_challenge(yard: FakeYard) -> None:
    address, _ = await begin(yard)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["redirect_uri"].endswith(f"{WAY}/callback")
    other, _ = await begin(yard)
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name]) >= 43
        assert asked[name] not in other


async def test_only_the_browser_that_went_comes_back(yard: FakeYard) -> None:
    failed = "/?sign_in=failed&reason=sign_in_failed"
    address, cookie = await begin(yard)
    back = agree(address, "ann")
    _, others = await begin(yard)
    for carried in ("", others, "tokenyard_journey=nonsense"):
        answer = await come_back(yard, back, carried)
        assert answer.headers["location"] == failed
    for changed in ("state", "code"):
        parts = urlsplit(back)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        query[changed] = "another"
        wrong = parts._replace(query=urlencode(query)).geturl()
        assert (await come_back(yard, wrong, cookie)).headers["location"].startswith("/?sign_in")
    assert (await come_back(yard, back, cookie)).headers["location"] == "/"
    # A code is good for one sign-in.
    assert (await come_back(yard, back, cookie)).headers["location"] != "/"


async def test_a_provider_that_is_not_there_is_told(yard: FakeYard) -> None:
    assert (await yard.stranger.call("GET", "/api/sign-in/openid/no")).status == 404
    answer = await come_back(yard, f"http://yard.test{WAY}/callback?error=access_denied", "")
    assert answer.headers["location"] == "/?sign_in=failed&reason=sign_in_failed"
