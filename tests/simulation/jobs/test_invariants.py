"""Random workloads with failing nodes and notice periods: what must hold after every cycle."""

from dataclasses import replace

import pytest

from tokenyard.jobs.rules.board import Board, Phase
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.decisions import Claim, Plan, Preempt, Start
from tokenyard.jobs.rules.fairness import QueueSpec, Reclaim, Within
from tokenyard.jobs.rules.gangs import missing
from tokenyard.jobs.rules.profile import (
    FIFO_CONSERVATIVE,
    FIFO_EASY,
    PRIORITY,
    QUOTA_PROTECTING,
    QUOTA_PROTECTING_FAIR,
    SHARE_PROTECTING,
    SRSF,
    YARD,
    YARD_FAIR,
    Profile,
)
from tokenyard.jobs.rules.workload import UNLIMITED, Amount, Job, Request, Role, Topology
from tokenyard.jobs.simulator.run import Fault, Rules, Simulation
from tokenyard.jobs.simulator.workload import Arrival
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

ALL = QueueName("all")
QUEUES = [QueueName("a"), QueueName("b"), QueueName("c")]
NODES, GPUS, JOBS = 6, 4, 90


class Draw:
    """Whole numbers and choices from one seed."""

    def __init__(self, seed: int) -> None:
        self.randomness = SeededRandomness(seed)

    def below(self, count: int) -> int:
        return min(int(self.randomness.uniform(0, count)), count - 1)


def cluster() -> list[Node]:
    return [
        Node(NodeName(f"n{i}"), gpus=GPUS, cpu_milli=0, memory_mib=0,
             labels={"rack": f"r{i // 3}"})
        for i in range(NODES)
    ]  # fmt: skip


def queues() -> list[QueueSpec]:
    own = Amount(8_000, UNLIMITED[1], UNLIMITED[2])
    return [QueueSpec(ALL)] + [
        QueueSpec(name, ALL, nominal=own, within=Within.LOWER_OR_NEWER_EQUAL,
                  reclaim=Reclaim.ANY, borrow_victim_priority_max=1)
        for name in QUEUES
    ]  # fmt: skip


def workload(draw: Draw) -> list[Arrival]:
    arrivals = []
    now = 0.0
    for number in range(JOBS):
        now += draw.below(40)
        members = 1 + draw.below(4)
        role = Role(Request(gpus=1 + draw.below(GPUS)), max(1, members - draw.below(2)), members)
        run = 10.0 + draw.below(400)
        topology = None if draw.below(4) else Topology("rack", required=draw.below(2) == 0)
        job = Job(
            JobId(f"j{number:03d}"),
            QUEUES[draw.below(3)],
            (role,),
            priority=draw.below(4),
            submitted_at=now,
            # Estimates are wrong by up to half.
            estimate_seconds=run * (0.5 + draw.below(100) / 100),
            topology=topology if members <= 3 * (GPUS // role.request.gpus) else None,
            checkpoint_seconds=60.0 if draw.below(2) else None,
            restart_seconds=float(draw.below(10)),
            grows=draw.below(2) == 0,
        )
        arrivals.append(Arrival(job, run))
    return arrivals


def faults(draw: Draw) -> list[Fault]:
    return [
        Fault(at=200.0 + 300.0 * n + draw.below(200), node=NodeName(f"n{draw.below(NODES)}"),
              seconds=50.0 + draw.below(200))
        for n in range(6)
    ]  # fmt: skip


class Watch:
    """Asserts after every cycle."""

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        self.cycles = 0
        self.preempted_by: list[tuple[JobId, JobId | None]] = []

    def __call__(self, board: Board, decided: Plan) -> None:
        self.cycles += 1
        free = [[1000] * GPUS for _ in board.cluster.nodes]
        for entry in [*board.running.values(), *board.stopping.values()]:
            for seat in entry.seats:
                for gpu in seat.gpus:
                    free[seat.node][gpu] -= 1000
        assert free == [node.gpus for node in board.cluster.nodes]
        claimed = [
            (seat.node, gpu)
            for entry in board.claims.values()
            for seat in entry.seats
            for gpu in seat.gpus
        ]
        assert len(claimed) == len(set(claimed))
        for entry in board.running.values():
            if any(missing(entry.job, entry.seats)):
                assert entry.incomplete_since is not None
                assert decided.now <= entry.incomplete_since + self.patience_seconds
        gains = {d.job for d in decided.decisions if isinstance(d, Start | Claim)}
        for decision in decided.decisions:
            if isinstance(decision, Preempt):
                assert gains or decision.by is not None
                self.preempted_by.append((decision.job, decision.by))
        for entry in board.entries.values():
            if entry.phase is Phase.WAITING and entry.job.id not in gains:
                assert decided.why(entry) is not None


PROFILES = [
    FIFO_EASY, FIFO_CONSERVATIVE, PRIORITY, QUOTA_PROTECTING, QUOTA_PROTECTING_FAIR,
    SHARE_PROTECTING, SRSF, YARD, YARD_FAIR,
]  # fmt: skip


@pytest.mark.parametrize("grace_seconds", [0.0, 15.0])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_job_ends_and_nothing_breaks(
    profile: Profile, grace_seconds: float, seed: int
) -> None:
    draw = Draw(seed)
    profile = replace(profile, run_seconds_min=20.0)
    watch = Watch(profile.patience_seconds)
    simulation = Simulation(
        Board(cluster(), queues(), profile),
        workload(draw),
        rules=Rules(grace_seconds=grace_seconds),
        faults=faults(draw),
        watch=watch,
    )
    outcome = simulation.run()
    assert all(record.finished_at >= 0 for record in outcome.records.values())
    assert all(
        record.completion_seconds >= record.run_seconds - 1e-6
        for record in outcome.records.values()
    )
    # Each displacement doubles the time for which a job is left alone; so the n-th needs a run of
    # 20 * 2^n seconds, and no run is longer than the job and its restart.
    for record in outcome.records.values():
        assert 20.0 * 2 ** (record.preemptions - 1) <= record.run_seconds + 10.0 + 1e-6
    assert watch.cycles >= JOBS
    assert not simulation.board.entries
    assert simulation.board.cluster.gpu_free == simulation.board.cluster.capacity.gpu_milli
    assert all(simulation.board.queues.used(name) == (0, 0, 0) for name in QUEUES)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    def run() -> list[tuple[float, float, int]]:
        draw = Draw(seed)
        board = Board(cluster(), queues(), YARD)
        outcome = Simulation(board, workload(draw), faults=faults(draw)).run()
        return [(r.first_start, r.finished_at, r.preemptions) for r in outcome.records.values()]

    assert run() == run()


def flood(count: int) -> list[Arrival]:
    """Small jobs that never leave all of 4 GPUs free, and one that wants all of them."""
    small = [
        Arrival(
            Job(JobId(f"s{n:04d}"), QUEUES[n % 2], (Role(Request(gpus=2)),), priority=1,
                submitted_at=10.0 * n, estimate_seconds=25.0),
            25.0,
        )
        for n in range(count)
    ]  # fmt: skip
    big = Job(JobId("big"), QUEUES[2], (Role(Request(gpus=4)),), submitted_at=15.0,
              estimate_seconds=10.0)  # fmt: skip
    return [*small, Arrival(big, 10.0)]


@pytest.mark.parametrize(
    ("profile", "starves"),
    [(replace(YARD_FAIR, overdue_seconds=300.0), False), (PRIORITY, True)],
    ids=["yard", "priority"],
)
def test_nobody_waits_longer_than_the_bound(profile: Profile, starves: bool) -> None:
    """Overdue it is first in order, and its reservation lasts one running job at most."""
    board = Board([Node(NodeName("n"), gpus=4, cpu_milli=0, memory_mib=0)], queues_free(), profile)
    outcome = Simulation(board, flood(300)).run()
    waited = outcome.records[JobId("big")].waited_seconds
    assert (waited > 300.0 + 2 * 25.0) is starves


@pytest.mark.parametrize(("stretch", "overtaken_max"), [(0.1, 5), (1.0, 41), (5.0, 201)])
def test_a_long_job_is_overtaken_only_within_its_stretch(
    stretch: float, overtaken_max: int
) -> None:
    """400 GPU-seconds: whoever comes more than stretch * 400 s after it stays behind it."""
    profile = replace(YARD, stretch=stretch, stretch_width_power=1.0)
    board = Board([Node(NodeName("n"), gpus=4, cpu_milli=0, memory_mib=0)], queues_free(), profile)
    short = [
        Arrival(
            Job(JobId(f"s{n:04d}"), QUEUES[0], (Role(Request(gpus=4)),),
                submitted_at=10.0 * n, estimate_seconds=10.5),
            10.5,
        )
        for n in range(400)
    ]  # fmt: skip
    long = Job(JobId("long"), QUEUES[1], (Role(Request(gpus=4)),), submitted_at=1.0,
               estimate_seconds=100.0)  # fmt: skip
    outcome = Simulation(board, [*short, Arrival(long, 100.0)]).run()
    start = outcome.records[JobId("long")].first_start
    overtook = [
        r for j, r in outcome.records.items() if r.submitted_at > 1.0 and r.first_start < start
    ]
    assert len(overtook) <= overtaken_max
    assert len(overtook) >= overtaken_max // 2


def queues_free() -> list[QueueSpec]:
    return [QueueSpec(ALL), *(QueueSpec(name, ALL) for name in QUEUES)]


def test_ageing_lifts_a_low_priority_past_a_stream_of_high_ones() -> None:
    waits = {}
    for ageing in (None, 100.0):
        profile = replace(FIFO_EASY, order=PRIORITY.order, ageing_seconds=ageing)
        board = Board(
            [Node(NodeName("n"), gpus=2, cpu_milli=0, memory_mib=0)], queues_free(), profile
        )
        stream = [
            Arrival(
                Job(JobId(f"s{n}"), QUEUES[0], (Role(Request(gpus=2)),), priority=3,
                    submitted_at=10.0 * n, estimate_seconds=11.0),
                11.0,
            )
            for n in range(100)
        ]  # fmt: skip
        low = Job(JobId("low"), QUEUES[1], (Role(Request(gpus=2)),), submitted_at=5.0,
                  estimate_seconds=5.0)  # fmt: skip
        outcome = Simulation(board, [*stream, Arrival(low, 5.0)]).run()
        waits[ageing] = outcome.records[JobId("low")].waited_seconds
    # Three steps of priority are worth 300 s; the stream's backlog by then adds a tenth.
    assert waits[100.0] <= 350.0
    assert waits[None] > 1000.0
