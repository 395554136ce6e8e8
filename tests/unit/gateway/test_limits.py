"""Limits: the arithmetic, which of them hold for whom, and what a denial tells."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.limits import GuardedLimits, LimitBook, MemoryLimits, subjects_of
from tokenyard.gateway.rules.limits import DAY_SECONDS, Bucket, Denied, Taken, settle, take
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.settings import Settings
from tokenyard.storage.memory_limits import MemoryLimitDefinitions
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import Unavailable
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION, DEFAULT_USER, Principal
from tokenyard.vocabulary.ids import KeyId, LimitId, OrganisationId, ProjectId
from tokenyard.vocabulary.limits import (
    EACH,
    Demand,
    Grant,
    Level,
    Limit,
    Measure,
    Refusal,
    Window,
)
from tokenyard.vocabulary.reasons import Reason

CALLER = Principal(DEFAULT_USER, ProjectId("proj_a"), KeyId("key_a"))
PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
LIMITS = "/api/organisation/limits"

about: Any = pytest.approx


def limit(amount: int, window: Window = Window.MINUTE, burst: int = 0, **changes: Any) -> Limit:
    measure = Measure.STREAMS if window is Window.NOW else Measure.REQUESTS
    return Limit(
        changes.pop("level", Level.KEY),
        changes.pop("subject", EACH),
        changes.pop("measure", measure),
        window,
        amount,
        burst,
        **changes,
    )


def ask(bucket: Bucket, one: Limit, amount: int, now: float) -> Taken | Denied:
    return take(bucket, one, amount, now, place="p", until=now + 60)


@given(
    st.integers(1, 1000),
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 30, allow_nan=False), st.integers(0, 9)), max_size=60),
)
def test_no_span_admits_more_than_the_limit(
    amount: int, burst: int, arrivals: list[tuple[float, int]]
) -> None:
    one, bucket, now = limit(amount, burst=burst), Bucket(), 1e9
    admitted: list[tuple[float, int]] = []
    for gap, wanted in arrivals:
        now += gap
        told = ask(bucket, one, wanted, now)
        if isinstance(told, Taken):
            bucket = told.bucket
            admitted.append((now, wanted))
            assert 0 <= told.grant.remaining <= burst - wanted
        elif told.wait_seconds is None:
            assert wanted > burst
        else:
            assert isinstance(ask(bucket, one, wanted, now + told.wait_seconds + 1e-5), Taken)
    for first in range(len(admitted)):
        taken = 0
        for at, wanted in admitted[first:]:
            taken += wanted
            assert taken <= burst + (at - admitted[first][0]) * amount / 60 + 1e-2


@given(st.integers(1, 500), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 120))))
def test_what_is_settled_is_as_if_it_had_been_known_before(
    amount: int, calls: list[tuple[int, int]]
) -> None:
    """Estimates that are corrected at once leave the bucket where the true counts would have."""
    one, bucket, truth, now = limit(amount), Bucket(), 0.0, 1e9
    for estimate, true in calls:
        told = ask(bucket, one, estimate, now)
        if isinstance(told, Taken):
            bucket = settle(told.bucket, one, true - estimate, now, place="p")
            truth += true
    assert max(bucket.arrival_time - now, 0) == pytest.approx(truth * 60 / amount, abs=1e-4)


def test_a_full_burst_comes_at_once_and_not_one_more() -> None:
    one, bucket = limit(7, burst=13), Bucket()
    for _ in range(13):
        told = ask(bucket, one, 1, 1e9)
        assert isinstance(told, Taken)
        bucket = told.bucket
    denied = ask(bucket, one, 1, 1e9)
    assert isinstance(denied, Denied)
    assert denied.wait_seconds == pytest.approx(60 / 7, abs=1e-5)


@given(st.integers(1, 100), st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 30))))
def test_no_day_has_more_than_its_limit(amount: int, arrivals: list[tuple[int, int]]) -> None:
    one, bucket, now = limit(amount, Window.DAY), Bucket(), 19_000 * DAY_SECONDS
    days: dict[int, int] = {}
    for gap, wanted in arrivals:
        now += gap
        day = int(now // DAY_SECONDS)
        told = ask(bucket, one, wanted, now)
        if isinstance(told, Taken):
            bucket = told.bucket
            days[day] = days.get(day, 0) + wanted
            assert told.grant.remaining == amount - days[day]
        elif told.wait_seconds is not None:
            assert days.get(day, 0) + wanted > amount
            assert int((now + told.wait_seconds) // DAY_SECONDS) == day + 1
    assert all(used <= amount for used in days.values())


def test_a_place_that_nobody_gives_back_ends_by_itself() -> None:
    one = limit(1, Window.NOW)
    first = take(Bucket(), one, 1, 100.0, place="a", until=160.0)
    assert isinstance(first, Taken)
    assert isinstance(take(first.bucket, one, 1, 159.9, place="b", until=200.0), Denied)
    assert isinstance(take(first.bucket, one, 1, 160.0, place="b", until=200.0), Taken)
    given_back = settle(first.bucket, one, 0, 110.0, place="a")
    assert isinstance(take(given_back, one, 1, 110.0, place="b", until=200.0), Taken)


async def test_all_limits_or_none() -> None:
    store = MemoryLimits()
    demands = [Demand(limit(5), "a", 1), Demand(limit(2), "b", 1)]
    for _ in range(2):
        told = await store.take(demands, place="p", now=1e9, until=2e9)
        assert isinstance(told, list)
    refused = await store.take(demands, place="p", now=1e9, until=2e9)
    assert refused == Refusal(1, about(30.0), 0)
    (left,) = await store.take(demands[:1], place="p", now=1e9, until=2e9)  # type: ignore[misc]
    assert left == Grant(2, about(36.0))


async def make_book(*stored: Limit, **settings: Any) -> LimitBook:
    definitions = MemoryLimitDefinitions()
    for one in stored:
        await definitions.put_limit(one)
    clock = SimulatedClock()
    book = LimitBook(
        LimitSettings(**settings), definitions, clock=clock, log=Log(io.StringIO(), clock)
    )
    await book.read()
    return book


async def test_the_own_limit_stands_before_the_one_for_each() -> None:
    book = await make_book(
        limit(10, subject="key_a", id=LimitId("1"), organisation=DEFAULT_ORGANISATION),
        limit(20, id=LimitId("2"), organisation=DEFAULT_ORGANISATION),
        limit(30, subject="key_a", id=LimitId("3"), organisation=OrganisationId("org_other")),
        limit(40, level=Level.MODEL, subject="big", id=LimitId("4")),
        limit(50, level=Level.SYSTEM, id=LimitId("5")),
    )
    mine = book.find(DEFAULT_ORGANISATION, subjects_of(CALLER, "big"))
    assert [(one.name, one.subject, one.amount) for one in mine] == [
        ("key.requests.minute", "key_a", 10),
        ("key.streams.now", "key_a", 32),
        ("model.requests.minute", "big", 40),
        ("system.requests.minute", "*", 50),
    ]
    other = Principal(DEFAULT_USER, ProjectId("proj_a"), KeyId("key_b"))
    found = book.find(DEFAULT_ORGANISATION, subjects_of(other, "small"))
    assert [(one.name, one.amount) for one in found] == [
        ("key.requests.minute", 20),
        ("key.streams.now", 32),
        ("system.requests.minute", 50),
    ]


class Flaky(MemoryLimits):
    """A shared store that can be away."""

    away = False
    asked = 0

    async def take(
        self, demands: Any, *, place: str, now: float, until: float
    ) -> list[Grant] | Refusal:
        self.asked += 1
        if self.away:
            raise Unavailable("away", reason=Reason.STORAGE_UNAVAILABLE)
        return await super().take(demands, place=place, now=now, until=until)


async def test_while_the_counts_are_away_each_limit_keeps_its_own_rule() -> None:
    shared, clock, metrics = Flaky(), SimulatedClock(), GatewayMetrics()
    guarded = GuardedLimits(
        shared,
        LimitSettings(store_retry_seconds=1.0),
        clock=clock,
        metrics=metrics,
        log=Log(io.StringIO(), clock),
    )

    async def go(closed: bool) -> list[Grant] | Refusal:
        demands = [Demand(limit(60, burst=2, closed=closed), "a", 1)]
        return await guarded.take(demands, place="p", now=clock.now(), until=clock.now() + 60)

    assert isinstance(await go(closed=True), list)
    shared.away = True
    with pytest.raises(Unavailable) as refused:
        await go(closed=True)
    assert refused.value.reason is Reason.LIMITS_UNAVAILABLE
    assert "key.requests.minute" in refused.value.message
    # Open: each process still counts by itself, and no request waits for the store.
    assert isinstance(await go(closed=False), list)
    assert isinstance(await go(closed=False), list)
    assert isinstance(await go(closed=False), Refusal)
    assert shared.asked == 2
    text = metrics.render()
    assert b"limit_store_up 0.0" in text
    assert b'limit_store_decisions_total{rule="closed"} 1.0' in text
    assert b'limit_store_decisions_total{rule="open"} 3.0' in text
    shared.away = False
    await clock.advance(1.0)
    assert isinstance(await go(closed=True), list)
    assert b"limit_store_up 1.0" in metrics.render()


async def test_tokens_are_taken_before_and_settled_after() -> None:
    settings = Settings(
        limits=LimitSettings(input_tokens_per_minute=1000, output_tokens_per_minute=100)
    )
    async with open_fake_yard(settings) as yard:
        # 90 of 100 are set aside, 4 were generated.
        first = await yard.client.call("POST", PATH, json_body={**ASK, "max_tokens": 90})
        assert first.headers["x-ratelimit-remaining-tokens"] == "10"
        second = await yard.client.call("POST", PATH, json_body={**ASK, "max_tokens": 90})
        assert second.headers["x-ratelimit-remaining-tokens"] == "6"
        denied = await yard.client.call("POST", PATH, json_body={**ASK, "max_tokens": 95})
        assert (denied.status, denied.error["code"]) == (429, "rate_limit_output_tokens")
        assert "key.output_tokens.minute" in denied.error["message"]
        assert denied.headers["x-ratelimit-remaining-tokens"] == "92"
        assert denied.headers["retry-after"] == "2"
        never = await yard.client.call("POST", PATH, json_body={**ASK, "max_tokens": 101})
        assert "never fits" in never.error["message"]
        assert "retry-after" not in never.headers
        assert b'limit_denials_total{limit="key.output_tokens.minute"} 2.0' in yard.metrics.render()


@pytest.mark.parametrize("level", ["key", "user", "project", "organisation", "model", "system"])
async def test_every_level_has_its_limits(level: str, yard: FakeYard) -> None:
    made = await yard.client.call(
        "POST",
        LIMITS,
        json_body={"level": level, "measure": "requests", "window": "day", "amount": 2},
    )
    assert made.json()["name"] == f"{level}.requests.day"
    for _ in range(2):
        assert (await yard.client.call("POST", PATH, json_body=ASK)).status == 200
    denied = await yard.client.call("POST", PATH, json_body=ASK)
    assert (denied.status, denied.error["code"]) == (429, "rate_limit_requests")
    assert f"{level}.requests.day" in denied.error["message"]
    assert int(denied.headers["retry-after"]) <= 86_400
    listed = (await yard.client.call("GET", LIMITS)).json()["data"]
    assert made.json() in listed
    assert (await yard.client.call("DELETE", f"{LIMITS}/{made.json()['id']}")).status == 200
    assert (await yard.client.call("POST", PATH, json_body=ASK)).status == 200


async def test_spend_is_a_limit_too(yard: FakeYard) -> None:
    body = {"level": "project", "measure": "spend", "window": "day", "amount": 1}
    await yard.client.call("POST", LIMITS, json_body=body)
    # What costs nothing at the prices of this yard is settled as nothing.
    for _ in range(3):
        assert (await yard.client.call("POST", PATH, json_body=ASK)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"level": "key", "measure": "streams", "window": "minute", "amount": 1},
        {"level": "key", "measure": "requests", "window": "now", "amount": 1},
        {"level": "key", "measure": "requests", "window": "day", "amount": 1, "burst": 1},
        {"level": "key", "measure": "requests", "window": "day", "amount": 0},
        {"level": "system", "measure": "requests", "window": "day", "amount": 1, "subject": "x"},
    ],
)
async def test_a_limit_that_makes_no_sense_is_refused(yard: FakeYard, body: dict[str, Any]) -> None:
    assert (await yard.client.call("POST", LIMITS, json_body=body)).status == 400


def test_places_that_end_by_themselves_do_so_one_by_one() -> None:
    one, bucket = limit(3, Window.NOW), Bucket()
    for place, until in (("a", 160.0), ("b", 130.0), ("c", 190.0)):
        told = take(bucket, one, 1, 100.0, place=place, until=until)
        assert isinstance(told, Taken)
        bucket = told.bucket
    assert isinstance(take(bucket, one, 1, 129.9, place="d", until=200.0), Denied)
    # The first end is that of a place that was given back; the others still hold theirs.
    bucket = settle(bucket, one, 0, 110.0, place="b")
    told = take(bucket, one, 1, 131.0, place="d", until=200.0)
    assert isinstance(told, Taken)
    assert told.bucket.places == {"a": 160.0, "c": 190.0, "d": 200.0}
    assert isinstance(take(told.bucket, one, 1, 159.0, place="e", until=300.0), Denied)
    later = take(told.bucket, one, 1, 160.0, place="e", until=300.0)
    assert isinstance(later, Taken)
    assert later.bucket.places == {"c": 190.0, "d": 200.0, "e": 300.0}
