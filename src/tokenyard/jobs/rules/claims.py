"""Seats that are held for somebody until those who sit there have gone.

Decides whether a claim can still come true; not who gets one.
"""

from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.decisions import Claim, Decision, Start
from tokenyard.jobs.rules.workload import Seats


def claim_on(nodes: set[int], decision: Decision) -> Decision:
    """A start on one of those nodes as a claim: somebody must leave it first."""
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
