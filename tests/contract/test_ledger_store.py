"""The contract of `ledger.ports.LedgerStore`, over every store that keeps it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from contract.conftest import Store
from contract.samples import AT, ME, MINE, THEIRS, YOU, usage_row
from tokenyard.ledger.ports import GroupBy, LedgerStore
from tokenyard.ledger.records import (
    ANYBODY,
    Balance,
    Budget,
    Cap,
    Dimension,
    Reservation,
    Scope,
    Subject,
    UsageQuery,
    UsageTotal,
)
from tokenyard.ledger.rules.pricing import Rates
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import BudgetId, KeyId, ModelName, ReservationId
from tokenyard.vocabulary.money import Money

DAY = 86_400.0
MIDNIGHT = 20_000 * DAY  # 2024-10-04


@pytest.fixture
def ledger(store: Store) -> LedgerStore:
    return store.ledger


async def totals(
    ledger: LedgerStore, by: GroupBy, since: float = 0, until: float = 2 * AT
) -> list[tuple[str, int, int]]:
    found = await ledger.total_usage(MINE, since=since, until=until, group_by=by)
    return [(total.group, total.requests, total.cost.nanos) for total in found]


async def test_a_row_is_stored_once(ledger: LedgerStore) -> None:
    assert await ledger.add_usage(usage_row("a"))
    assert not await ledger.add_usage(usage_row("a", cost=Money(1)))
    assert await ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL) == [
        UsageTotal("tiny", 1, Usage(10, 20, cached_tokens=3, reasoning_tokens=4), Money(2**53 + 1))
    ]


async def test_of_many_who_bill_the_same_answer_one_does(ledger: LedgerStore) -> None:
    """Every row of fifty comes four times, all two hundred at once."""
    names = [f"row_{number % 50}" for number in range(200)]
    stored = await asyncio.gather(
        *(ledger.add_usage(usage_row(name, cost=Money(1))) for name in names)
    )
    assert stored.count(True) == 50
    assert {name for name, new in zip(names, stored, strict=True) if new} == set(names)
    assert await totals(ledger, GroupBy.MODEL) == [("tiny", 50, 50)]


async def test_sums_are_exact_beyond_the_precision_of_floats(ledger: LedgerStore) -> None:
    await asyncio.gather(*(ledger.add_usage(usage_row(f"row_{n}")) for n in range(7)))
    assert await totals(ledger, GroupBy.MODEL) == [("tiny", 7, 7 * (2**53 + 1))]
    held = await ledger.balances([(Scope.PROJECT, MINE)], at=AT + 5, currency="USD")
    assert held == {(Scope.PROJECT, MINE): Balance(7 * (2**53 + 1), 0)}


async def test_the_span_holds_its_start_and_not_its_end(ledger: LedgerStore) -> None:
    for place, at in enumerate((99.0, 100.0, 150.5, 200.0)):
        await ledger.add_usage(usage_row(f"row_{place}", at=at, cost=Money(10**place)))
    assert await totals(ledger, GroupBy.MODEL, 100.0, 200.0) == [("tiny", 2, 110)]
    assert await totals(ledger, GroupBy.DAY, 300.0, 400.0) == []


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (GroupBy.MODEL, [("big", 1, 1000), ("tiny", 3, 111)]),
        (GroupBy.KEY, [("", 1, 10), ("key_1", 2, 1001), ("key_2", 1, 100)]),
        (GroupBy.USER, [("user_me", 3, 1110), ("user_you", 1, 1)]),
        (GroupBy.DAY, [("2024-10-03", 1, 1), ("2024-10-04", 2, 110), ("2024-10-05", 1, 1000)]),
    ],
)
async def test_groups(
    ledger: LedgerStore, by: GroupBy, expected: list[tuple[str, int, int]]
) -> None:
    rows: list[dict[str, Any]] = [
        {"at": MIDNIGHT - 0.001, "user": YOU},
        {"at": MIDNIGHT, "key": None},
        {"at": MIDNIGHT + DAY - 0.001, "key": KeyId("key_2")},
        {"at": MIDNIGHT + DAY, "model": ModelName("big")},
    ]
    for place, changes in enumerate(rows):
        await ledger.add_usage(usage_row(f"row_{place}", cost=Money(10**place), **changes))
    await ledger.add_usage(usage_row("theirs", project=THEIRS, at=MIDNIGHT))
    assert await totals(ledger, by) == expected


async def test_projects_are_apart(ledger: LedgerStore) -> None:
    await ledger.add_usage(usage_row("a", cost=Money(1)))
    await ledger.add_usage(usage_row("b", cost=Money(10), project=THEIRS))
    assert await totals(ledger, GroupBy.MODEL) == [("tiny", 1, 1)]
    subjects = [(Scope.PROJECT, MINE), (Scope.PROJECT, THEIRS)]
    held = await ledger.balances(subjects, at=AT + 5, currency="USD")
    assert [held[one].spent_nanos for one in subjects] == [1, 10]


async def test_currencies_are_never_summed(ledger: LedgerStore) -> None:
    await ledger.add_usage(usage_row("a", cost=Money(1, "USD")))
    await ledger.add_usage(usage_row("b", cost=Money(10, "EUR")))
    await ledger.add_usage(usage_row("c", cost=Money(100, "EUR")))
    found = await ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL)
    assert [total.cost for total in found] == [Money(110, "EUR"), Money(1, "USD")]


PROJECT: Subject = (Scope.PROJECT, MINE)


def reservation(number: int, nanos: int, **changes: Any) -> Reservation:
    made = Reservation(
        id=ReservationId(f"rsv_{number}"),
        at=AT,
        user=ME,
        project=MINE,
        key=KeyId("key_1"),
        model=ModelName("tiny"),
        rates=Rates(1, 1, 1),
        worst_cost=Money(nanos),
        holder="hold_1",
    )
    return replace(made, **changes)


def never(error: Exception) -> None:
    raise AssertionError(error)


async def balance(ledger: LedgerStore, subject: Subject = PROJECT) -> tuple[int, int]:
    held = (await ledger.balances([subject], at=AT, currency="USD"))[subject]
    return held.spent_nanos, held.reserved_nanos


async def test_a_bill_frees_what_was_reserved_for_it(ledger: LedgerStore) -> None:
    ledger.post_reservation(reservation(1, 100), never)
    bill = usage_row("a", cost=Money(30), reservation=ReservationId("rsv_1"))
    assert await ledger.add_usage(bill)
    for scope, subject in bill.subjects():
        assert await balance(ledger, (scope, subject)) == (30, 0)
    ledger.post_release(ReservationId("rsv_1"), AT, never)
    assert not await ledger.add_usage(bill)
    assert await balance(ledger) == (30, 0)
    assert await ledger.check(limit=9) == []


async def test_a_reservation_ends_once(ledger: LedgerStore) -> None:
    ledger.post_reservation(reservation(1, 100), never)
    ledger.post_reservation(reservation(2, 7), never)
    for _ in range(3):
        ledger.post_release(ReservationId("rsv_1"), AT + 1, never)
    await ledger.hold("other", AT + 9)
    assert await balance(ledger) == (0, 7)
    assert await ledger.check(limit=9) == []


async def test_no_cap_is_passed_however_many_ask_at_once(ledger: LedgerStore) -> None:
    caps = [Cap(Scope.PROJECT, MINE, 1000), Cap(Scope.KEY, "key_1", 600)]
    reached = await asyncio.gather(
        *(ledger.reserve(reservation(number, 50), caps) for number in range(40))
    )
    admitted = [number for number, found in enumerate(reached) if found is None]
    assert len(admitted) == 12
    assert {found.cap for found in reached if found is not None} == {caps[1]}
    assert await balance(ledger) == (0, 600)
    for number in admitted:
        bill = usage_row(
            f"a{number}", at=AT, cost=Money(5), reservation=ReservationId(f"rsv_{number}")
        )
        assert await ledger.add_usage(bill)
    assert await balance(ledger, (Scope.KEY, "key_1")) == (60, 0)
    assert await ledger.reserve(reservation(99, 540), caps) is None
    assert await ledger.reserve(reservation(100, 1), caps) is not None
    assert await ledger.check(limit=9) == []


async def test_a_lost_process_gives_back_and_a_living_one_keeps(ledger: LedgerStore) -> None:
    ledger.post_reservation(reservation(1, 100, work="resp_1"), never)
    ledger.post_reservation(reservation(2, 10, holder="hold_2"), never)
    ledger.post_reservation(reservation(3, 1, holder="hold_never_heard_of"), never)
    await ledger.hold("hold_1", AT + 30)
    await ledger.hold("hold_2", AT + 10)
    assert await ledger.release_abandoned(AT + 5, limit=10) == 1
    assert await balance(ledger) == (0, 110)
    assert await ledger.release_abandoned(AT + 10, limit=10) == 1
    assert await balance(ledger) == (0, 100)
    assert await ledger.find_reservation("resp_1") == ("rsv_1", "hold_1", 100)
    await ledger.hold("hold_3", AT + 99)
    assert await ledger.take_over(ReservationId("rsv_1"), "hold_3")
    assert await ledger.release_abandoned(AT + 60, limit=10) == 0
    assert await ledger.release_abandoned(AT + 99, limit=10) == 1
    assert not await ledger.take_over(ReservationId("rsv_1"), "hold_3")
    assert await ledger.find_reservation("resp_1") is None
    assert await ledger.check(limit=9) == []


async def test_a_correction_is_entered_once(ledger: LedgerStore) -> None:
    await ledger.add_usage(usage_row("a", cost=Money(30)))
    assert await ledger.adjust("a", "adj_1", -10, AT, "said twice")
    assert not await ledger.adjust("a", "adj_1", -10, AT, "said twice")
    assert not await ledger.adjust("b", "adj_2", -10, AT, "")
    assert await balance(ledger) == (20, 0)
    assert await ledger.check(limit=9) == []


async def test_usage_in_buckets(ledger: LedgerStore) -> None:
    day = int(MIDNIGHT)
    rows: list[dict[str, Any]] = [
        {"at": MIDNIGHT - 1},
        {"at": MIDNIGHT, "job": "job_1", "gpu_millis": 1500, "saved_nanos": 4},
        {"at": MIDNIGHT + 59, "key": None},
        {"at": MIDNIGHT + 3600, "model": ModelName("big")},
        {"at": MIDNIGHT + 3601, "project": THEIRS},
    ]
    for place, changes in enumerate(rows):
        await ledger.add_usage(usage_row(f"row_{place}", cost=Money(10**place), **changes))

    async def ask(minutes: int, *by: Dimension, **only: tuple[str, ...]) -> list[Any]:
        wanted = {Dimension(name): values for name, values in only.items()}
        query = UsageQuery(MIDNIGHT, MIDNIGHT + 7200, minutes, by, wanted)
        return [
            ((bucket.start - day) // 60, *bucket.group, bucket.requests, bucket.cost.nanos)
            for bucket in await ledger.usage_buckets(query, limit=100)
        ]

    assert await ask(1440) == [(0, 4, 11110)]
    assert await ask(60) == [(0, 2, 110), (60, 2, 11000)]
    assert await ask(1, Dimension.MODEL) == [
        (0, "tiny", 2, 110), (60, "big", 1, 1000), (60, "tiny", 1, 10000),
    ]  # fmt: skip
    assert await ask(60, project_id=(THEIRS,)) == [(60, 1, 10000)]
    assert await ask(60, Dimension.JOB, job_id=("job_1",)) == [(0, "job_1", 1, 10)]
    query = UsageQuery(MIDNIGHT, MIDNIGHT + 60, 1, (Dimension.KEY,), {})
    keys = {bucket.group: bucket for bucket in await ledger.usage_buckets(query, limit=2)}
    assert set(keys) == {("key_1",), (None,)}
    assert (keys["key_1",].gpu_millis, keys["key_1",].saved_nanos) == (1500, 4)
    with pytest.raises(InvalidRequest, match="more than 1 rows"):
        await ledger.usage_buckets(query, limit=1)


async def test_budgets_replace_each_other(ledger: LedgerStore) -> None:
    one = Budget(BudgetId("b1"), Scope.PROJECT, MINE, 5, 10, "https://example.test/warn")
    await ledger.put_budget(one)
    await ledger.put_budget(Budget(BudgetId("b2"), Scope.KEY, ANYBODY, None, 2**53 + 1))
    two = replace(one, id=BudgetId("b3"), soft_nanos=None)
    await ledger.put_budget(two)
    assert [budget.id for budget in await ledger.list_budgets()] == ["b2", "b3"]
    assert (await ledger.list_budgets())[1] == two
    assert not await ledger.delete_budget(one.id)
    assert await ledger.delete_budget(two.id)


async def test_of_many_who_would_warn_one_does(ledger: LedgerStore) -> None:
    told = await asyncio.gather(*(ledger.note_warning("b/p/1", AT) for _ in range(8)))
    assert told.count(True) == 1
