"""Named experiments: the set-ups of published tables, rebuilt on our plan().

Decides set-ups only (which jobs, which nodes, which seeds), each fixed beforehand and taken from
the source named. Files are opened by the caller.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.demand import Demand
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.fragmentation import Mix, typical
from tokenyard.jobs.rules.placement import BestFit, LeastFragmentation, Policy, RandomFit
from tokenyard.jobs.rules.profile import (
    FIFO_EASY,
    FIFO_SKIP,
    QUOTA_PROTECTING,
    YARD,
    Order,
    Profile,
)
from tokenyard.jobs.rules.workload import UNLIMITED, Amount, Job, Request, Role
from tokenyard.jobs.simulator.run import Rules, Simulation
from tokenyard.jobs.simulator.workload import Arrival, queues_of
from tokenyard.runtime.randomness import Randomness
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

# The load at which Weng et al. read their tables, as a part of the cluster's GPUs.
FILL_LOAD = 1.3
ALL = QueueName("all")


@dataclass(frozen=True, slots=True)
class Fill:
    """The end of a fill: percent of the cluster's GPUs."""

    allocated_percent: float
    fragmented_percent: float
    dropped: int
    arrived: int


def _shuffle(items: list[Any], randomness: Randomness) -> None:
    for last in range(len(items) - 1, 0, -1):
        other = min(int(randomness.uniform(0, last + 1)), last)
        items[last], items[other] = items[other], items[last]


def fill_policy(name: str, mix: Mix, seed: int) -> Policy:
    """A policy of the fill tables; ours begins with best fit where it knows no past jobs."""
    policies: dict[str, Policy] = {
        "random": RandomFit(seed),
        "best_fit": BestFit(),
        "fgd": LeastFragmentation(mix),
        "yard": BestFit(),
        "yard_cold": BestFit(),
    }
    return policies[name]


def fill(nodes: list[Node], pods: Sequence[Request], policy: str, randomness: Randomness,
         seed: int) -> Fill:  # fmt: skip
    """Weng et al., USENIX ATC 2023, figure 7: how much of the cluster can be given out.

    All pods of the trace in random order, then random ones again until the GPUs asked for reach
    130 % of the cluster; nobody leaves; who fits nowhere is dropped. Ties go to the lowest node of
    a random order of nodes, as in the authors' simulator (lowest name, names shuffled by the seed).
    """
    mix = Mix(typical(pods))
    order = list(pods)
    _shuffle(order, randomness)
    capacity = sum(node.gpu_milli for node in nodes)
    asked = sum(pod.amount.gpu_milli for pod in order)
    while True:
        pod = pods[min(int(randomness.uniform(0, len(pods))), len(pods) - 1)]
        # The authors stop by the share of one GPU that the last pod asks for.
        if asked + (pod.gpu_milli if pod.gpus else 0) > FILL_LOAD * capacity:
            break
        asked += pod.amount.gpu_milli
        order.append(pod)
    _shuffle(nodes, randomness)
    placement = fill_policy(policy, mix, seed)
    ours = policy.startswith("yard")
    profile = Profile(
        policy, order=(Order.AGE,), placement=placement, learns=ours, aligns=ours,
        estimate_seconds_default=YARD.estimate_seconds_default if ours else None,
    )  # fmt: skip
    # Ours knows past jobs, as FGD knows the typical ones: those of the trace. Cold, it does not.
    demand = Demand(Counter(pods)) if policy == "yard" else None
    board = Board(nodes, [QueueSpec(ALL)], profile, demand)
    kinds: dict[Request, tuple[Role, ...]] = {}
    arrivals = [
        Arrival(
            Job(JobId(f"pod_{n}"), ALL, kinds.setdefault(pod, (Role(pod),)), submitted_at=float(n)),
            float("inf"),
        )
        for n, pod in enumerate(order)
    ]
    rules = Rules(drops_blocked=True, until=float(len(order)))
    Simulation(board, arrivals, rules=rules).run()
    lost = sum(mix.fragment(node.model, node.cpu_free, node.gpus) for node in nodes)
    return Fill(
        allocated_percent=100 - 100 * board.cluster.gpu_free / capacity,
        fragmented_percent=100 * lost / capacity,
        dropped=len(order) - len(board.running),
        arrived=len(order),
    )


def gpu_nodes(count: int, gpus: int = 8, per_rack: int = 16) -> list[Node]:
    """Equal nodes that are asked for GPUs only."""
    return [
        Node(
            NodeName(f"node-{number:04d}"),
            gpus=gpus,
            cpu_milli=0,
            memory_mib=0,
            labels={"rack": f"rack-{number // per_rack:03d}"},
        )
        for number in range(count)
    ]


def muri(arrivals: Sequence[Arrival], profile: Profile) -> Simulation:
    """Muri, SIGCOMM 2022, figures 9 and 10: 8 nodes of 8 GPUs, preemption that loses no work."""
    free = [replace(a, job=replace(a.job, checkpoint_seconds=0.0)) for a in arrivals]
    return Simulation(Board(gpu_nodes(8), [QueueSpec(ALL)], profile), free)


def replay(
    arrivals: Sequence[Arrival],
    profile: Profile,
    nodes: int,
    *,
    gpus: int = 8,
    rules: Rules | None = None,
) -> Simulation:
    """A trace on equal nodes; its queues have equal weights and no quota."""
    root = QueueName("root")
    queues = [QueueSpec(root), *(QueueSpec(name, root) for name in queues_of(arrivals))]
    board = Board(gpu_nodes(nodes, gpus), queues, profile)
    return Simulation(board, arrivals, rules=rules)


# Profiles of others as far as they can be told apart in these terms, for tables.
PEERS = {
    profile.name: profile
    for profile in (
        # Heads of all queues by priority, then age; whoever fits passes (Kueue's BestEffortFIFO).
        replace(QUOTA_PROTECTING, name="kueue_like"),
        # The queue with the smallest share first, no reservations (Volcano's drf and proportion).
        Profile("volcano_like", order=(Order.SHARE, Order.PRIORITY, Order.AGE)),
        # First come, first served, with or without a reservation for the first who waits.
        FIFO_EASY,
        FIFO_SKIP,
        # Without queues, quota or backfill: where fragmentation is looked at and nothing else.
        Profile("fgd_like", order=(Order.AGE,), learns=True),
    )
}


# Kueue's performance baseline (test/performance/scheduler, default configuration): per queue
# (class, jobs, units, run seconds, priority, seconds between arrivals).
_BASELINE = (
    ("small", 350, 1, 0.2, 50, 0.1),
    ("medium", 100, 5, 0.5, 100, 0.5),
    ("large", 50, 20, 1.0, 200, 1.2),
)
_COHORTS, _QUEUES_PER_COHORT, _NOMINAL, _BORROW = 5, 6, 20, 100


def kueue_baseline(profile: Profile) -> Simulation:
    """15,000 jobs in 30 queues of 5 cohorts, one unit of CPU being a whole one; no real nodes."""
    queues: list[QueueSpec] = []
    arrivals: list[Arrival] = []
    for cohort in range(_COHORTS):
        parent = QueueName(f"cohort-{cohort}")
        queues.append(QueueSpec(parent))
        for number in range(_QUEUES_PER_COHORT):
            name = QueueName(f"cohort-{cohort}-queue-{number}")
            nominal = Amount(UNLIMITED[0], _NOMINAL * 1000, UNLIMITED[2])
            borrow = Amount(UNLIMITED[0], _BORROW * 1000, UNLIMITED[2])
            queues.append(QueueSpec(name, parent, nominal=nominal, borrow_max=borrow))
            arrivals += _baseline_jobs(name)
    units = _COHORTS * _QUEUES_PER_COHORT * _NOMINAL
    node = Node(NodeName("all"), gpus=0, cpu_milli=units * 1000, memory_mib=0)
    return Simulation(Board([node], queues, profile), arrivals)


def _baseline_jobs(queue: QueueName) -> list[Arrival]:
    arrivals = []
    for kind, count, units, seconds, priority, every in _BASELINE:
        roles = (Role(Request(cpu_milli=units * 1000)),)
        for number in range(count):
            job = Job(
                JobId(f"{queue}-{kind}-{number}"),
                queue,
                roles,
                priority=priority,
                submitted_at=round(number * every, 3),
                estimate_seconds=seconds,
            )
            arrivals.append(Arrival(job, seconds))
    return arrivals


def busiest_window(arrivals: Sequence[Arrival], jobs: int) -> list[Arrival]:
    """That many consecutive arrivals in the shortest time: a slice of a trace that still bites."""
    if len(arrivals) <= jobs:
        return list(arrivals)
    times = [arrival.job.submitted_at for arrival in arrivals]
    assert all(a <= b for a, b in pairwise(times))
    first = min(range(len(times) - jobs + 1), key=lambda i: times[i + jobs - 1] - times[i])
    return list(arrivals[first : first + jobs])
