"""Reservations hold, and the gap before them is used."""

from dataclasses import replace

import pytest

from tokenyard.jobs.rules.backfill import Reservation, reserve
from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.decisions import Plan, Start
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.profile import FIFO_CONSERVATIVE, FIFO_EASY, FIFO_SKIP, Profile
from tokenyard.jobs.rules.workload import Job, Request, Role, Seat
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName
from tokenyard.vocabulary.reasons import Reason

Q = QueueName("q")


def board_of(profile: Profile, *gpus: int) -> Board:
    nodes = [
        Node(NodeName(f"n{i}"), gpus=count, cpu_milli=0, memory_mib=0)
        for i, count in enumerate(gpus)
    ]
    return Board(nodes, [QueueSpec(Q)], profile)


def put(board: Board, name: str, gpus: int, seconds: float | None, members: int = 1) -> None:
    role = Role(Request(gpus=gpus), members, members)
    job = Job(JobId(name), Q, (role,), submitted_at=board.version, limit_seconds=seconds)
    board.submit(job)


def tick(board: Board, now: float) -> Plan:
    decided = plan(board, now)
    apply(board, decided.decisions, now)
    return decided


def started(decided: Plan) -> list[str]:
    return [d.job for d in decided.decisions if isinstance(d, Start)]


# One node of 8, 5 of them busy until 100; `big` wants all 8 from then on.
SHORT_OR_LONG = [
    # (GPUs, seconds, passes under EASY)
    (3, 100.0, True),
    (3, 101.0, False),
    (3, None, False),
    (4, 50.0, False),
]


@pytest.mark.parametrize(("gpus", "seconds", "passes"), SHORT_OR_LONG)
def test_the_gap_before_a_reservation(gpus: int, seconds: float | None, passes: bool) -> None:
    board = board_of(FIFO_EASY, 8)
    put(board, "now", 5, 100.0)
    tick(board, 0.0)
    put(board, "big", 8, 500.0)
    put(board, "small", gpus, seconds)
    decided = tick(board, 0.0)
    assert started(decided) == (["small"] if passes else [])
    assert [(r.job.id, r.start) for r in decided.reservations] == [("big", 100.0)]
    why = decided.why(board.entries[JobId("big")])
    assert why is not None
    assert (why.reason, why.planned_start) == (Reason.INSUFFICIENT_RESOURCES, 100.0)
    if gpus == 3 and not passes:
        why = decided.why(board.entries[JobId("small")])
        assert why is not None
        assert (why.reason, why.job) == (Reason.RESERVED_FOR_OTHERS, "big")


def test_a_long_job_may_use_what_a_reservation_leaves() -> None:
    board = board_of(FIFO_EASY, 8, 8)
    put(board, "a", 8, 100.0)
    put(board, "b", 6, 200.0)
    tick(board, 0.0)
    # Planned for n0 at 100, leaving 2 there; n1 is nobody's.
    put(board, "big", 6, 1000.0)
    put(board, "long-1", 1, None)
    put(board, "long-2", 1, None)
    put(board, "long-3", 1, None)
    decided = tick(board, 0.0)
    assert started(decided) == ["long-1", "long-2"]
    board.finish(JobId("a"))
    assert started(tick(board, 100.0)) == ["big", "long-3"]


def test_a_long_job_goes_round_the_reserved_node() -> None:
    """n0 is the tighter fit, but promised; a gang finds one place too few on n1, a single sits."""
    board = board_of(FIFO_EASY, 4, 8)
    put(board, "a", 2, 100.0)
    put(board, "b", 5, None)
    tick(board, 0.0)
    put(board, "big", 4, 1000.0)
    put(board, "gang", 1, None, members=4)
    put(board, "single", 1, None)
    decided = tick(board, 0.0)
    assert started(decided) == ["single"]
    assert [seat.node for seat in board.running[JobId("single")].seats] == [1]
    assert [seat.node for seat in decided.reservations[0].seats] == [0]


def test_what_a_reservation_leaves_is_counted_down() -> None:
    board = board_of(FIFO_EASY, 8)
    put(board, "a", 4, 100.0)
    tick(board, 0.0)
    put(board, "big", 6, 1000.0)
    for name in ("long-1", "long-2", "long-3"):
        put(board, name, 1, None)
    assert started(tick(board, 0.0)) == ["long-1", "long-2"]
    board.finish(JobId("a"))
    assert started(tick(board, 100.0)) == ["big"]


def test_a_gang_may_not_take_together_what_its_members_might_take_alone() -> None:
    board = board_of(FIFO_EASY, 8)
    put(board, "a", 5, 100.0)
    tick(board, 0.0)
    put(board, "big", 6, 1000.0)
    put(board, "gang", 1, None, members=3)
    put(board, "pair", 1, None, members=2)
    assert started(tick(board, 0.0)) == ["pair"]


def test_a_shorter_job_behind_a_too_long_one_of_its_kind_passes() -> None:
    board = board_of(FIFO_EASY, 8)
    put(board, "now", 5, 100.0)
    tick(board, 0.0)
    put(board, "big", 8, 500.0)
    put(board, "long", 3, 400.0)
    put(board, "short", 3, 50.0)
    assert started(tick(board, 0.0)) == ["short"]
    shy = replace(FIFO_EASY, passing_jobs_max=1)
    board = board_of(shy, 8)
    put(board, "now", 5, 100.0)
    tick(board, 0.0)
    for name, gpus, seconds in (("big", 8, 500.0), ("long", 3, 400.0), ("short", 3, 50.0)):
        put(board, name, gpus, seconds)
    assert started(tick(board, 0.0)) == []


def test_without_reservations_the_large_job_is_passed_for_ever() -> None:
    for profile, passed in ((FIFO_SKIP, True), (FIFO_EASY, False)):
        board = board_of(profile, 4)
        put(board, "first", 2, 10.0)
        tick(board, 0.0)
        put(board, "big", 4, 10.0)
        for number in range(1, 50):
            put(board, f"small-{number}", 2, 15.0)
            now = number * 5.0
            for _, _, entry in list(board.ends):
                if entry.ends_at <= now:
                    board.finish(entry.job.id)
            tick(board, now)
        assert (JobId("big") in board.entries) is passed


def test_easy_reserves_for_one_conservative_for_each() -> None:
    times = {}
    for profile in (FIFO_EASY, FIFO_CONSERVATIVE):
        board = board_of(profile, 8)
        put(board, "now", 6, 100.0)
        tick(board, 0.0)
        put(board, "one", 8, 50.0)
        put(board, "two", 8, 50.0)
        put(board, "three", 2, 100.0)
        decided = tick(board, 0.0)
        assert started(decided) == ["three"]
        times[profile.name] = [(r.job.id, r.start) for r in decided.reservations]
    assert times == {
        "fifo_easy": [("one", 100.0)],
        "fifo_conservative": [("one", 100.0), ("two", 150.0)],
    }


def test_a_reservation_slips_when_a_job_outlives_its_estimate() -> None:
    board = board_of(FIFO_EASY, 8)
    put(board, "now", 5, 100.0)
    tick(board, 0.0)
    put(board, "big", 8, 500.0)
    decided = tick(board, 130.0)
    assert [r.start for r in decided.reservations] == [130.0 + FIFO_EASY.overrun_seconds]


def test_no_end_in_sight_no_reservation() -> None:
    board = board_of(FIFO_EASY, 8)
    put(board, "service", 5, None)
    tick(board, 0.0)
    put(board, "big", 8, 500.0)
    put(board, "small", 3, None)
    decided = tick(board, 0.0)
    assert decided.reservations == ()
    assert started(decided) == ["small"]


def test_reserving_leaves_the_cluster_as_it_was() -> None:
    board = board_of(FIFO_EASY, 4)
    seat = Seat(0, (0, 1), Request(gpus=2))
    board.cluster.take(seat)
    job = Job(JobId("j"), Q, (Role(Request(gpus=4)),))
    mark = board.cluster.mark()
    found = reserve(board.floor, job, 10.0, 5.0, [(20.0, (seat,))])
    assert isinstance(found, Reservation)
    assert (found.start, found.ends_at, found.spare[0].whole) == (20.0, 30.0, 0)
    assert board.cluster.gpu_free == 2000
    board.cluster.undo(mark)
