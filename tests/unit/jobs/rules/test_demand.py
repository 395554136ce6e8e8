"""When it is known what jobs ask for, and what is counted."""

from collections import Counter

from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.demand import FIRST_MEMBERS, MEMBERS_MAX, Demand, asked_by
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.placement import BestFit, LeastFragmentation
from tokenyard.jobs.rules.profile import YARD
from tokenyard.jobs.rules.workload import Job, Request, Role
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

ONE, TWO = Request(gpus=1), Request(gpus=2)


def job(number: int, request: Request, members: int = 1) -> Job:
    return Job(JobId(f"j{number}"), QueueName("q"), (Role(request, members, members),))


def board_of(demand: Demand | None = None) -> Board:
    node = Node(NodeName("n"), gpus=8, cpu_milli=0, memory_mib=0)
    return Board([node], [QueueSpec(QueueName("q"))], YARD, demand)


def test_nothing_is_known_before_enough_was_seen_and_nothing_where_all_are_alike() -> None:
    demand = Demand()
    for number in range(FIRST_MEMBERS - 1):
        assert demand.note(job(number, ONE if number % 2 else TWO)) is None
    assert demand.note(job(99, ONE)) is not None
    alike = Demand()
    assert all(alike.note(job(number, ONE)) is None for number in range(2 * FIRST_MEMBERS))


def test_past_jobs_are_known_at_once_and_by_members() -> None:
    past = asked_by([job(1, ONE, 40), job(2, TWO, 24), job(3, ONE)])
    assert past == {ONE: 41, TWO: 24}
    assert isinstance(board_of(Demand(past)).floor.policy, LeastFragmentation)
    assert isinstance(board_of(Demand({ONE: 3, TWO: 3})).floor.policy, BestFit)
    # A board that is built anew knows what the one before has learned.
    demand = Demand()
    first = board_of(demand)
    for number in range(FIRST_MEMBERS):
        first.submit(job(number, ONE if number % 2 else TWO))
    assert board_of(demand).floor.policy.mix is demand.mix  # type: ignore[attr-defined]


def test_a_job_that_comes_back_is_no_news() -> None:
    demand = Demand()
    board = board_of(demand)
    for number in range(2 * FIRST_MEMBERS):
        board.submit(job(number, ONE if number % 2 else TWO), counts=False)
    assert demand.mix is None


def test_a_long_past_counts_less_and_less() -> None:
    demand = Demand(Counter({ONE: 10 * MEMBERS_MAX, TWO: MEMBERS_MAX}))
    assert demand.mix is not None
    asks = [job(number, TWO, MEMBERS_MAX // 2) for number in range(6)]
    mixes = [mix for mix in map(demand.note, asks) if mix is not None]
    # In the end most of what is asked for is the new kind.
    lost = mixes[-1].fragment("", 0, [1000, 0])
    assert lost > mixes[0].fragment("", 0, [1000, 0])
