"""Seats that are held for somebody until those who sit there have gone.

Decides whether a claim can still come true; not who gets one.
"""

from collections.abc import Mapping, Sequence

from tokenyard.jobs.rules.board import Board, Entry
from tokenyard.jobs.rules.decisions import Claim, Decision, Preempt, Release, Renounce, Start
from tokenyard.jobs.rules.workload import Seats
from tokenyard.vocabulary.ids import JobId


def in_order(decisions: Sequence[Decision], lifted: Mapping[JobId, Entry]) -> tuple[Decision, ...]:
    """The decisions in the order in which they must be applied.

    Where somebody must go first, even who is lifted only on trial, a start becomes a claim.
    """
    first = [d for d in decisions if isinstance(d, (Preempt, Release, Renounce))]
    then = [d for d in decisions if not isinstance(d, (Preempt, Release, Renounce))]
    gone = {d.job for d in first if isinstance(d, Preempt)} & lifted.keys()
    nodes = {seat.node for job in gone for seat in lifted[job].seats}
    return (*first, *(_claim_on(nodes, decision) for decision in then))


def _claim_on(nodes: set[int], decision: Decision) -> Decision:
    if isinstance(decision, Start) and any(seat.node in nodes for seat in decision.seats):
        return Claim(decision.job, decision.seats)
    return decision


def all_open(board: Board, seats: Seats) -> bool:
    """Whether every seat is on a node that takes new members."""
    closed = board.cluster.closed
    return not closed or all(seat.node not in closed for seat in seats)


def is_coming(board: Board, seats: Seats) -> bool:
    """Whether everyone on claimed seats has been told to go."""
    cluster = board.cluster
    here = cluster.here()
    for leaving in board.stopping.values():
        cluster.give_all(leaving.seats)
    free = cluster.is_free(seats)
    cluster.rewind(here)
    return free
