"""When a blocked gang will be able to start, and who may run in the gap before it.

A reservation is a planned start with seats. A smaller job may pass if it is gone by then, or if it
leaves those nodes what the reservation needs. Ends of running jobs are expectations: a wrong one
moves the reservation, it never breaks it. Method: Lifka 1995 (EASY), Mu'alem and Feitelson 2001
(conservative), with exact nodes instead of processor counts. Works inside an open trial.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.gangs import Floor, Shortfall, seat_gang
from tokenyard.jobs.rules.workload import GPU_MILLI, Amount, Job, Request, Seats

# (expected end, seats): somebody who sits there until then.
Leaving = tuple[float, Seats]


class Spare:
    """What a reservation leaves of one node, counted down as long jobs pass."""

    __slots__ = ("cpu", "memory", "whole")

    def __init__(self, node: Node) -> None:
        self.whole = node.whole
        self.cpu = node.cpu_free
        self.memory = node.memory_free

    def covers(self, request: Request, count: int = 1) -> bool:
        """Whether that many more members leave the reservation whole. A share counts as a GPU."""
        return (
            self.whole >= request.gpus * count
            and self.cpu >= request.cpu_milli * count
            and self.memory >= request.memory_mib * count
        )

    def use(self, request: Request) -> None:
        """One more member sits there past the planned start."""
        self.whole -= request.gpus
        self.cpu -= request.cpu_milli
        self.memory -= request.memory_mib


@dataclass(frozen=True, slots=True)
class Reservation:
    """A planned start. `seats` show that it is possible; at the time better ones may be chosen."""

    job: Job
    start: float
    ends_at: float
    seats: Seats
    # For each node of the seats, what is left there at the planned start.
    spare: dict[int, Spare]

    def lets_pass(self, node: int, request: Request, ends_at: float) -> bool:
        """Whether one such member may sit on that node until `ends_at`."""
        if ends_at <= self.start:
            return True
        spare = self.spare.get(node)
        return spare is None or spare.covers(request)

    def lets_all_pass(self, seats: Seats, ends_at: float) -> bool:
        """The same for all members of a gang together."""
        if ends_at <= self.start:
            return True
        by_node: dict[int, list[Request]] = {}
        for seat in seats:
            if seat.node in self.spare:
                by_node.setdefault(seat.node, []).append(seat.request)
        for node, requests in by_node.items():
            spare = self.spare[node]
            total = Amount()
            for request in requests:
                total = total.plus(
                    Amount(request.gpus * GPU_MILLI, request.cpu_milli, request.memory_mib)
                )
            if not Amount(spare.whole * GPU_MILLI, spare.cpu, spare.memory).covers(total):
                return False
        return True

    def note(self, seats: Seats, ends_at: float) -> None:
        """Those members do pass."""
        if ends_at > self.start:
            for seat in seats:
                if seat.node in self.spare:
                    self.spare[seat.node].use(seat.request)


def reserve(
    floor: Floor,
    job: Job,
    seconds: float,
    now: float,
    leaving: Iterable[Leaving],
    *,
    earlier: Sequence[Reservation] = (),
) -> Reservation | None:
    """The earliest time at which the gang fits for its whole length; None when no end is known.

    `leaving` is in order of expected ends; `earlier` reservations keep their seats. The cluster
    must be in a trial, and is as before afterwards.
    """
    cluster = floor.cluster
    mark = cluster.here()
    ends = _merge(leaving, earlier, now)
    try:
        position = 0
        while position < len(ends) and ends[position][0] != float("inf"):
            start = ends[position][0]
            while position < len(ends) and ends[position][0] == start:
                cluster.give_all(ends[position][1])
                position += 1
            found = _fit(floor, job, start, start + seconds, earlier)
            if found is not None:
                return found
        return None
    finally:
        cluster.rewind(mark)


def _merge(leaving: Iterable[Leaving], earlier: Sequence[Reservation], now: float) -> list[Leaving]:
    """Every time at which room may appear; a reservation's end gives nothing back by itself."""
    ends: list[Leaving] = [(max(end, now), seats) for end, seats in leaving]
    ends.extend((reservation.ends_at, ()) for reservation in earlier)
    ends.sort(key=lambda end: end[0])
    return ends


def _fit(
    floor: Floor, job: Job, start: float, ends_at: float, earlier: Sequence[Reservation]
) -> Reservation | None:
    cluster = floor.cluster
    for role in job.roles:
        if floor.index(role.request).total < role.members_min:
            return None
    here = cluster.here()
    for other in earlier:
        if other.start < ends_at and start < other.ends_at:
            # Its occupants may not all have gone yet: what is free of its seats is its own.
            for seat in other.seats:
                cluster.take(cluster.part_free(seat))
    seats = seat_gang(floor, job, tuple(role.members_min for role in job.roles))
    found = None
    if not isinstance(seats, Shortfall):
        spare = {seat.node: Spare(cluster.nodes[seat.node]) for seat in seats}
        found = Reservation(job, start, ends_at, seats, spare)
    cluster.rewind(here)
    return found
