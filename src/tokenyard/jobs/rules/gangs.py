"""Seats for whole gangs: all members that it needs, or nothing.

Decides where the members of one job sit together, and what becomes of a gang that started only in
part. It works inside an open trial of the cluster: on success the seats are taken there, on failure
the trial is as before. It does not know queues, priorities or other jobs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tokenyard.jobs.rules.cluster import Cluster
from tokenyard.jobs.rules.placement import Policy
from tokenyard.jobs.rules.seating import Seating
from tokenyard.jobs.rules.workload import (
    GPU_MILLI,
    INFINITY,
    Amount,
    Job,
    Request,
    Role,
    Seat,
    Seats,
)
from tokenyard.vocabulary.reasons import Reason

Allowed = Callable[[int], bool] | None


class Floor:
    """The cluster with an index for each kind of request that somebody has asked about."""

    def __init__(self, cluster: Cluster, policy: Policy) -> None:
        self.cluster = cluster
        self.policy = policy
        self._indexes: dict[Request, Seating] = {}

    def index(self, request: Request) -> Seating:
        """The index for that request, up to date."""
        known = self._indexes.get(request)
        if known is None:
            known = self._indexes[request] = Seating(self.cluster, request, self.policy)
        else:
            known.sync()
        return known


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a gang cannot sit down now; the numbers are of the role that fails."""

    reason: Reason
    role: str = ""
    # Members that must sit, and how many could at the moment.
    needed: int = 0
    possible: int = 0
    gpus_needed: float = 0.0
    gpus_free: float = 0.0
    level: str = ""


def seat_gang(
    floor: Floor,
    job: Job,
    members_max: Sequence[int] | None = None,
    allowed: Allowed = None,
    *,
    ends_at: float = INFINITY,
) -> Seats | Shortfall:
    """Seats for at least the minimum of every role and as many as fit up to `members_max`.

    ends_at: when the gang should have gone again, so that it can sit with such as go then too.

    The cluster must be in a trial; the seats are taken in it when they are returned.
    """
    if job.avoid_nodes:
        allowed = _avoiding(floor, job, allowed)
    for role in job.roles:
        if role.members_min and floor.index(role.request).total < role.members_min:
            return diagnose(floor, job)
    limits = tuple(members_max or (role.members_max for role in job.roles))
    topology = job.topology
    seats: Seats | None = None
    if topology is not None and topology.spread:
        seats = _seat_apart(floor, job, limits, allowed, level=topology.level, ends_at=ends_at)
    elif topology is not None:
        seats = _seat_together(floor, job, limits, allowed, level=topology.level, ends_at=ends_at)
    if seats is None and (topology is None or not topology.required):
        seats = _seat_by(floor, job, limits, lambda index: index.best(allowed, ends_at))
    return seats if seats is not None else diagnose(floor, job)


def _avoiding(floor: Floor, job: Job, allowed: Allowed) -> Allowed:
    nodes = floor.cluster.nodes
    if allowed is None:
        return lambda index: nodes[index].name not in job.avoid_nodes
    return lambda index: nodes[index].name not in job.avoid_nodes and allowed(index)


def _largest_first(job: Job) -> list[int]:
    """Roles in the order in which they are seated: those that are hardest to place first."""
    return sorted(range(len(job.roles)), key=lambda r: job.roles[r].request.amount, reverse=True)


def _seat_by(
    floor: Floor,
    job: Job,
    limits: Sequence[int],
    choose: Callable[[Seating], int | None],
    seated: Callable[[int], None] = lambda node: None,
) -> Seats | None:
    """Every role's minimum first, then more of each while they fit; all or nothing."""
    cluster = floor.cluster
    mark = cluster.here()
    seats: list[Seat] = []
    counts = [0] * len(job.roles)
    order = _largest_first(job) if len(job.roles) > 1 else [0]
    wanted = [(r, job.roles[r].members_min) for r in order] + [(r, limits[r]) for r in order]
    for position, (role, count) in enumerate(wanted):
        request = job.roles[role].request
        while counts[role] < count:
            index = floor.index(request)
            node = choose(index)
            if node is None:
                break
            seat = index.seat(node, role)
            cluster.take(seat)
            seated(node)
            seats.append(seat)
            counts[role] += 1
        if position < len(order) and counts[role] < count:
            cluster.rewind(mark)
            return None
    return tuple(seats)


def _seat_together(
    floor: Floor, job: Job, limits: Sequence[int], allowed: Allowed, *, level: str, ends_at: float
) -> Seats | None:
    """All members in one domain: the tightest that holds the whole gang, else the most members."""
    cluster = floor.cluster
    needed = [
        (floor.index(role.request).domains(level), role.members_min, limit)
        for role, limit in zip(job.roles, limits, strict=True)
    ]
    candidates = []
    for value in needed[0][0]:
        if all(domains.get(value, 0) >= least for domains, least, _ in needed):
            room = sum(min(domains.get(value, 0), limit) for domains, _, limit in needed)
            slots = sum(domains.get(value, 0) for domains, _, _ in needed)
            candidates.append((-room, slots, value))
    for _, _, value in sorted(candidates):
        nodes = [
            node.index
            for node in cluster.nodes
            if node.labels.get(level) == value and (allowed is None or allowed(node.index))
        ]
        seats = _seat_by(floor, job, limits, _among(nodes, ends_at))
        if seats is not None:
            return seats
    return None


def _among(nodes: list[int], ends_at: float) -> Callable[[Seating], int | None]:
    return lambda index: index.best_among(nodes, ends_at)


def _seat_apart(
    floor: Floor, job: Job, limits: Sequence[int], allowed: Allowed, *, level: str, ends_at: float
) -> Seats | None:
    """Every member in a domain of its own."""
    nodes = floor.cluster.nodes
    used: set[str] = set()

    def free(index: int) -> bool:
        value = nodes[index].labels.get(level)
        return value is not None and value not in used and (allowed is None or allowed(index))

    def occupy(index: int) -> None:
        used.add(nodes[index].labels[level])

    return _seat_by(floor, job, limits, lambda index: index.best(free, ends_at), occupy)


def diagnose(floor: Floor, job: Job) -> Shortfall:
    """The one dominant reason for which the gang cannot sit down, hardest obstacle first."""
    plain = len(job.roles) == 1 and job.topology is None and not job.avoid_nodes
    if plain and not floor.cluster.closed:
        return _diagnose_plain(floor, job)
    level = job.topology.level if job.topology is not None and job.topology.required else ""
    found = [_diagnose_role(floor, job, role, level) for role in job.roles if role.members_min]
    worst = min(found, key=lambda shortfall: _GRAVITY.index(shortfall.reason))
    enough = floor.cluster.free_open().covers(job.amount_min)
    if worst.reason is Reason.INSUFFICIENT_RESOURCES and enough:
        return replace(worst, reason=Reason.FRAGMENTED)
    return worst


def _diagnose_plain(floor: Floor, job: Job) -> Shortfall:
    """The same for the common case, which is asked for every waiting line in every cycle."""
    cluster, role = floor.cluster, job.roles[0]
    index = floor.index(role.request)
    needed, possible = role.members_min, index.total
    reason = Reason.INSUFFICIENT_RESOURCES
    if index.capacity < needed:
        reason, possible = Reason.NEVER_FITS, index.capacity
    elif Amount(cluster.gpu_free, cluster.cpu_free, cluster.memory_free).covers(job.amount_min):
        reason = Reason.FRAGMENTED
    gpus = job.amount_min.gpu_milli / GPU_MILLI
    free = cluster.gpu_free / GPU_MILLI
    return Shortfall(reason, role.name, needed, possible, gpus, free)


# The graver reason wins: no patience helps the first, the last passes by itself.
_GRAVITY = (
    Reason.NEVER_FITS,
    Reason.NODES_CLOSED,
    Reason.INSUFFICIENT_RESOURCES,
    Reason.FRAGMENTED,
    Reason.TOPOLOGY,
)


def _diagnose_role(floor: Floor, job: Job, role: Role, level: str) -> Shortfall:
    cluster = floor.cluster
    index = floor.index(role.request)
    avoided = [cluster.by_name[name] for name in job.avoid_nodes if name in cluster.by_name]
    suiting = [node for node in avoided if node.matches(role.request)]
    possible = index.total - sum(index.slots(node.index) for node in suiting)
    when_empty = index.capacity - sum(node.slots_empty(role.request) for node in suiting)
    needed = role.members_min
    if when_empty < needed:
        reason, possible = Reason.NEVER_FITS, when_empty
    elif possible < needed:
        closed = (cluster.nodes[i] for i in cluster.closed)
        if_open = possible + sum(n.slots(role.request) for n in closed if n.matches(role.request))
        reason = Reason.NODES_CLOSED if if_open >= needed else Reason.INSUFFICIENT_RESOURCES
    elif job.topology is not None:
        reason = Reason.TOPOLOGY
        if not job.topology.spread:
            possible = max(index.domains(job.topology.level).values(), default=0)
    else:
        # Enough for each role by itself, not for all together.
        reason = Reason.FRAGMENTED
    gpus_needed = role.request.amount.gpu_milli * needed / GPU_MILLI
    return Shortfall(
        reason, role.name, needed, possible, gpus_needed, cluster.gpu_free / GPU_MILLI, level
    )


def missing(job: Job, seats: Seats) -> list[int]:
    """Members below the minimum, for each role."""
    counts = seated_by_role(job, seats)
    return [max(0, role.members_min - n) for role, n in zip(job.roles, counts, strict=True)]


def seated_by_role(job: Job, seats: Seats) -> list[int]:
    """How many members of each role sit."""
    counts = [0] * len(job.roles)
    for seat in seats:
        counts[seat.role] += 1
    return counts


def rest_of(job: Job, seats: Seats) -> Job:
    """The members that an incomplete gang lacks, as a job of their own."""
    roles = tuple(
        replace(role, members_min=count, members_max=max(count, 1))
        for role, count in zip(job.roles, missing(job, seats), strict=True)
    )
    topology = job.topology
    # Nearness to those who sit is `near`'s business; the rest may lie apart from each other.
    keeps = topology if topology is not None and topology.spread else None
    return replace(job, roles=roles, topology=keeps)


def near(cluster: Cluster, job: Job, seats: Seats) -> Allowed:
    """Nodes on which the rest of a gang may sit, as its topology requires."""
    topology = job.topology
    if topology is None or not topology.required or not seats:
        return None
    nodes, level, spread = cluster.nodes, topology.level, topology.spread
    taken = {nodes[seat.node].labels.get(level) for seat in seats}
    return lambda index: (nodes[index].labels.get(level) in taken) is not spread


@dataclass(frozen=True, slots=True)
class Run:
    """Enough members sit: the gang runs with them."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Below the minimum, with patience left: look again at `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Release:
    """Patience is over: every seat is given back and the job waits until `not_before`."""

    not_before: float


Settlement = Run | Wait | Release


def settle(
    *,
    seated_by_role: Sequence[int],
    roles: Sequence[Role],
    incomplete_since: float,
    now: float,
    patience_seconds: float,
    attempt: int,
    back_off_seconds: float,
    back_off_seconds_max: float,
) -> Settlement:
    """What becomes of a gang that started only in part.

    It never holds seats for longer than `patience_seconds` below its minimum, so two such gangs
    cannot wait for each other for ever. The back-off doubles with each attempt (from 1).
    """
    if all(seated >= role.members_min for seated, role in zip(seated_by_role, roles, strict=True)):
        return Run()
    until = incomplete_since + patience_seconds
    if now < until:
        return Wait(until)
    # Capped before it is raised, so that a thousandth attempt does not overflow.
    doublings = min(max(attempt - 1, 0), 32)
    return Release(now + min(back_off_seconds * 2**doublings, back_off_seconds_max))
