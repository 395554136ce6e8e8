"""Servers and routes that operators define: where they lie, and how their keys rest."""

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.runtime.routing_settings import RoutingSettings
from tokenyard.runtime.settings import Settings, UpstreamSettings
from tokenyard.upstreams.addresses import CheckedResolver, check_address, is_inside
from tokenyard.upstreams.sealing import Sealer
from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest

ALLOWED = ("models.test", "gpu.test:8000", "10.0.0.7", "[::1]:9000")
SETTINGS = Settings(upstreams=UpstreamSettings(routing=RoutingSettings(allowed_hosts=ALLOWED)))
SERVERS, ROUTES = "/api/upstreams", "/api/model-routes"
SERVER = {"name": "far", "url": "https://models.test/v1", "models": ["big"], "api_key": "sk-x"}


@pytest.mark.parametrize(
    "url",
    [
        "https://models.test", "http://models.test:1/base", "http://gpu.test:8000",
        "http://10.0.0.7:9", "http://[::1]:9000/",
    ],
)  # fmt: skip
def test_an_address_that_the_operator_allows(url: str) -> None:
    check_address(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data", "http://127.0.0.1:6379", "http://gpu.test",
        "http://gpu.test:8001", "http://models.test.evil.test", "http://models.test@evil.test",
        "http://evil.test#models.test", "http://evil.test\\@models.test", "file:///etc/passwd",
        "gopher://models.test", "http://models.test/?to=evil", "//models.test", "http://",
        "http://models.test:99999", "http://[::1]:9001", "http://evil.test/models.test",
    ],
)  # fmt: skip
def test_an_address_that_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        check_address(url, ALLOWED)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", True), ("::1", True), ("169.254.169.254", True), ("fe80::1%eth0", True),
        ("0.0.0.0", True), ("::ffff:127.0.0.1", True), ("224.0.0.1", True), ("nonsense", True),
        ("8.8.8.8", False), ("10.0.0.7", False), ("2606:4700::1", False),
    ],
)  # fmt: skip
def test_what_is_inside(address: str, inside: bool) -> None:
    assert is_inside(address) is inside


class Names(AbstractResolver):
    """Names that mean what the test says."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=self.address, port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def test_a_name_that_comes_to_mean_this_machine_is_refused() -> None:
    names = Names("8.8.8.8")
    resolver = CheckedResolver(ALLOWED, names)
    assert (await resolver.resolve("models.test"))[0]["host"] == "8.8.8.8"
    names.address = "169.254.169.254"
    with pytest.raises(OSError, match="not allowed"):
        await resolver.resolve("models.test")


def test_a_key_rests_sealed_under_its_own_name() -> None:
    sealer = Sealer(b"a" * 32, SeededRandomness(1))
    sealed = sealer.seal("far", "sk-secret")
    assert b"secret" not in sealed
    assert sealed != sealer.seal("far", "sk-secret")
    assert sealer.open("far", sealed) == "sk-secret"
    for other, name, told in (
        (Sealer(b"b" * 32, SeededRandomness(1)), "far", sealed),
        (sealer, "near", sealed),
        (sealer, "far", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (sealer, "far", b""),
    ):
        with pytest.raises(InternalFailure):
            other.open(name, told)


async def test_a_server_is_added_changed_and_taken_away() -> None:
    async with open_fake_yard(SETTINGS) as yard:
        made = await yard.client.call("POST", SERVERS, json_body=SERVER)
        assert made.status == 200
        assert (made.json()["origin"], made.json()["has_key"]) == ("api", True)
        assert "sk-x" not in made.body.decode()
        (stored,) = await yard.store.servers.list_servers()
        assert b"sk-x" not in (stored.sealed_key or b"")
        await yard.clock.advance(1)
        listed = (await yard.client.call("GET", SERVERS)).json()["data"]
        assert [(one["name"], one["origin"], one["health"]) for one in listed] == [
            ("far", "api", "ready"), ("one", "engine", "ready"),
        ]  # fmt: skip
        ask = {"model": "big", "messages": [{"role": "user", "content": "Hi"}]}
        assert (await yard.client.call("POST", "/v1/chat/completions", json_body=ask)).status == 200
        # What a change leaves out stays, such as the models that it is to offer.
        same = {name: value for name, value in SERVER.items() if name != "models"}
        tagged = await yard.client.call("POST", SERVERS, json_body={**same, "tags": ["eu"]})
        assert (tagged.json()["models"], tagged.json()["tags"]) == (SERVER["models"], ["eu"])
        # Elsewhere its key is not sent along.
        moved = {**SERVER, "url": "http://gpu.test:8000"}
        del moved["api_key"]
        assert not (await yard.client.call("POST", SERVERS, json_body=moved)).json()["has_key"]
        off = await yard.client.call("POST", SERVERS, json_body={**moved, "disabled": True})
        assert off.json()["health"] == "disabled"
        gone = await yard.client.call("POST", "/v1/chat/completions", json_body=ask)
        assert (gone.status, gone.error["code"]) == (404, "model_not_found")
        assert (await yard.client.call("DELETE", f"{SERVERS}/far")).status == 200
        assert (await yard.client.call("DELETE", f"{SERVERS}/far")).status == 404
        assert (await yard.client.call("DELETE", f"{SERVERS}/one")).status == 404


async def test_a_server_at_a_foreign_address_or_with_a_taken_name_is_refused() -> None:
    async with open_fake_yard(SETTINGS) as yard:
        for changes, status, param in (
            ({"url": "http://169.254.169.254"}, 400, "url"),
            ({"name": "one"}, 409, "name"),
            ({"name": "engine-0"}, 400, "name"),
        ):
            answer = await yard.client.call("POST", SERVERS, json_body={**SERVER, **changes})
            assert (answer.status, answer.error["param"]) == (status, param)


async def test_a_route_leads_to_a_model(yard: FakeYard) -> None:
    route = {
        "name": "chat",
        "targets": [{"model": MODEL, "weight": 1}],
        "fallbacks": [],
        "hedge_milliseconds": 250,
        "tags": [],
    }
    made = await yard.client.call("POST", ROUTES, json_body=route)
    assert made.json() == route
    assert (await yard.client.call("GET", ROUTES)).json()["data"] == [route]
    ask = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
    assert (await yard.client.call("POST", "/v1/chat/completions", json_body=ask)).status == 200
    assert b'"model":"scripted"' in yard.upstream.calls[-1].body
    assert (await yard.client.call("DELETE", f"{ROUTES}/chat")).status == 200
    assert (await yard.client.call("POST", "/v1/chat/completions", json_body=ask)).status == 404


@pytest.fixture
async def yard() -> object:
    async with open_fake_yard() as made:
        yield made
