"""Billing of attempts, each once whatever crashes; and what is forgotten when."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.job_worlds import World
from tokenyard.jobs.clerk import Clerk
from tokenyard.jobs.executors.fake import Outcome
from tokenyard.jobs.ports import AttemptBill, MemberPhase
from tokenyard.jobs.rules.charges import billable_seconds, split_by_kind
from tokenyard.jobs.rules.states import State
from tokenyard.protocol.jobs import RetrySpec
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.errors import Unavailable
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason

SETTINGS = JobSettings(ended_kept_seconds=100.0, dead_kept_seconds=1000.0)


class Till:
    """A ledger that knows a bill again, and can be away."""

    def __init__(self) -> None:
        self.bills: dict[str, AttemptBill] = {}
        self.asked = 0
        self.away = False
        self.dies_after = False

    async def charge(self, bill: AttemptBill) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("The ledger is away.")
        self.bills.setdefault(bill.id, bill)
        if self.dies_after:
            raise Unavailable("Nobody heard that it was written.")

    def price(self, gpu_millis: object) -> Money:
        return Money(0)


def clerk_of(world: World, till: Till | None) -> Clerk:
    return Clerk(
        world.store, world.scheduler, [world.executor], till, SETTINGS,
        clock=world.clock, log=Log(io.StringIO(), world.clock),
    )  # fmt: skip


async def test_every_attempt_is_billed_once() -> None:
    world, till = World(), Till()
    clerk = clerk_of(world, till)
    job = await world.submit(gpus=2)
    await world.pass_time(3)
    await clerk.round()
    assert till.bills == {}
    await world.pass_time(10)
    till.away = True
    with pytest.raises(Unavailable):
        await clerk.round()
    till.away, till.dies_after = False, True
    with pytest.raises(Unavailable):
        await clerk.round()
    till.dies_after = False
    await clerk_of(world, till).round()
    asked = till.asked
    assert [one.cost for one in await world.store.attempts(job)] == [Money(0)]
    await clerk.round()
    assert till.asked == asked
    (bill,) = till.bills.values()
    took = (await world.get(job)).gpu_seconds
    assert (bill.job, bill.attempt) == (job, 1)
    assert bill.gpu_millis == {"unknown": round(took * 1000)}


async def test_what_the_platform_lost_is_free_and_what_the_job_lost_is_not() -> None:
    world, till = World(lambda one: Outcome(5.0, phase=MemberPhase.OUT_OF_MEMORY)), Till()
    await world.submit(gpus=1, retries=RetrySpec(out_of_memory=0))
    await world.pass_time(8)
    lost = World(lambda one: Outcome(1000.0))
    await lost.submit(gpus=4)
    await lost.pass_time(5)
    for node in await lost.executor.nodes():
        lost.executor.lose_node(node.name)
    await lost.pass_time(6)
    free = Till()
    await clerk_of(world, till).round()
    await clerk_of(lost, free).round()
    assert [sum(bill.gpu_millis.values()) > 4000 for bill in till.bills.values()] == [True]
    assert free.bills == {}
    assert await lost.store.unbilled(limit=10) == []


async def test_old_jobs_go_with_their_folders_unless_somebody_waits_for_them() -> None:
    world = World()
    clerk = clerk_of(world, None)
    first = await world.submit()
    await world.pass_time(12)
    assert (await world.get(first)).state is State.SUCCEEDED
    waits = await world.submit(after=(first,), not_before=world.clock.now() + 300,
                               state=State.HELD)  # fmt: skip
    await world.pass_time(110)
    await clerk.round()
    assert (await world.get(first)).state is State.SUCCEEDED
    await world.pass_time(230)
    assert (await world.get(waits)).state is State.SUCCEEDED
    await clerk.round()
    assert world.executor.discarded == {first}
    assert await world.store.find_job(first, None) is None


@given(
    st.floats(0, 1e9),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 64), max_size=4),
)
def test_parts_add_up_to_the_whole(seconds: float, gpus: dict[str, float]) -> None:
    parts = split_by_kind(seconds, gpus)
    assert sum(parts.values()) == (round(seconds * 1000) if sum(gpus.values()) > 0 else 0)
    assert all(part > 0 for part in parts.values())


@pytest.mark.parametrize(
    ("outcome", "paid"),
    [
        (None, 10.0),
        (Reason.USER_ERROR, 10.0),
        (Reason.CANCELLED_BY_USER, 10.0),
        (Reason.TIME_LIMIT, 10.0),
        (Reason.PREEMPTED_BY_PRIORITY, 6.0),
        (Reason.NODE_LOST, 6.0),
        (Reason.LAUNCH_FAILED, 6.0),
        (Reason.GANG_INCOMPLETE, 6.0),
    ],
)
def test_who_pays(outcome: Reason | None, paid: float) -> None:
    assert billable_seconds(outcome, 10.0, 4.0) == paid
