"""Quota, borrowing, lending and shares in a tree of queues."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.jobs.rules.fairness import QueueSpec, QueueTree, Share
from tokenyard.jobs.rules.workload import NOTHING, UNLIMITED, Amount
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.ids import QueueName
from tokenyard.vocabulary.reasons import Reason


def gpus(count: int) -> Amount:
    return Amount(count * 1000, 0, 0)


def quota(count: int) -> Amount:
    return Amount(count * 1000, UNLIMITED[1], UNLIMITED[2])


def queue(
    name: str,
    nominal: int | None = None,
    parent: str | None = "all",
    *,
    borrow: int | None = None,
    lend: int | None = None,
    cap: int | None = None,
    weight: float = 1.0,
) -> QueueSpec:
    return QueueSpec(
        QueueName(name),
        QueueName(parent) if parent else None,
        nominal=quota(nominal) if nominal is not None else None,
        borrow_max=quota(borrow) if borrow is not None else None,
        lend_max=quota(lend) if lend is not None else None,
        cap=quota(cap) if cap is not None else None,
        weight=weight,
    )


ALL = queue("all", None, None)


def tree(*specs: QueueSpec) -> QueueTree:
    return QueueTree([ALL, *specs], gpus(10))


A, B = QueueName("a"), QueueName("b")

CASES: list[tuple[Sequence[QueueSpec], int, int, Reason | None]] = [
    # (queues a and b, what b uses, what a asks, why not)
    ((queue("a", 4), queue("b", 6)), 0, 10, None),
    ((queue("a", 4), queue("b", 6)), 0, 11, Reason.QUEUE_QUOTA),
    ((queue("a", 4), queue("b", 6)), 6, 5, Reason.QUEUE_QUOTA),
    ((queue("a", 4, borrow=2), queue("b", 6)), 0, 6, None),
    ((queue("a", 4, borrow=2), queue("b", 6)), 0, 7, Reason.BORROW_LIMIT),
    ((queue("a", 4), queue("b", 6, lend=1)), 0, 5, None),
    ((queue("a", 4), queue("b", 6, lend=1)), 0, 6, Reason.QUEUE_QUOTA),
    # b's own part is never lent, so its use of it takes nothing from a.
    ((queue("a", 4), queue("b", 6, lend=1)), 5, 5, None),
    ((queue("a", 4), queue("b", 6, lend=1)), 6, 5, Reason.QUEUE_QUOTA),
    ((queue("a", 4, cap=3), queue("b", 6)), 0, 4, Reason.QUEUE_CAP),
    ((queue("a"), queue("b")), 99, 99, None),
]


@pytest.mark.parametrize(("specs", "used_by_b", "asked", "reason"), CASES)
def test_who_may_use_how_much(
    specs: Sequence[QueueSpec], used_by_b: int, asked: int, reason: Reason | None
) -> None:
    queues = tree(*specs)
    queues.charge(B, gpus(used_by_b))
    assert queues.refuse(A, gpus(asked)) is reason


def test_without_borrowing_only_the_nominal_counts() -> None:
    queues = tree(queue("a", 4), queue("b", 6))
    assert queues.refuse(A, gpus(5), may_borrow=False) is Reason.QUEUE_QUOTA
    assert queues.refuse(A, gpus(4), may_borrow=False) is None
    assert not queues.borrows(A, gpus(4))
    assert queues.borrows(A, gpus(5))


def test_a_cap_counts_the_whole_subtree() -> None:
    queues = QueueTree(
        [ALL, queue("team", None, "all", cap=3), queue("a", 4, "team"), queue("b", 4, "team")],
        gpus(10),
    )
    queues.charge(A, gpus(2))
    assert queues.refuse(B, gpus(2)) is Reason.QUEUE_CAP
    assert queues.refuse(B, gpus(1)) is None


def test_priority_classes_are_capped_each_by_itself() -> None:
    capped = QueueSpec(A, priority_caps=((0, quota(1)), (1, quota(2))))
    queues = QueueTree([capped], gpus(10))
    queues.charge(A, gpus(1), 0)
    assert queues.refuse(A, gpus(1), 0) is Reason.PRIORITY_CAP
    assert queues.refuse(A, gpus(2), 1) is None
    assert queues.refuse(A, gpus(9), 7) is None


def test_shares_are_weighed_level_by_level() -> None:
    queues = QueueTree(
        [ALL, queue("team", None, "all", weight=2), queue("a", 2, "team"), queue("b", 3, "all")],
        gpus(10),
    )
    assert queues.share(A, gpus(4), Share.DOMINANT) == (0.2, 0.4)
    assert queues.share(B, gpus(4), Share.DOMINANT) == (0.4,)
    # Only what is beyond the nominal counts as borrowed, against what the parent has to lend.
    assert queues.share(A, gpus(2), Share.BORROWED) == (0.0, 0.0)
    assert queues.share(B, gpus(5), Share.BORROWED) == (2 / 5,)


@pytest.mark.parametrize(
    "specs",
    [[queue("a"), queue("a")], [queue("a", parent="ghost")], [queue("a", parent="a")]],
)
def test_a_tree_that_makes_no_sense_is_refused(specs: list[QueueSpec]) -> None:
    with pytest.raises(InvalidRequest):
        tree(*specs)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_no_queue_gets_more_than_the_tree_owns(steps: list[tuple[str, int]]) -> None:
    queues = tree(queue("a", 3, lend=1), queue("b", 4, borrow=2), queue("c", 3))
    queues.keeps_journal = True
    taken: list[tuple[QueueName, Amount]] = []
    for name, count in steps:
        if queues.refuse(QueueName(name), gpus(count)) is None:
            queues.charge(QueueName(name), gpus(count))
            taken.append((QueueName(name), gpus(count)))
        elif taken:
            queues.refund(*taken.pop(0))
        assert queues.used(QueueName("all"))[0] <= 10_000
        assert queues.used(B)[0] <= 6_000
        # What a lends not, others can never have taken from it.
        assert queues.available(A)[0] >= 2_000 - queues.used(A)[0]
    queues.rewind(0)
    assert queues.used(QueueName("all")) == NOTHING
    assert queues.available(A)[0] == 10_000
