"""Nodes, trials and the indexes over them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.jobs.rules.cluster import Cluster, Node
from tokenyard.jobs.rules.fragmentation import Mix, typical
from tokenyard.jobs.rules.placement import (
    BestFit,
    FirstFit,
    LeastFragmentation,
    Pack,
    Policy,
    RandomFit,
    Spread,
)
from tokenyard.jobs.rules.seating import Seating
from tokenyard.jobs.rules.workload import Request, Seat
from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest
from tokenyard.vocabulary.ids import NodeName

REQUESTS = [
    Request(gpus=1),
    Request(gpus=2, cpu_milli=2000),
    Request(gpus=8),
    Request(gpus=1, gpu_milli=300, cpu_milli=500),
    Request(gpus=1, gpu_milli=500, memory_mib=1000),
    Request(cpu_milli=4000, memory_mib=2000),
    Request(gpus=1, gpu_models=frozenset({"A"})),
    Request(gpus=1, labels=(("rack", "r1"),)),
]
MIX = Mix(typical(REQUESTS))
POLICIES: list[Policy] = [
    BestFit(), FirstFit(), Pack(), Spread(), LeastFragmentation(MIX), RandomFit(3)
]  # fmt: skip


def make_cluster() -> Cluster:
    return Cluster(
        Node(
            NodeName(f"n{i}"),
            gpus=(8, 4, 2, 0)[i % 4],
            cpu_milli=16_000,
            memory_mib=8_000,
            model="AB"[i % 2],
            labels={"rack": f"r{i // 3}"},
        )
        for i in range(9)
    )


def state(cluster: Cluster) -> list[tuple[object, ...]]:
    return [
        (n.cpu_free, n.memory_free, tuple(n.gpus), n.gpu_free, n.whole, n.open, tuple(n.ends))
        for n in cluster.nodes
    ] + [(cluster.gpu_free, cluster.cpu_free, cluster.memory_free)]


def test_a_gpu_is_never_given_twice() -> None:
    cluster = make_cluster()
    seat = Seat(0, (0, 1), Request(gpus=2))
    cluster.take(seat)
    before = state(cluster)
    for clash in (seat, Seat(0, (1,), Request(gpus=1, gpu_milli=100))):
        with pytest.raises(InternalFailure):
            cluster.take(clash)
    with pytest.raises(InternalFailure, match="twice"):
        cluster.take(Seat(0, (3, 3), Request(gpus=2)))
    with pytest.raises(InternalFailure):
        cluster.take_all((Seat(1, (0,), Request(gpus=1)), seat))
    assert state(cluster) == before
    cluster.give(seat)
    with pytest.raises(InternalFailure, match="not taken"):
        cluster.give(seat)


def test_two_nodes_cannot_share_a_name() -> None:
    nodes = [Node(NodeName("n"), gpus=1, cpu_milli=1, memory_mib=1) for _ in range(2)]
    with pytest.raises(InvalidRequest, match="Two nodes"):
        Cluster(nodes)


def test_the_free_part_of_a_seat_can_be_held() -> None:
    cluster = make_cluster()
    cluster.take(Seat(0, (1,), Request(gpus=1, cpu_milli=15_000)))
    part = cluster.part_free(Seat(0, (0, 1, 2), Request(gpus=3, cpu_milli=3_000)))
    assert part.gpus == (0, 2)
    assert part.request.cpu_milli == 1_000
    cluster.take(part)


Step = tuple[int, int, bool, float]


def scan(
    cluster: Cluster, request: Request, policy: Policy, ends_at: float
) -> tuple[int, int | None]:
    """What the index must answer, by looking at every node."""
    slots = [n.slots(request) if n.open and n.matches(request) else 0 for n in cluster.nodes]
    fitting = []
    for node in cluster.nodes:
        longer = ends_at - node.until
        if slots[node.index]:
            score = policy.score(node, request)
            fitting.append((-score, longer > 0, abs(longer), node.index))
    return sum(slots), min(fitting)[-1] if fitting else None


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 7), st.integers(0, 8), st.booleans(), st.sampled_from([5.0, 7.0, 9.0])
        ),
        max_size=40,
    )
)
@settings(max_examples=25, deadline=None)
def test_an_index_answers_like_a_scan_and_undo_restores(policy: Policy, steps: list[Step]) -> None:
    cluster = make_cluster()
    indexes = [Seating(cluster, request, policy) for request in REQUESTS]
    taken: list[tuple[Seat, float]] = []
    for which, node, grow, ends_at in steps:
        index = indexes[which]
        index.sync()
        if grow and index.slots(node):
            seat = index.seat(node)
            cluster.take(seat)
            cluster.expect((seat,), ends_at)
            taken.append((seat, ends_at))
        elif taken:
            seat, known = taken.pop(which % len(taken))
            cluster.give(seat)
            cluster.forget((seat,), known)
        else:
            cluster.set_open(cluster.nodes[node].name, not cluster.nodes[node].open)
        for index in indexes[which : which + 2]:
            index.sync()
            total, best = scan(cluster, index.request, policy, ends_at)
            assert index.total == total
            if policy.draws is None:
                assert index.best(ends_at=ends_at) == best
                assert index.best_among(list(range(9)), ends_at) == best
            else:
                drawn = index.best()
                assert (drawn is None) == (best is None)
                assert drawn is None or index.slots(drawn)
            assert sum(index.domains("rack").values()) == total
    before = state(cluster)
    mark = cluster.mark()
    for index in indexes:
        index.sync()
        while (found := index.best()) is not None:
            seat = index.seat(found)
            cluster.take(seat)
            cluster.expect((seat,), 8.0)
            index.sync()
    cluster.undo(mark)
    assert state(cluster) == before


def test_a_best_node_can_be_refused() -> None:
    cluster = make_cluster()
    index = Seating(cluster, Request(gpus=1), Pack())
    first = index.best()
    assert index.best(lambda node: node != first) != first
    assert index.best() == first
    assert index.best(lambda node: False) is None
    assert index.best_among([0, 4]) == 0


@pytest.mark.parametrize(
    ("ends_at", "wanted"),
    [
        # With those who stay as long, or a little longer.
        (100.0, [2, 3, 1, 0]),
        (90.0, [2, 3, 1, 0]),
        (50.0, [1, 2, 3, 0]),
        # Nobody stays so long: where it keeps the node busy the least longer, empty ones last.
        (300.0, [3, 2, 1, 0]),
        (float("inf"), [3, 2, 1, 0]),
    ],
)
def test_a_newcomer_sits_with_those_who_go_when_it_goes(ends_at: float, wanted: list[int]) -> None:
    cluster = Cluster(Node(NodeName(f"n{i}"), gpus=8, cpu_milli=0, memory_mib=0) for i in range(4))
    for node, ends in {1: [50.0], 2: [40.0, 100.0], 3: [200.0]}.items():
        for end in ends:
            cluster.expect((Seat(node, (), Request()),), end)
    index = Seating(cluster, Request(gpus=1), FirstFit())
    found: list[int] = []
    while (best := index.best(lambda one: one not in found, ends_at)) is not None:
        found.append(best)
    assert found == wanted
    # A better score outweighs it.
    tight = Seating(cluster, Request(gpus=1), BestFit())
    cluster.take(Seat(0, (0, 1), Request(gpus=2)))
    tight.sync()
    assert tight.best(ends_at=ends_at) == 0


def test_what_is_told_of_ends_is_forgotten_with_the_stay_and_with_a_trial() -> None:
    cluster = make_cluster()
    seats = (Seat(0, (0,), Request(gpus=1)), Seat(0, (1,), Request(gpus=1)))
    cluster.expect(seats, 50.0)
    mark = cluster.mark()
    cluster.expect(seats[:1], 70.0)
    assert cluster.nodes[0].until == 70.0
    cluster.forget(seats, 50.0)
    assert cluster.nodes[0].ends == [70.0]
    cluster.undo(mark)
    assert cluster.nodes[0].ends == [50.0]
    cluster.forget(seats, 50.0)
    assert cluster.nodes[0].until == 0.0


def test_an_index_survives_a_cut_history() -> None:
    cluster = Cluster([Node(NodeName("n"), gpus=8, cpu_milli=1, memory_mib=1)])
    index = Seating(cluster, Request(gpus=1), Pack())
    seat = Seat(0, (0,), Request(gpus=1))
    for _ in range(5_000):
        cluster.take(seat)
        cluster.give(seat)
    index.sync()
    assert index.total == 8
    assert index.best() == 0
    cluster.take(seat)
    index.sync()
    assert index.total == 7
    assert index.best() == 0


@pytest.mark.parametrize(
    ("gpus", "request_", "picked"),
    [
        ([1000, 400, 1000, 600], Request(gpus=2), (0, 2)),
        ([1000, 400, 1000, 600], Request(gpus=1, gpu_milli=500), (3,)),
        ([1000, 400, 400, 600], Request(gpus=1, gpu_milli=400), (1,)),
        ([1000], Request(cpu_milli=1), ()),
    ],
)
def test_the_tightest_gpus_are_picked(
    gpus: list[int], request_: Request, picked: tuple[int, ...]
) -> None:
    node = Node(NodeName("n"), gpus=len(gpus), cpu_milli=9, memory_mib=9)
    node.gpus[:] = gpus
    assert BestFit().pick(node, request_) == picked


def test_fragmentation_counts_what_the_typical_job_cannot_use() -> None:
    mix = Mix({Request(gpus=1): 1, Request(gpus=2): 1, Request(gpus=1, gpu_milli=500): 2})
    # One idle GPU and one with 300 left: the pair is impossible, 300 suits nobody.
    assert mix.fragment("", 0, [1000, 300]) == (300 + 1300 + 2 * 300) / 4
    assert mix.fragment("", 0, [1000, 1000]) == 0
    assert mix.fragment("", 0, []) == 0
    # A CPU-bound request that lacks CPU makes all free GPU useless to it.
    assert Mix({Request(gpus=1, cpu_milli=10): 1}).fragment("", 9, [1000]) == 1000
    assert Mix({Request(gpus=1, gpu_models=frozenset("A")): 1}).fragment("B", 9, [1000]) == 1000


def test_descent_prefers_the_broken_gpu() -> None:
    mix = Mix({Request(gpus=2): 3, Request(gpus=1, gpu_milli=500): 1})
    share = Request(gpus=1, gpu_milli=500)
    assert mix.descend("", 0, [1000, 1000, 500], share) == 2
    assert mix.descent("", 0, [1000, 500], share) > mix.descent("", 0, [1000, 1000], share)
    assert mix.descent("", 5, [1000, 1000], Request(cpu_milli=1)) == 50


def test_the_rarest_requests_are_left_out_of_the_mix() -> None:
    requests = [Request(gpus=1)] * 95 + [Request(gpus=8)] * 5
    assert typical(requests) == {Request(gpus=1): 95}
    assert len(typical(requests, percent=100)) == 2
