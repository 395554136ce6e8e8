"""The contract of `ledger.ports.LedgerStore`, over every store that keeps it."""

import asyncio
from typing import Any

import pytest

from contract.conftest import Store
from contract.samples import AT, MINE, THEIRS, YOU, usage_row
from tokenyard.ledger.ports import GroupBy, LedgerStore
from tokenyard.ledger.records import UsageTotal
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import KeyId, ModelName
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
    spent = await ledger.spent_nanos(MINE, currency="USD", since=0, until=2 * AT)
    assert spent == 7 * (2**53 + 1)


async def test_the_span_holds_its_start_and_not_its_end(ledger: LedgerStore) -> None:
    for place, at in enumerate((99.0, 100.0, 150.5, 200.0)):
        await ledger.add_usage(usage_row(f"row_{place}", at=at, cost=Money(10**place)))
    assert await totals(ledger, GroupBy.MODEL, 100.0, 200.0) == [("tiny", 2, 110)]
    assert await ledger.spent_nanos(MINE, currency="USD", since=100.0, until=200.0) == 110
    assert await ledger.spent_by_project(currency="USD", since=100.0, until=200.0) == {MINE: 110}
    assert await ledger.spent_nanos(MINE, currency="USD", since=300.0, until=400.0) == 0
    assert await ledger.spent_by_project(currency="USD", since=300.0, until=400.0) == {}
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
    assert await ledger.spent_nanos(THEIRS, currency="USD", since=0, until=2 * AT) == 10
    spent = await ledger.spent_by_project(currency="USD", since=0, until=2 * AT)
    assert spent == {MINE: 1, THEIRS: 10}


async def test_currencies_are_never_summed(ledger: LedgerStore) -> None:
    await ledger.add_usage(usage_row("a", cost=Money(1, "USD")))
    await ledger.add_usage(usage_row("b", cost=Money(10, "EUR")))
    await ledger.add_usage(usage_row("c", cost=Money(100, "EUR")))
    found = await ledger.total_usage(MINE, since=0, until=2 * AT, group_by=GroupBy.MODEL)
    assert [total.cost for total in found] == [Money(110, "EUR"), Money(1, "USD")]
    assert await ledger.spent_nanos(MINE, currency="EUR", since=0, until=2 * AT) == 110
    assert await ledger.spent_by_project(currency="USD", since=0, until=2 * AT) == {MINE: 1}
