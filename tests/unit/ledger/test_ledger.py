"""The ledger over a store in memory, in virtual time."""

import asyncio
import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tokenyard.ledger.budgets import BudgetWarning
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.ports import GroupBy
from tokenyard.ledger.records import Reservation, Scope, UsageRow
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.ledger_settings import GpuPriceSettings, LedgerSettings, PriceSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.storage.memory import MemoryStore
from tokenyard.storage.memory_ledger import Books, MemoryLedgerStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import LimitReached, NotFound, Unavailable
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, DEFAULT_USER, Principal
from tokenyard.vocabulary.ids import KeyId, ModelName, ProjectId
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason

MODEL = ModelName("tiny")
CALLER = Principal(DEFAULT_USER, DEFAULT_PROJECT, KeyId("key_1"))
OTHER = Principal(DEFAULT_USER, ProjectId("proj_other"), KeyId("key_2"))
# One nano a token, so that amounts are easy to follow; the budget is 1,000 tokens.
PRICES = (PriceSettings(model="tiny", input="0.001", cached_input="0", output="0.001"),)
SETTINGS = LedgerSettings(prices=PRICES, monthly_budget="0.000001")
MONTH_END = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


class Bench:
    """A ledger with all that it stands on, an hour before a month ends."""

    def __init__(
        self,
        settings: LedgerSettings = SETTINGS,
        store: MemoryLedgerStore | None = None,
        seed: int = 1,
    ) -> None:
        self.clock = SimulatedClock(MONTH_END - 3600)
        self.store = store or MemoryStore().ledger
        self.lines = io.StringIO()
        self.metrics = GatewayMetrics()
        self.ledger = Ledger(
            self.store,
            settings,
            clock=self.clock,
            randomness=SeededRandomness(seed),
            log=Log(self.lines, self.clock),
            metrics=self.metrics,
        )

    async def reserve(self, tokens: int, caller: Principal = CALLER) -> Reservation:
        return await self.ledger.reserve(
            caller, MODEL, prompt_tokens=0, completion_tokens_max=tokens
        )

    async def settle(self, reservation: Reservation, tokens: int, id: str = "row") -> UsageRow:
        return await self.ledger.settle(
            reservation, id=id, usage=Usage(0, tokens), finish=FinishReason.STOP
        )

    async def room(self, caller: Principal = CALLER) -> int:
        """How many tokens are neither spent nor reserved, as a refusal tells it."""
        with pytest.raises(LimitReached) as refusal:
            await self.reserve(1_001, caller)
        return round(float(refusal.value.message.split("and ")[1].split(" ")[0]) * 1e9)


class BrokenStore(MemoryLedgerStore):
    """Takes no row while `broken`."""

    broken = True

    async def add_usage(self, row: UsageRow) -> bool:
        if self.broken:
            raise Unavailable("no disk")
        return await super().add_usage(row)


class SlowStore(MemoryLedgerStore):
    """Writes every row it was given, but only when told to, like a writer with a queue."""

    def __init__(self) -> None:
        super().__init__(Books())
        self.go = asyncio.Event()
        self.asked: list[UsageRow] = []

    async def add_usage(self, row: UsageRow) -> bool:
        self.asked.append(row)
        await self.go.wait()
        return await super().add_usage(row)


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.ledger.start()
    return made


async def test_the_bill_is_the_engine_count_and_not_the_estimate(bench: Bench) -> None:
    reservation = await bench.reserve(600)
    assert await bench.room() == 400
    row = await bench.settle(reservation, 25)
    assert row.cost == Money(25)
    assert (row.user, row.project, row.key) == (CALLER.user, CALLER.project, CALLER.key)
    assert row.at == bench.clock.now()
    assert await bench.room() == 975
    assert bench.ledger.open_reservations == 0
    assert await bench.ledger.statements.month_to_date(CALLER.project) == Money(25)


async def test_a_budget_denial_names_its_reason_and_when_it_ends(bench: Bench) -> None:
    await bench.reserve(600)
    with pytest.raises(LimitReached) as refusal:
        await bench.reserve(401)
    assert refusal.value.reason is Reason.INSUFFICIENT_BUDGET
    assert refusal.value.retry_after_seconds == 3600
    assert "0.0000004 USD" in refusal.value.message
    assert bench.ledger.open_reservations == 1
    await bench.reserve(400)


async def test_budgets_of_two_projects_are_apart(bench: Bench) -> None:
    await bench.reserve(1000)
    await bench.reserve(1000, OTHER)
    assert await bench.room() == 0
    assert await bench.room(OTHER) == 0


async def test_without_a_budget_nothing_is_denied() -> None:
    bench = Bench(LedgerSettings(prices=PRICES))
    await bench.ledger.start()
    for _ in range(10):
        await bench.reserve(10**12)
    assert bench.ledger.monthly_budget is None


async def test_a_reservation_dropped_twice_counts_once(bench: Bench) -> None:
    first, second = await bench.reserve(300), await bench.reserve(300)
    bench.ledger.release(first)
    bench.ledger.release(first)
    assert await bench.room() == 700
    await bench.settle(second, 100)
    bench.ledger.release(second)
    assert await bench.room() == 900


async def test_settling_the_same_id_twice_bills_once(bench: Bench) -> None:
    reservation = await bench.reserve(300)
    await bench.settle(reservation, 100)
    await bench.settle(reservation, 100)
    await bench.settle(await bench.reserve(300), 200)
    assert await bench.room() == 900
    # An id that two answers share would hide a bill, so it is told.
    assert bench.lines.getvalue().count("ledger.duplicate") == 2
    assert await bench.ledger.statements.month_to_date(CALLER.project) == Money(100)
    assert bench.metrics.registry.get_sample_value(
        "tokenyard_gateway_tokens_total", {"model": "tiny", "kind": "completion"}
    ) == 100  # fmt: skip


async def test_what_was_spent_before_the_start_counts() -> None:
    before = Bench()
    await before.ledger.start()
    await before.settle(await before.reserve(1000), 900)
    after = Bench(store=before.store)
    await after.ledger.start()
    assert await after.room() == 100


async def test_rows_of_another_currency_do_not_count_in_the_budget() -> None:
    before = Bench(LedgerSettings(prices=PRICES, currency="EUR"))
    await before.ledger.start()
    await before.settle(await before.reserve(900), 900)
    after = Bench(store=before.store)
    await after.ledger.start()
    assert await after.room() == 1000


async def test_a_new_month_starts_with_a_full_budget(bench: Bench) -> None:
    await bench.settle(await bench.reserve(900), 900)
    await bench.clock.advance(3599)
    assert await bench.room() == 100
    await bench.clock.advance(1)
    assert await bench.room() == 1000
    assert await bench.ledger.statements.month_to_date(CALLER.project) == Money(0)


async def test_a_generation_over_the_turn_of_the_month_stays_reserved_and_bills_the_new_one(
    bench: Bench,
) -> None:
    reservation = await bench.reserve(600)
    await bench.clock.advance(3600)
    assert await bench.room() == 400
    await bench.settle(reservation, 50)
    assert await bench.room() == 950


async def test_a_model_without_a_price_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound) as refusal:
        await bench.ledger.reserve(
            CALLER, ModelName("huge"), prompt_tokens=1, completion_tokens_max=1
        )  # fmt: skip
    assert refusal.value.reason is Reason.MODEL_NOT_FOUND
    assert bench.ledger.open_reservations == 0


async def test_a_free_model_is_served_when_the_budget_is_used_up() -> None:
    free = PriceSettings(model="free", input="0", cached_input="0", output="0")
    bench = Bench(LedgerSettings(prices=(*PRICES, free), monthly_budget="0"))
    await bench.ledger.start()
    with pytest.raises(LimitReached):
        await bench.reserve(1)
    await bench.ledger.reserve(CALLER, ModelName("free"), prompt_tokens=9, completion_tokens_max=9)


async def test_open_reservations_have_a_limit() -> None:
    bench = Bench(LedgerSettings(prices=PRICES, reservations_max=2))
    await bench.ledger.start()
    first = await bench.reserve(1)
    await bench.reserve(1)
    with pytest.raises(Unavailable):
        await bench.reserve(1)
    bench.ledger.release(first)
    await bench.reserve(1)


async def test_reserving_before_the_start_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="started"):
        await Bench().reserve(1)


async def test_a_bill_that_cannot_be_written_is_in_the_log_and_can_be_settled_again() -> None:
    store = BrokenStore(Books())
    bench = Bench(store=store)
    await bench.ledger.start()
    reservation = await bench.reserve(300)
    with pytest.raises(Unavailable):
        await bench.settle(reservation, 100)
    logged = json.loads(bench.lines.getvalue().splitlines()[-1])
    assert logged["event"] == "ledger.unwritten"
    assert (logged["id"], logged["completion_tokens"], logged["cost_nanos"]) == ("row", 100, 100)
    # Nothing is freed before the bill is written.
    assert await bench.room() == 700
    store.broken = False
    await bench.settle(reservation, 100)
    assert await bench.room() == 900


async def test_a_caller_cancelled_while_the_row_is_written_is_still_billed() -> None:
    store = SlowStore()
    bench = Bench(store=store)
    await bench.ledger.start()
    reservation = await bench.reserve(300)
    task = asyncio.get_running_loop().create_task(bench.settle(reservation, 100))
    await bench.clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [row.id for row in store.asked] == ["row"]
    store.go.set()
    await store.add_usage(store.asked.pop())
    assert await bench.room() == 900
    assert bench.ledger.open_reservations == 0


async def test_the_row_counts_against_the_budget_while_it_is_being_written() -> None:
    """Between release and commit no other request may take the money that is already owed."""
    store = SlowStore()
    bench = Bench(store=store)
    await bench.ledger.start()
    task = asyncio.get_running_loop().create_task(bench.settle(await bench.reserve(1000), 800))
    await bench.clock.settle()
    assert await bench.room() == 0
    store.go.set()
    await task
    assert await bench.room() == 200


async def test_a_store_call_that_writes_more_than_the_row_settles_the_same_way(
    bench: Bench,
) -> None:
    async def finish(row: UsageRow, answer: bool) -> bool:
        if answer:
            await bench.store.add_usage(row)
        return answer

    for answer, room in ((True, 900), (False, 900)):
        reservation = await bench.reserve(500)
        row = bench.ledger.bill(
            reservation, id=f"r{answer}", usage=Usage(0, 100), finish=FinishReason.ABORT
        )
        assert await bench.room() == (500 if answer else 400)
        assert await bench.ledger.settle_with(reservation, row, finish(row, answer)) is answer
        assert await bench.room() == room


async def test_totals_come_from_the_store(bench: Bench) -> None:
    await bench.settle(await bench.reserve(10), 10, "a")
    await bench.settle(await bench.reserve(20), 20, "b")
    (total,) = await bench.ledger.statements.totals(
        CALLER.project, since=0, until=MONTH_END, group_by=GroupBy.MODEL
    )
    assert (total.group, total.requests, total.cost) == ("tiny", 2, Money(30))


async def test_sums_in_memory_equal_the_store_after_any_course(bench: Bench) -> None:
    """Many generations that overlap and end in every way: memory and store agree to the nano."""
    held = [await bench.reserve(50) for _ in range(20)]
    for number, reservation in enumerate(held):
        if number % 3 == 0:
            bench.ledger.release(reservation)
        else:
            await bench.settle(reservation, number, f"row{number // 2}")
    spent = await bench.ledger.statements.month_to_date(CALLER.project)
    assert await bench.room() == 1000 - spent.nanos
    assert bench.ledger.open_reservations == 0


async def test_what_a_lost_process_reserved_comes_back() -> None:
    """The process dies between reserving and billing; another one finds that out."""
    lost = Bench()
    await lost.ledger.start()
    await lost.reserve(600)
    other = Bench(store=lost.store, seed=2)
    await other.ledger.start()
    assert await other.room() == 400
    await other.clock.advance(29)
    await other.ledger.beat()
    assert await other.room() == 400
    await other.clock.advance(1)
    await other.ledger.beat()
    assert await other.room() == 1000
    assert await other.ledger.statements.check() == []


async def test_a_process_that_beats_keeps_what_it_reserved() -> None:
    slow = Bench()
    await slow.ledger.start()
    reservation = await slow.reserve(600)
    other = Bench(store=slow.store, seed=2)
    await other.ledger.start()
    for _ in range(5):
        await slow.clock.advance(20)
        await slow.ledger.beat()
        await other.clock.advance(20)
        await other.ledger.beat()
    assert await other.room() == 400
    await slow.settle(reservation, 10)
    assert await other.room() == 990


async def test_a_bill_after_its_money_came_back_is_still_exact() -> None:
    """A process that slept for too long wakes and bills: it counts, and frees nothing twice."""
    sleeper = Bench()
    await sleeper.ledger.start()
    reservation = await sleeper.reserve(600)
    other = Bench(store=sleeper.store, seed=2)
    await other.ledger.start()
    await other.clock.advance(31)
    await other.ledger.beat()
    await sleeper.settle(reservation, 25)
    assert await other.room() == 975
    assert await other.ledger.statements.check() == []


async def test_another_process_takes_over_what_was_reserved() -> None:
    lost = Bench()
    await lost.ledger.start()
    await lost.ledger.reserve(
        CALLER, MODEL, prompt_tokens=0, completion_tokens_max=600, work="resp_1"
    )
    other = Bench(store=lost.store, seed=2)
    await other.ledger.start()
    found = await other.ledger.recover(CALLER, MODEL, work="resp_1")
    assert found is not None
    await other.clock.advance(31)
    await other.ledger.beat()
    assert await other.room() == 400
    await other.settle(found, 50, "resp_1")
    assert await other.room() == 950
    assert await other.ledger.recover(CALLER, MODEL, work="resp_1") is None


async def test_a_correction_is_an_entry_of_its_own(bench: Bench) -> None:
    await bench.settle(await bench.reserve(300), 100)
    assert await bench.ledger.statements.adjust("row", nanos=-40, note="answered twice")
    assert not await bench.ledger.statements.adjust("none", nanos=-40, note="")
    assert await bench.room() == 940
    assert await bench.ledger.statements.check() == []


async def test_an_attempt_of_a_job_is_billed_once_by_its_gpu_time(bench: Bench) -> None:
    assert bench.ledger.gpu.price({"h100": 90_000}) == Money(0)
    priced = Bench(
        LedgerSettings(prices=PRICES, gpu_prices=(GpuPriceSettings(kind="*", hour="0.000004"),))
    )
    await priced.ledger.start()
    told = [
        await priced.ledger.gpu.charge(
            CALLER, id="job_1/1", job="job_1", gpu_millis={"h100": 90_000}
        )
        for _ in range(2)
    ]
    assert told == [True, False]
    assert await priced.ledger.statements.month_to_date(CALLER.project) == Money(100)


async def test_a_short_answer_without_a_cap_is_one_entry() -> None:
    books = Books()
    bench = Bench(LedgerSettings(prices=PRICES), MemoryLedgerStore(books))
    await bench.ledger.start()
    await bench.settle(await bench.reserve(5), 3)
    bench.ledger.release(await bench.reserve(4))
    assert [entry.spent_nanos for entry in books.entries.values()] == [3]
    assert bench.ledger.open_reservations == 0


async def test_every_level_has_its_cap() -> None:
    bench = Bench(LedgerSettings(prices=PRICES))
    await bench.ledger.start()
    organisation = CALLER.organisation
    for scope, subject in (
        (Scope.KEY, "key_1"),
        (Scope.USER, DEFAULT_USER),
        (Scope.PROJECT, DEFAULT_PROJECT),
        (Scope.ORGANISATION, organisation),
    ):
        made = await bench.ledger.budgets.put(
            organisation, scope, subject, soft_nanos=None, hard_nanos=100, webhook=""
        )
        with pytest.raises(LimitReached, match=f"of the {scope}'s monthly budget"):
            await bench.reserve(101)
        assert await bench.ledger.budgets.delete(organisation, made.id)
    await bench.reserve(101)
    capped = replace(CALLER, monthly_cap_nanos=100)
    with pytest.raises(LimitReached, match="of the key's monthly budget"):
        await bench.reserve(1, capped)


async def test_a_passed_soft_budget_is_told_once_in_a_month(bench: Bench) -> None:
    told: list[BudgetWarning] = []

    async def tell(warning: BudgetWarning) -> None:
        told.append(warning)

    await bench.ledger.budgets.put(
        CALLER.organisation, Scope.KEY, "key_1", soft_nanos=50, hard_nanos=None, webhook=""
    )
    for number, tokens in enumerate((49, 1, 1)):
        await bench.settle(await bench.reserve(60), tokens, f"row{number}")
        await bench.ledger.budgets.warn(tell)
    assert [(warning.subject, warning.spent_nanos) for warning in told] == [("key_1", 50)]
    await bench.clock.advance(3600)
    await bench.settle(await bench.reserve(60), 60, "next")
    await bench.ledger.budgets.warn(tell)
    assert [warning.spent_nanos for warning in told] == [50, 60]
