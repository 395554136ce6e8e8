"""All members or none, together or apart, and what becomes of half a gang."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.jobs.rules.cluster import Cluster, Node
from tokenyard.jobs.rules.gangs import (
    Floor,
    Release,
    Run,
    Settlement,
    Shortfall,
    Wait,
    seat_gang,
    settle,
)
from tokenyard.jobs.rules.placement import Pack
from tokenyard.jobs.rules.workload import Job, Request, Role, Seats, Topology
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName
from tokenyard.vocabulary.reasons import Reason

GPU = Request(gpus=1)


def floor(*gpus: int, per_rack: int = 2) -> Floor:
    nodes = [
        Node(
            NodeName(f"n{i}"),
            gpus=count,
            cpu_milli=64_000,
            memory_mib=1,
            labels={"rack": f"r{i // per_rack}"},
        )
        for i, count in enumerate(gpus)
    ]
    return Floor(Cluster(nodes), Pack())


def job(*roles: Role, topology: Topology | None = None, avoid: str = "") -> Job:
    avoided = frozenset({NodeName(avoid)} if avoid else ())
    return Job(JobId("j"), QueueName("q"), roles, topology=topology, avoid_nodes=avoided)


def try_seats(on: Floor, wanted: Job, limits: list[int] | None = None) -> Seats | Shortfall:
    mark = on.cluster.mark()
    before = on.cluster.gpu_free
    seats = seat_gang(on, wanted, limits)
    if isinstance(seats, Shortfall):
        assert on.cluster.gpu_free == before
    on.cluster.undo(mark)
    return seats


def nodes_of(seats: Seats | Shortfall) -> list[int]:
    assert not isinstance(seats, Shortfall)
    return sorted(seat.node for seat in seats)


RACK = Topology("rack")


@pytest.mark.parametrize(
    ("gpus", "wanted", "nodes"),
    [
        ([2, 2], job(Role(GPU, 4, 4)), [0, 0, 1, 1]),
        ([2, 2], job(Role(GPU, 2, 9)), [0, 0, 1, 1]),
        ([8, 4], job(Role(Request(gpus=4), 1, 1)), [1]),
        # The tightest rack that holds all of it.
        ([4, 4, 2, 2], job(Role(GPU, 4, 4), topology=RACK), [2, 2, 3, 3]),
        ([2, 2, 1, 8], job(Role(GPU, 4, 4), topology=Topology("node")), [3, 3, 3, 3]),
        # Preferred: together if it can be, anywhere if not.
        ([2, 1, 2, 1], job(Role(GPU, 3, 3), topology=Topology("rack", False)), [0, 0, 1]),
        ([2, 1, 2, 1], job(Role(GPU, 5, 5), topology=Topology("rack", False)), [0, 0, 1, 2, 3]),
        # An elastic gang takes the rack that gives it most.
        ([2, 2, 4, 4], job(Role(GPU, 2, 8), topology=RACK), [2, 2, 2, 2, 3, 3, 3, 3]),
        ([4, 4], job(Role(GPU, 2, 2), topology=Topology("node", spread=True)), [0, 1]),
        ([4, 4], job(Role(GPU, 3, 3), topology=Topology("node", False, True)), [0, 0, 0]),
        ([4, 4], job(Role(GPU, 2, 2), avoid="n0"), [1, 1]),
        # The large role first, or the small one would break its node.
        ([2, 1], job(Role(GPU, 1, 1, "a"), Role(Request(gpus=2), 1, 1, "b")), [0, 1]),
    ],
)
def test_where_a_gang_sits(gpus: list[int], wanted: Job, nodes: list[int]) -> None:
    assert nodes_of(try_seats(floor(*gpus), wanted)) == nodes


@pytest.mark.parametrize(
    ("gpus", "wanted", "reason"),
    [
        ([2, 2], job(Role(GPU, 5, 5)), Reason.NEVER_FITS),
        ([2, 2], job(Role(Request(gpus=4))), Reason.NEVER_FITS),
        ([2, 2], job(Role(GPU, 3, 3), avoid="n0"), Reason.NEVER_FITS),
        ([2, 2, 2, 2], job(Role(GPU, 5, 5), topology=RACK), Reason.TOPOLOGY),
        ([4, 4], job(Role(GPU, 3, 3), topology=Topology("node", spread=True)), Reason.TOPOLOGY),
        ([2, 2], job(Role(GPU, 3, 3), Role(GPU, 2, 2, "b")), Reason.FRAGMENTED),
    ],
)
def test_why_a_gang_does_not_sit(gpus: list[int], wanted: Job, reason: Reason) -> None:
    found = try_seats(floor(*gpus), wanted)
    assert isinstance(found, Shortfall)
    assert found.reason is reason


def test_a_full_a_broken_and_a_closed_cluster_are_told_apart() -> None:
    on = floor(4, 4)
    whole, half = job(Role(Request(gpus=4))), job(Role(GPU, 2, 2))
    mark = on.cluster.mark()
    assert not isinstance(seat_gang(on, half), Shortfall)
    assert not isinstance(seat_gang(on, job(Role(Request(gpus=3)))), Shortfall)
    broken = seat_gang(on, job(Role(Request(gpus=3))))
    assert isinstance(broken, Shortfall)
    assert broken.reason is Reason.FRAGMENTED
    assert (broken.gpus_needed, broken.gpus_free, broken.possible) == (3.0, 3.0, 0)
    full = seat_gang(on, whole)
    assert isinstance(full, Shortfall)
    assert full.reason is Reason.INSUFFICIENT_RESOURCES
    on.cluster.undo(mark)
    for name in ("n0", "n1"):
        on.cluster.set_open(NodeName(name), False)
    closed = try_seats(on, whole)
    assert isinstance(closed, Shortfall)
    assert closed.reason is Reason.NODES_CLOSED


def test_quota_limits_an_elastic_gang() -> None:
    assert nodes_of(try_seats(floor(8), job(Role(GPU, 1, 8)), [3])) == [0, 0, 0]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)), min_size=1,
             max_size=3),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_all_or_nothing(gpus: list[int], sizes: list[tuple[int, int, int]]) -> None:
    roles = [
        Role(Request(gpus=size), least, max(least, most), f"r{i}")
        for i, (size, least, most) in enumerate(sizes)
    ]
    if not any(role.members_min for role in roles):
        return
    on = floor(*gpus)
    found = try_seats(on, job(*roles))
    if isinstance(found, Shortfall):
        return
    for number, role in enumerate(roles):
        count = sum(seat.role == number for seat in found)
        assert role.members_min <= count <= role.members_max


@pytest.mark.parametrize(
    ("seated", "now", "attempt", "settlement"),
    [
        ((2, 1), 900.0, 1, Run()),
        ((1, 1), 100.0, 1, Wait(160.0)),
        ((1, 1), 160.0, 1, Release(170.0)),
        ((2, 0), 160.0, 3, Release(200.0)),
        ((2, 0), 160.0, 1000, Release(460.0)),
    ],
)
def test_half_a_gang_is_settled(
    seated: tuple[int, int], now: float, attempt: int, settlement: Settlement
) -> None:
    found = settle(
        seated_by_role=seated,
        roles=(Role(GPU, 2, 4), Role(GPU, 1, 1, "b")),
        incomplete_since=100.0,
        now=now,
        patience_seconds=60.0,
        attempt=attempt,
        back_off_seconds=10.0,
        back_off_seconds_max=300.0,
    )
    assert found == settlement
