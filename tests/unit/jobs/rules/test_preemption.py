"""Whom preemption takes, whom it spares, and why it cannot go on for ever."""

from dataclasses import replace

import pytest

from tokenyard.jobs.rules.board import Board, progressed, seconds_lost
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.decisions import Claim, Plan, Preempt
from tokenyard.jobs.rules.fairness import QueueSpec, Reclaim, Within
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.profile import QUOTA_PROTECTING, SHARE_PROTECTING, Profile
from tokenyard.jobs.rules.workload import UNLIMITED, Amount, Job, Request, Role, Seat
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName
from tokenyard.vocabulary.reasons import Reason

ALL, A, B = QueueName("all"), QueueName("a"), QueueName("b")


def quota(gpus: int) -> Amount:
    return Amount(gpus * 1000, UNLIMITED[1], UNLIMITED[2])


def board_of(*gpus: int, nominal: int | None = None, profile: Profile = QUOTA_PROTECTING) -> Board:
    nodes = [
        Node(NodeName(f"n{i}"), gpus=count, cpu_milli=0, memory_mib=0)
        for i, count in enumerate(gpus)
    ]
    own = quota(nominal) if nominal is not None else None
    specs = [
        QueueSpec(ALL),
        QueueSpec(A, ALL, nominal=own, within=Within.LOWER_PRIORITY, reclaim=Reclaim.ANY),
        QueueSpec(B, ALL, nominal=own, within=Within.LOWER_PRIORITY, reclaim=Reclaim.ANY),
    ]
    return Board(nodes, specs, profile)


def job(name: str, gpus: int = 1, members: int = 1, queue: QueueName = A, priority: int = 0,
        **more: object) -> Job:  # fmt: skip
    role = Role(Request(gpus=gpus), members, members)
    return Job(JobId(name), queue, (role,), priority=priority, **more)  # type: ignore[arg-type]


def run(board: Board, wanted: Job, node: int, first_gpu: int, since: float = 0.0) -> None:
    request = wanted.roles[0].request
    gpus = tuple(range(first_gpu, first_gpu + request.gpus))
    board.submit(wanted)
    board.start(wanted.id, (Seat(node, gpus, request),), since)


def victims(decided: Plan) -> dict[str, Reason]:
    return {d.job: d.reason for d in decided.decisions if isinstance(d, Preempt)}


def test_the_cheapest_node_is_cleared() -> None:
    """Clearing n1 loses two short runs, clearing n0 one long one; n2 is more urgent."""
    board = board_of(4, 4, 4)
    run(board, job("long", 4), 0, 0, since=0.0)
    run(board, job("short-1", 2), 1, 0, since=900.0)
    run(board, job("short-2", 2), 1, 2, since=900.0)
    run(board, job("urgent", 4, priority=1), 2, 0, since=990.0)
    board.submit(job("new", 4, priority=5))
    decided = plan(board, 1000.0)
    assert set(victims(decided)) == {"short-1", "short-2"}
    claims = [d for d in decided.decisions if isinstance(d, Claim)]
    assert [(c.job, c.seats[0].node) for c in claims] == [("new", 1)]


def test_one_large_victim_may_be_cheaper_than_two_small_ones() -> None:
    """By cost alone the two on n0 come first (10 + 400 GPU-seconds); n1's one costs 404."""
    board = board_of(4, 4)
    run(board, job("tiny", 1), 0, 0, since=990.0)
    run(board, job("most", 3), 0, 1, since=1000.0 - 400 / 3)
    run(board, job("whole", 4), 1, 0, since=899.0)
    board.submit(job("new", 4, priority=5))
    assert set(victims(plan(board, 1000.0))) == {"whole"}


def test_a_checkpoint_makes_a_victim_cheap() -> None:
    board = board_of(1, 1)
    run(board, job("saved", checkpoint_seconds=60.0), 0, 0, since=0.0)
    run(board, job("young"), 1, 0, since=900.0)
    board.submit(job("new", priority=5))
    entry = board.running[JobId("saved")]
    assert seconds_lost(entry, 1000.0) == 40.0
    assert victims(plan(board, 1000.0)) == {"saved": Reason.PREEMPTED_BY_PRIORITY}
    assert progressed(entry, 1000.0).saved_seconds == 960.0
    assert progressed(board.running[JobId("young")], 1000.0).saved_seconds == 0.0


def test_a_restart_costs_before_it_saves() -> None:
    board = board_of(1)
    resumed = job("j", checkpoint_seconds=10.0, restart_seconds=30.0, saved_seconds=50.0)
    run(board, resumed, 0, 0)
    entry = board.running[JobId("j")]
    assert progressed(entry, 25.0).saved_seconds == 50.0
    assert progressed(entry, 59.0).saved_seconds == 70.0
    assert seconds_lost(entry, 59.0) == 9.0 + 30.0


def test_a_checkpoint_that_was_told_of_outweighs_one_that_was_promised() -> None:
    board = board_of(1)
    run(board, job("j", checkpoint_seconds=600.0, saved_at=970.0, saved_seconds=5.0), 0, 0, 400.0)
    entry = board.running[JobId("j")]
    assert seconds_lost(entry, 1000.0) == 30.0
    assert progressed(entry, 1000.0).saved_seconds == 575.0
    assert progressed(entry, 1000.0).saved_at is None


@pytest.mark.parametrize(
    ("shortest", "preemptible", "gone"), [(0.0, True, 1), (500.0, True, 0), (0.0, False, 0)]
)
def test_who_is_protected(shortest: float, preemptible: bool, gone: int) -> None:
    board = board_of(1, profile=replace(QUOTA_PROTECTING, run_seconds_min=shortest))
    run(board, job("old", preemptible=preemptible), 0, 0, since=600.0)
    board.submit(job("new", priority=5))
    assert len(victims(plan(board, 1000.0))) == gone


def test_each_displacement_doubles_the_time_of_peace() -> None:
    profile = replace(QUOTA_PROTECTING, run_seconds_min=60.0, run_seconds_min_max=1000.0)
    assert [profile.protected_seconds(n) for n in (0, 1, 3, 9, 10**6)] == [
        60.0, 120.0, 480.0, 1000.0, 1000.0
    ]  # fmt: skip
    board = board_of(1, profile=profile)
    run(board, job("old", preemptions=2), 0, 0, since=100.0)
    board.submit(job("new", priority=5))
    assert victims(plan(board, 339.0)) == {}
    assert set(victims(plan(board, 340.0))) == {"old"}


def test_a_whole_gang_goes() -> None:
    board = board_of(2, 2)
    board.submit(job("gang", 2, 2))
    apply(board, plan(board, 0.0).decisions, 0.0)
    board.submit(job("new", 1, priority=5))
    decided = plan(board, 10.0)
    assert victims(decided) == {"gang": Reason.PREEMPTED_BY_PRIORITY}
    apply(board, decided.decisions, 10.0)
    assert len(board.stopping[JobId("gang")].seats) == 2


def test_lent_quota_is_reclaimed_from_the_borrower_alone() -> None:
    board = board_of(4, nominal=2)
    for number in range(3):
        run(board, job(f"b{number}", queue=B, priority=9), 0, number, since=float(number))
    run(board, job("a0"), 0, 3)
    board.submit(job("a1"))
    assert victims(plan(board, 100.0)) == {"b2": Reason.QUOTA_RECLAIMED}
    # With its own quota in use, a takes nothing more.
    board = board_of(4, nominal=2)
    for number in range(2):
        run(board, job(f"a{number}"), 0, number)
        run(board, job(f"b{number}", queue=B), 0, number + 2)
    board.submit(job("a2", priority=9, queue=A))
    assert set(victims(plan(board, 100.0))) == {"a1"}


def test_who_was_displaced_often_is_left_alone_by_its_equals() -> None:
    # b3 would go first: it lost as little as the others and came last.
    tired = job("b3", queue=B, preemptions=QUOTA_PROTECTING.preemptions_max)
    board = board_of(3, nominal=2)
    run(board, job("b1", queue=B), 0, 0)
    run(board, job("b2", queue=B), 0, 1)
    run(board, tired, 0, 2)
    board.submit(job("a1"))
    assert set(victims(plan(board, 100.0))) == {"b2"}
    board = board_of(1)
    run(board, replace(tired, queue=A), 0, 0)
    board.submit(job("urgent", priority=1))
    assert set(victims(plan(board, 100.0))) == {"b3"}


def test_fair_shares_settle_and_stay_settled() -> None:
    """Two queues that both want everything: halves, and then nobody is displaced again."""
    board = board_of(4, profile=SHARE_PROTECTING)
    evicted: list[str] = []
    for now in range(0, 50, 10):
        if now < 20:
            queue = (A, B)[now // 10]
            for number in range(12):
                board.submit(job(f"{queue}{number}", queue=queue, submitted_at=now + number / 20))
        for _ in range(5):
            decided = plan(board, float(now))
            apply(board, decided.decisions, float(now))
            evicted += list(victims(decided))
            for entry in list(board.stopping.values()):
                board.requeue(entry.job.id, progressed(entry, float(now), preempted=True))
    assert sorted(evicted) == ["a2", "a3"]
    counts = {name: board.queues.used(name).gpu_milli for name in (A, B)}
    assert counts == {A: 2000, B: 2000}
