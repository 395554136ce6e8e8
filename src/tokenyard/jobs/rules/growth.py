"""Members for gangs that take them while they run.

Decides who gets what nobody waits for: gangs in the order in which they started, one member each in
a cycle. It works inside an open trial of the cluster, after all who wait were tried, and only when
nobody is told to go in that cycle: the trial shows seats as free on which somebody still sits.
"""

from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.decisions import Complete
from tokenyard.jobs.rules.elastic import room_to_grow
from tokenyard.jobs.rules.gangs import Shortfall, near, seat_gang
from tokenyard.jobs.rules.workload import amount_of


def grow(board: Board) -> list[Complete]:
    """One more member for each gang that may and can have one."""
    found = []
    for entry in list(board.growing.values()):
        if entry.incomplete_since is not None:
            continue
        more = room_to_grow(board.queues, entry.job, entry.seats)
        if more is None:
            continue
        seats = seat_gang(board.floor, more, None, near(board.cluster, entry.job, entry.seats))
        if not isinstance(seats, Shortfall):
            found.append(Complete(entry.job.id, seats))
            board.queues.charge(entry.job.queue, amount_of(seats), entry.job.priority)
    return found
