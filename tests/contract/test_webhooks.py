"""Warnings of budgets at a real receiver: what it gets, how it knows us, and where nothing goes."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from support.yards import FakeYard, open_fake_yard
from tokenyard.gateway.server import bind, serve
from tokenyard.ledger.budgets import BudgetWarning
from tokenyard.ledger.records import Scope
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.runtime.settings import GatewaySettings, Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.upstreams.webhooks import Webhooks, read_secret
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION, DEFAULT_PROJECT

SECRET = b"s" * 24


@dataclass
class Receiver:
    """Answers with these statuses in turn, then with 204; keeps what it got."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def app(self) -> Starlette:
        async def take(request: Request) -> Response:
            headers = dict(request.headers)
            self.got.append((request.url.path, headers, await request.body()))
            status = self.statuses.pop(0) if self.statuses else 204
            return Response(status_code=status, headers={"location": f"{self.url}/elsewhere"})

        return Starlette(routes=[Route("/hook", take, methods=["POST"]), Route("/elsewhere", take)])


@dataclass
class Bench:
    """A sender and its receiver."""

    receiver: Receiver
    sender: Webhooks
    clock: SimulatedClock
    lines: StringIO
    tasks: TaskSupervisor

    async def wait_for(self, count: int) -> None:
        """Let time pass until that many have come, or nothing is on its way any more."""
        for _ in range(200):
            if len(self.receiver.got) >= count:
                return
            await self.clock.advance(1.0)
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.receiver.got)} of {count} came")


@asynccontextmanager
async def bench(
    *, statuses: tuple[int, ...] = (), hosts: tuple[str, ...] | None = None, attempts_max: int = 5
) -> AsyncIterator[Bench]:
    receiver, clock, lines = Receiver([*statuses]), SimulatedClock(), StringIO()
    settings = GatewaySettings(port=0)
    async with (
        TaskSupervisor(lambda *_: None) as tasks,
        serve(receiver.app(), bind(settings), settings, tasks) as serving,
    ):
        receiver.url = serving.url
        allowed = (urlsplit(serving.url).netloc,) if hosts is None else hosts
        sender = Webhooks(
            LedgerSettings(webhook_hosts=allowed, webhook_attempts_max=attempts_max),
            tasks=tasks,
            clock=clock,
            log=Log(lines, clock),
            secret=SECRET,
        )
        try:
            yield Bench(receiver, sender, clock, lines, tasks)
        finally:
            await sender.close()


async def test_a_warning_is_sent_until_it_is_taken_and_is_signed_each_time() -> None:
    async with bench(statuses=(500, 503)) as made:
        await made.sender.post(f"{made.receiver.url}/hook", "warning_1", b'{"a":1}')
        await made.wait_for(3)
        for _ in range(20):
            await made.clock.advance(10.0)
    assert len(made.receiver.got) == 3
    times = []
    for path, headers, body in made.receiver.got:
        assert (path, body) == ("/hook", b'{"a":1}')
        name, at = headers["webhook-id"], headers["webhook-timestamp"]
        assert name == headers["idempotency-key"] == "warning_1"
        signed = hmac.new(SECRET, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
        times.append(int(at))
    assert times[1] - times[0] >= 1
    assert times[2] - times[1] >= 2
    assert "webhook.failed" not in made.lines.getvalue()


async def test_a_receiver_that_never_takes_it_is_given_up() -> None:
    async with bench(statuses=(500,) * 9, attempts_max=2) as made:
        await made.sender.post(f"{made.receiver.url}/hook", "warning_1", b"{}")
        await made.wait_for(2)
        for _ in range(50):
            await made.clock.advance(10.0)
        assert len(made.receiver.got) == 2
        assert '"attempts": 2' in made.lines.getvalue() or '"attempts":2' in made.lines.getvalue()


async def test_a_redirect_is_no_way_out() -> None:
    async with bench(statuses=(302, 302), attempts_max=2) as made:
        await made.sender.post(f"{made.receiver.url}/hook", "warning_1", b"{}")
        await made.wait_for(2)
        await made.clock.advance(10.0)
        assert {path for path, _, _ in made.receiver.got} == {"/hook"}


async def test_an_address_that_is_not_allowed_any_more_gets_nothing() -> None:
    async with bench(hosts=("elsewhere.example",)) as made:
        await made.sender.post(f"{made.receiver.url}/hook", "warning_1", b"{}")
        for _ in range(20):
            await made.clock.advance(1.0)
        assert not made.receiver.got
        assert "webhook.failed" in made.lines.getvalue()


@pytest.mark.parametrize(
    ("text", "secret"),
    [("plain", b"plain"), ("whsec_" + base64.b64encode(b"abc").decode(), b"abc"), ("", b"")],
)
def test_a_secret_is_read_in_both_spellings(text: str, secret: bytes) -> None:
    assert read_secret(text) == secret


def test_a_broken_secret_is_named() -> None:
    with pytest.raises(ValueError, match="base64"):
        read_secret("whsec_!")


async def test_a_budget_that_is_passed_reaches_the_receiver_once() -> None:
    """From the answer that passes it to the notice, through the ledger of a gateway."""
    prices = (PriceSettings(model="*", input="1", cached_input="1", output="1"),)
    async with (
        bench() as made,
        open_fake_yard(Settings(ledger=LedgerSettings(prices=prices))) as yard,
    ):

        async def tell(warning: BudgetWarning) -> None:
            body = json.dumps(warning.notice()).encode()
            await made.sender.post(warning.budget.webhook, warning.id, body)

        await yard.ledger.budgets.put(
            DEFAULT_ORGANISATION,
            Scope.PROJECT,
            DEFAULT_PROJECT,
            soft_nanos=15_000,
            hard_nanos=None,
            webhook=f"{made.receiver.url}/hook",
        )
        await _answer(yard)
        await yard.ledger.budgets.warn(tell)
        assert not made.receiver.got
        for _ in range(2):
            await _answer(yard)
            await yard.ledger.budgets.warn(tell)
        await made.wait_for(1)
        for _ in range(20):
            await made.clock.advance(10.0)
    ((_, headers, body),) = made.receiver.got
    told = json.loads(body)
    assert told["type"] == "budget.soft_limit_reached"
    assert (told["scope"], told["subject"]) == ("project", DEFAULT_PROJECT)
    assert (told["spent_nanos"], told["soft_nanos"]) == (22_000, 15_000)
    assert headers["webhook-id"] == told["id"]


async def _answer(yard: FakeYard) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
    assert (await yard.client.call("POST", "/v1/chat/completions", json_body=body)).status == 200
