"""What is set aside without a cap is entered when the work lasts."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tokenyard.ledger.entering import Entering
from tokenyard.ledger.records import Reservation
from tokenyard.ledger.rules.pricing import Rates
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory_ledger import Books, MemoryLedgerStore
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION, DEFAULT_PROJECT, DEFAULT_USER
from tokenyard.vocabulary.ids import ModelName, OrganisationId, ReservationId
from tokenyard.vocabulary.money import Money

OTHER = OrganisationId("org_other")


def never(error: Exception) -> None:
    raise AssertionError(error)


class ToldStore(MemoryLedgerStore):
    """Says what was posted to it."""

    def __init__(self) -> None:
        super().__init__(Books())
        self.posted: list[str] = []

    def post_reservation(
        self, reservation: Reservation, failed: Callable[[Exception], None]
    ) -> None:
        self.posted.append(reservation.id)


class Bench:
    """Entering after a second."""

    def __init__(self) -> None:
        self.clock, self.store = SimulatedClock(), ToldStore()
        self.entering = Entering(self.store, 1.0, clock=self.clock, failed=never)

    def add(self, id: str, *, organisation: str = DEFAULT_ORGANISATION, work: str = "") -> None:
        made = Reservation(
            ReservationId(id),
            self.clock.now(),
            DEFAULT_USER,
            DEFAULT_PROJECT,
            None,
            ModelName("tiny"),
            Rates(1, 1, 1),
            Money(1),
        )
        self.entering.add(replace(made, organisation=OrganisationId(organisation), work=work))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_only_what_lasts_is_entered(bench: Bench) -> None:
    keeping = asyncio.get_running_loop().create_task(bench.entering.keep())
    bench.add("short")
    bench.add("long")
    assert bench.entering.take(ReservationId("short"))
    await bench.clock.advance(0.9)
    bench.add("young")
    await bench.clock.advance(0.2)
    assert bench.store.posted == ["long"]
    assert not bench.entering.take(ReservationId("long"))
    await bench.clock.advance(1)
    assert bench.store.posted == ["long", "young"]
    await TaskSupervisor.end(keeping)


async def test_what_another_process_may_take_over_is_entered_at_once(bench: Bench) -> None:
    bench.add("named", work="resp_1")
    assert bench.store.posted == ["named"]
    assert not bench.entering.take(ReservationId("named"))


async def test_beside_a_cap_all_of_its_tenant_is_entered(bench: Bench) -> None:
    bench.add("ours")
    bench.add("theirs", organisation=OTHER)
    bench.entering.enter_all(DEFAULT_ORGANISATION)
    assert bench.store.posted == ["ours"]
    assert bench.entering.take(ReservationId("theirs"))
