"""Properties of plan() on small random clusters, and a brute-force reference beside it."""

from dataclasses import dataclass, replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.jobs.rules.board import Board, Entry, Phase, progressed
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.decisions import Claim, Complete, Plan, Preempt, Start
from tokenyard.jobs.rules.fairness import QueueSpec, Reclaim, Within
from tokenyard.jobs.rules.gangs import Shortfall, missing, seat_gang
from tokenyard.jobs.rules.placement import FirstFit
from tokenyard.jobs.rules.plan import apply, carry_out, plan
from tokenyard.jobs.rules.profile import PRIORITY, PROFILES, Order, Passing, Profile, Taking
from tokenyard.jobs.rules.twin import twin_of
from tokenyard.jobs.rules.workload import (
    UNLIMITED,
    Amount,
    Job,
    Request,
    Role,
    Seats,
    Topology,
)
from tokenyard.vocabulary.errors import Conflict, InvalidRequest
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

ALL, A, B = QueueName("all"), QueueName("a"), QueueName("b")
CYCLES_MAX = 60


def quota(gpus: int) -> Amount:
    return Amount(gpus * 1000, UNLIMITED[1], UNLIMITED[2])


def queues(within: Within = Within.LOWER_PRIORITY, nominal: int | None = 4) -> list[QueueSpec]:
    own = quota(nominal) if nominal is not None else None
    return [
        QueueSpec(ALL),
        QueueSpec(A, ALL, nominal=own, within=within, reclaim=Reclaim.ANY),
        QueueSpec(B, ALL, nominal=own, within=within, reclaim=Reclaim.LOWER_PRIORITY,
                  borrow_victim_priority_max=0),
    ]  # fmt: skip


def nodes(*gpus: int) -> list[Node]:
    return [
        Node(NodeName(f"n{i}"), gpus=count, cpu_milli=0, memory_mib=0,
             labels={"rack": f"r{i // 2}"})
        for i, count in enumerate(gpus)
    ]  # fmt: skip


def gang(name: str, gpus: int = 1, members: int = 1, **more: object) -> Job:
    queue = more.pop("queue", A)
    least = more.pop("least", members)
    role = Role(Request(gpus=gpus), least, members)  # type: ignore[arg-type]
    return Job(JobId(name), queue, (role,), **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Step:
    """One thing that happens before a cycle."""

    ends: int | None
    gpus: int
    members: int
    least: int
    priority: int
    to_a: bool
    seconds: float | None
    level: str | None
    stays: bool


steps = st.lists(
    st.builds(
        Step,
        ends=st.none() | st.integers(0, 5),
        gpus=st.integers(1, 3),
        members=st.integers(1, 3),
        least=st.integers(1, 3),
        priority=st.integers(-1, 2),
        to_a=st.booleans(),
        seconds=st.none() | st.sampled_from([5.0, 20.0, 100.0]),
        level=st.sampled_from([None, None, "rack", "node"]),
        stays=st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


def picture(board: Board) -> object:
    """Everything that a plan may not change."""
    return (
        [(n.cpu_free, tuple(n.gpus), n.whole, n.open) for n in board.cluster.nodes],
        [board.queues.used(name) for name in board.queues.names()],
        {job: (e.phase, e.seats) for job, e in board.entries.items()},
        [[e.job.id for e in line.entries] for line in board.lines.values()],
        board.version,
    )


def check_books(board: Board) -> None:
    """No GPU is double-booked, and books agree with who sits where."""
    free = [[1000] * len(node.gpus) for node in board.cluster.nodes]
    for entry in [*board.running.values(), *board.stopping.values()]:
        for seat in entry.seats:
            for gpu in seat.gpus:
                free[seat.node][gpu] -= seat.request.gpu_milli
    assert all(left >= 0 for node in free for left in node)
    assert free == [node.gpus for node in board.cluster.nodes]
    ends: list[list[float]] = [[] for _ in free]
    for entry in board.running.values() if board.profile.aligns else ():
        told = entry.job.seconds_expected is not None
        for index in {seat.node for seat in entry.seats} if told else ():
            ends[index].append(entry.ends_at)
    assert [sorted(there) for there in ends] == [node.ends for node in board.cluster.nodes]
    charged = {A: 0, B: 0}
    for entry in [*board.running.values(), *board.claims.values()]:
        charged[entry.job.queue] += sum(len(seat.gpus) for seat in entry.seats) * 1000
    assert charged == {name: board.queues.used(name).gpu_milli for name in charged}


def check_plan(board: Board, decided: Plan) -> None:
    """All or nothing; one reason for everyone who waits; nobody twice."""
    acted = [decision.job for decision in decided.decisions if isinstance(decision, Start | Claim)]
    assert len(acted) == len(set(acted))
    for decision in decided.decisions:
        if isinstance(decision, Start | Claim):
            job = board.entries[decision.job].job
            assert not any(missing(job, decision.seats))
            assert len(decision.seats) <= job.members_max
    gone = {d.job for d in decided.decisions if isinstance(d, Preempt)}
    for entry in board.entries.values():
        if entry.phase is Phase.WAITING and entry.job.id not in acted:
            assert decided.why(entry) is not None
        if entry.job.id in gone:
            assert entry.phase is Phase.RUNNING
            assert entry.job.preemptible


def check_work_conserved(board: Board) -> None:
    """Where small jobs may pass large ones, nobody waits for whom there is room and quota."""
    mark = board.cluster.mark()
    for claiming in board.claims.values():
        for seat in claiming.seats:
            board.cluster.take(board.cluster.part_free(seat))
    for line in board.lines.values():
        for entry in line.entries[:1]:
            job = entry.job
            here = board.cluster.here()
            fits = not isinstance(seat_gang(board.floor, job), Shortfall)
            board.cluster.rewind(here)
            assert not fits or board.queues.refuse(job.queue, job.amount_min, job.priority)
    board.cluster.undo(mark)


def settle_down(board: Board, now: float, *, vacate: bool) -> None:
    """Cycles until nothing is decided; a policy that runs in circles does not get there."""
    for _ in range(CYCLES_MAX):
        before = picture(board)
        decided = plan(board, now)
        assert picture(board) == before
        assert plan(board, now).decisions == decided.decisions
        assert set(plan(twin_of(board), now).decisions) == set(decided.decisions)
        check_plan(board, decided)
        if not decided.decisions:
            break
        apply(board, decided.decisions, now)
        check_books(board)
        for entry in list(board.stopping.values()) if vacate else ():
            board.requeue(entry.job.id, progressed(entry, now, preempted=True))
        check_books(board)
    else:
        raise AssertionError("the policy runs in circles")
    if board.profile.passing is Passing.SKIP:
        check_work_conserved(board)


@pytest.mark.parametrize("profile", list(PROFILES.values()), ids=lambda p: p.name)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), steps)
@settings(max_examples=8, deadline=None)
def test_every_cycle_keeps_the_books(profile: Profile, sizes: list[int], story: list[Step]) -> None:
    board = Board(nodes(*sizes), queues(), replace(profile, run_seconds_min=0.0))
    now = 0.0
    for number, step in enumerate(story):
        now += 10.0
        if step.ends is not None and board.running:
            names = sorted(board.running)
            board.finish(names[step.ends % len(names)])
        for entry in list(board.stopping.values()):
            board.requeue(entry.job.id, progressed(entry, now, preempted=True))
        board.submit(
            gang(
                f"j{number}", step.gpus, max(step.members, step.least),
                least=step.least, priority=step.priority, queue=A if step.to_a else B,
                submitted_at=now, estimate_seconds=step.seconds,
                topology=Topology(step.level) if step.level else None,
            )
        )  # fmt: skip
        settle_down(board, now, vacate=not step.stays)


def exhaustive(free: list[int], gpus: int, members: int) -> bool:
    """Whether that many members find room, by trying every node for each."""
    if members == 0:
        return True
    for node, left in enumerate(free):
        if left >= gpus:
            rest = [*free[:node], left - gpus, *free[node + 1 :]]
            if exhaustive(rest, gpus, members - 1):
                return True
    return False


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_started_by_brute_force_too(sizes: list[int], asked: list[tuple[int, int, int]]) -> None:
    """Walk the jobs in order by hand; who fits by exhaustive search is started, nobody else."""
    board = Board(nodes(*sizes), queues(nominal=None), PRIORITY)
    for number, (gpus, members, priority) in enumerate(asked):
        board.submit(gang(f"j{number}", gpus, members, priority=priority, submitted_at=number))
    started = {d.job: d.seats for d in plan(board, 0.0).decisions if isinstance(d, Start)}
    free = list(sizes)
    order = sorted(range(len(asked)), key=lambda n: (-asked[n][2], n))
    for number in order:
        gpus, members, _ = asked[number]
        seats = started.get(JobId(f"j{number}"))
        assert (seats is not None) == exhaustive(free, gpus, members)
        for seat in seats or ():
            free[seat.node] -= len(seat.gpus)
    assert min(free) >= 0


def can_start(board: Board, job: Job, without: tuple[Entry, ...]) -> bool:
    """Whether the job would fit and be allowed if those had gone."""
    mark, charged = board.cluster.mark(), board.queues.here()
    board.queues.keeps_journal = True
    for entry in without:
        board.cluster.give_all(entry.seats)
        board.queues.refund(entry.job.queue, entry.amount, entry.job.priority)
    allowed = board.queues.refuse(job.queue, job.amount_min, job.priority) is None
    fits = not isinstance(seat_gang(board.floor, job), Shortfall)
    board.cluster.undo(mark)
    board.queues.rewind(charged)
    board.queues.keeps_journal = False
    return allowed and fits


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=5),
    st.tuples(st.integers(1, 4), st.integers(1, 2)),
)
@settings(max_examples=60, deadline=None)
def test_victims_by_brute_force(
    sizes: list[int], running: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    """Found whenever any set would do, minimal, and for one member the cheapest or nearly so."""
    profile = replace(PRIORITY, taking=Taking.VICTIMS)
    board = Board(nodes(*sizes), queues(nominal=None), profile)
    for number, (gpus, members) in enumerate(running):
        board.submit(gang(f"r{number}", gpus, members, submitted_at=number))
        for decision in plan(board, float(number)).decisions:
            apply(board, (decision,), float(number))
    for entry in [e for line in board.lines.values() for e in line.entries]:
        board.finish(entry.job.id)
    job = gang("new", *asked, priority=5, submitted_at=50.0)
    board.submit(job)
    if can_start(board, job, ()):
        return
    decided = plan(board, 60.0)
    victims = [board.entries[d.job] for d in decided.decisions if isinstance(d, Preempt)]
    candidates = list(board.running.values())
    sets = [
        found
        for count in range(1, len(candidates) + 1)
        for found in combinations(candidates, count)
        if can_start(board, job, found)
    ]
    assert bool(victims) == bool(sets)
    if not victims:
        return
    assert can_start(board, job, tuple(victims))
    for spared in victims:
        assert not can_start(board, job, tuple(v for v in victims if v is not spared))


def test_alike_jobs_keep_their_order_through_preemption() -> None:
    board = Board(nodes(2), queues(nominal=None), PRIORITY)
    for number in range(3):
        board.submit(gang(f"j{number}", submitted_at=number))
    apply(board, plan(board, 5.0).decisions, 5.0)
    assert set(board.running) == {"j0", "j1"}
    board.requeue(JobId("j0"), progressed(board.running[JobId("j0")], 9.0, preempted=True))
    decided = plan(board, 9.0)
    assert [d.job for d in decided.decisions] == ["j0"]
    assert board.entries[JobId("j0")].job.preemptions == 1


def test_a_plan_is_applied_once_and_to_its_own_board() -> None:
    board = Board(nodes(2), queues(nominal=None), PRIORITY)
    board.submit(gang("j0"))
    decided = plan(board, 0.0)
    carry_out(board, decided)
    before = picture(board)
    with pytest.raises(Conflict, match="The plan is for version 1"):
        carry_out(board, decided)
    assert picture(board) == before


def test_freed_room_is_held_until_every_victim_has_gone() -> None:
    board = Board(nodes(2, 2), queues(nominal=None), replace(PRIORITY, taking=Taking.VICTIMS))
    for name in ("v0", "v1"):
        board.submit(gang(name, 2))
    apply(board, plan(board, 0.0).decisions, 0.0)
    board.submit(gang("big", 2, 2, priority=5))
    decided = plan(board, 1.0)
    assert {d.job for d in decided.decisions if isinstance(d, Preempt)} == {"v0", "v1"}
    apply(board, decided.decisions, 1.0)
    board.submit(gang("thief", 2, priority=4))
    gone = board.stopping[JobId("v0")]
    board.requeue(JobId("v0"), progressed(gone, 2.0, preempted=True))
    decided = plan(board, 2.0)
    assert decided.decisions == ()
    why = decided.why(board.entries[JobId("big")])
    assert why is not None
    assert why.reason == "victims_stopping"
    gone = board.stopping[JobId("v1")]
    board.requeue(JobId("v1"), progressed(gone, 3.0, preempted=True))
    assert [d.job for d in plan(board, 3.0).decisions] == ["big"]


def test_a_claim_on_a_lost_node_is_given_up() -> None:
    board = Board(nodes(2, 2), queues(nominal=None), replace(PRIORITY, taking=Taking.VICTIMS))
    board.submit(gang("v", 2, 2))
    apply(board, plan(board, 0.0).decisions, 0.0)
    board.submit(gang("big", 2, 2, priority=5))
    apply(board, plan(board, 1.0).decisions, 1.0)
    board.set_open(NodeName("n1"), False)
    decided = plan(board, 2.0)
    assert [type(d).__name__ for d in decided.decisions] == ["Renounce"]
    apply(board, decided.decisions, 2.0)
    check_books(board)


def test_held_jobs_wait_for_time_and_for_others() -> None:
    board = Board(nodes(4), queues(nominal=None), PRIORITY)
    board.submit(gang("first"))
    board.submit(gang("then", after=(JobId("first"),)))
    board.submit(gang("later", not_before=100.0))
    board.submit(gang("both", after=(JobId("first"),), not_before=50.0))
    decided = plan(board, 0.0)
    assert [d.job for d in decided.decisions] == ["first"]
    reasons = {job: decided.why(board.entries[JobId(job)]) for job in ("then", "later", "both")}
    assert [w and str(w.reason) for w in reasons.values()] == [
        "dependency", "not_before", "dependency"
    ]  # fmt: skip
    apply(board, decided.decisions, 0.0)
    board.finish(JobId("first"))
    assert [d.job for d in plan(board, 10.0).decisions] == ["then"]
    assert {d.job for d in plan(board, 50.0).decisions} == {"then", "both"}
    assert {d.job for d in plan(board, 100.0).decisions} == {"then", "both", "later"}


def test_a_failed_dependency_holds_for_ever() -> None:
    board = Board(nodes(4), queues(nominal=None), PRIORITY)
    board.submit(gang("first"))
    board.submit(gang("then", after=(JobId("first"),)))
    board.finish(JobId("first"), succeeded=False)
    decided = plan(board, 1e9)
    assert decided.decisions == ()


def test_the_board_refuses_what_makes_no_sense() -> None:
    board = Board(nodes(4), queues(nominal=None), PRIORITY)
    board.submit(gang("j"))
    with pytest.raises(Conflict, match="already here"):
        board.submit(gang("j"))
    with pytest.raises(InvalidRequest, match="no queue"):
        board.submit(gang("k", queue=QueueName("ghost")))
    with pytest.raises(Conflict, match="is waiting"):
        board.stop(JobId("j"))


@pytest.mark.parametrize(
    ("power", "gpus", "members", "put_off"),
    [
        # Ten seconds for each of 100: by GPU-seconds, by seconds, by seconds over GPUs.
        (1.0, 2, 2, 4000.0),
        (0.0, 2, 2, 1000.0),
        (-1.0, 2, 2, 250.0),
        # One GPU, and no GPU, are as narrow as it gets.
        (-1.0, 1, 1, 1000.0),
        (-1.0, 0, 4, 1000.0),
        (1.0, 8, 8, 5000.0),
    ],
)
def test_how_far_a_job_is_put_off(power: float, gpus: int, members: int, put_off: float) -> None:
    profile = Profile(
        "p", stretch=10.0, stretch_width_power=power, stretch_seconds_max=5000.0,
        estimate_seconds_default=100.0,
    )  # fmt: skip
    assert profile.stretched(gang("g", gpus, members, submitted_at=7.0)) == 7.0 + put_off
    told = gang("g", gpus, members, submitted_at=7.0, estimate_seconds=50.0)
    assert profile.stretched(told) < 7.0 + put_off or put_off == 5000.0


def test_by_default_the_wide_go_before_the_narrow_and_the_short_before_the_long() -> None:
    board = Board(nodes(8, 8), queues(nominal=None), PROFILES["yard"])
    board.submit(gang("now", 8, 2, estimate_seconds=10.0))
    carry_out(board, plan(board, 0.0))
    for name, members, seconds in (("narrow", 1, 900.0), ("wide", 2, 900.0), ("short", 1, 60.0)):
        board.submit(gang(name, 8, members, estimate_seconds=seconds))
    started = []
    while board.running:
        started += list(board.running)
        for job in started[-len(board.running) :]:
            board.finish(job)
        carry_out(board, plan(board, 10.0))
    assert started[0] == "now"
    assert started.index(JobId("short")) < started.index(JobId("wide"))
    assert started.index(JobId("wide")) < started.index(JobId("narrow"))


@pytest.mark.parametrize(("aligns", "node"), [(True, 1), (False, 0)])
def test_who_starts_in_the_same_cycle_is_seen(aligns: bool, node: int) -> None:
    profile = Profile("p", placement=FirstFit(), order=(Order.AGE,), aligns=aligns)
    board = Board(nodes(4, 4, 4), queues(nominal=None), profile)
    for name, gpus, seconds in (("short", 3, 50.0), ("long", 3, 1000.0), ("late", 1, 1000.0)):
        board.submit(gang(name, gpus=gpus, estimate_seconds=seconds))
    carry_out(board, plan(board, 0.0))
    placed = {job: entry.seats[0].node for job, entry in board.running.items()}
    assert placed == {"short": 0, "long": 1, "late": node}
    check_books(board)


def test_a_default_length_makes_no_place_better() -> None:
    profile = Profile("p", placement=FirstFit(), aligns=True, estimate_seconds_default=100.0)
    board = Board(nodes(4, 4), queues(nominal=None), profile)
    board.submit(gang("unknown", gpus=3))
    carry_out(board, plan(board, 0.0))
    assert board.ends[0][0] == 100.0
    assert [node.until for node in board.cluster.nodes] == [0.0, 0.0]
    check_books(board)


def test_a_gang_grows_by_one_and_not_while_anybody_is_told_to_go() -> None:
    profile = replace(PROFILES["yard"], run_seconds_min=0.0)
    queue = QueueSpec(QueueName("all"), within=Within.LOWER_PRIORITY)
    board = Board(nodes(4, 2), [queue], profile)

    def job(name: str, gpus: int, **more: object) -> Job:
        role = Role(Request(gpus=gpus), 1, int(str(more.pop("most", 1))))
        fields = {"queue": QueueName("all"), "roles": (role,), "estimate_seconds": 50.0, **more}
        return Job(JobId(name), **fields)  # type: ignore[arg-type]

    filler = board.submit(job("filler", 2))
    board.start(filler.job.id, seat(board, filler.job), 0.0)
    grows = board.submit(job("grows", 1, most=4, grows=True))
    board.start(grows.job.id, seat(board, grows.job), 0.0)
    grown = plan(board, 1.0)
    assert [type(decision) for decision in grown.decisions] == [Complete]
    assert len(grown.decisions[0].seats) == 1  # type: ignore[union-attr]
    board.submit(job("urgent", 4, priority=9, preemptible=False))
    urgent = plan(board, 2.0)
    assert any(isinstance(decision, Preempt) for decision in urgent.decisions)
    assert not any(isinstance(decision, Complete) for decision in urgent.decisions)


def seat(board: Board, job: Job) -> Seats:
    """Where one member would sit now."""
    mark = board.cluster.mark()
    seats = seat_gang(board.floor, job, (1,))
    board.cluster.undo(mark)
    assert not isinstance(seats, Shortfall)
    return seats
