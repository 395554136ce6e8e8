"""What a job asks for: requests, roles, topology, limits.

Decides nothing; it holds the words that all other rules use and checks that they make sense.
It does not know queues' quotas, nodes, or whether a job runs.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

GPU_MILLI = 1000
INFINITY = float("inf")
NODE_LEVEL = "node"


class Amount(NamedTuple):
    """Resources in whole units; a tuple because a cycle adds and compares millions of them."""

    gpu_milli: int = 0
    cpu_milli: int = 0
    memory_mib: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """The sum, resource by resource."""
        return Amount(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def minus(self, other: "Amount") -> "Amount":
        """The difference; it may be negative."""
        return Amount(self[0] - other[0], self[1] - other[1], self[2] - other[2])

    def times(self, count: int) -> "Amount":
        """That many of it."""
        return Amount(self[0] * count, self[1] * count, self[2] * count)

    def covers(self, other: "Amount") -> bool:
        """Whether every resource of `other` is there."""
        return self[0] >= other[0] and self[1] >= other[1] and self[2] >= other[2]


# Larger than any cluster, small enough that sums stay exact integers.
NOTHING = Amount()
UNLIMITED = Amount(1 << 60, 1 << 60, 1 << 60)


@dataclass(frozen=True, slots=True)
class Request:
    """What one member of a gang needs on its node."""

    gpus: int = 0
    # The share of each GPU, in thousandths; below 1000 only when one GPU is asked.
    gpu_milli: int = GPU_MILLI
    cpu_milli: int = 0
    memory_mib: int = 0
    # Empty means any model.
    gpu_models: frozenset[str] = frozenset()
    # Labels that the node must carry.
    labels: tuple[tuple[str, str], ...] = ()
    amount: Amount = field(init=False, compare=False, repr=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        return self._hash

    def __post_init__(self) -> None:
        if self.gpus < 0 or self.cpu_milli < 0 or self.memory_mib < 0:
            raise InvalidRequest("A request cannot be negative.", param="request")
        if self.gpus and not 0 < self.gpu_milli <= GPU_MILLI:
            raise InvalidRequest(f"gpu_milli must be 1 to {GPU_MILLI}.", param="gpu_milli")
        if self.gpus > 1 and self.gpu_milli != GPU_MILLI:
            raise InvalidRequest("Only a single GPU can be shared.", param="gpu_milli")
        amount = Amount(self.gpus * self.gpu_milli, self.cpu_milli, self.memory_mib)
        object.__setattr__(self, "amount", amount)
        # Indexes are looked up by request many times in a cycle.
        key = (self.gpus, self.gpu_milli, self.cpu_milli, self.memory_mib)
        object.__setattr__(self, "_hash", hash((key, self.gpu_models, self.labels)))


@dataclass(frozen=True, slots=True)
class Role:
    """Members of a gang that are alike."""

    request: Request
    members_min: int = 1
    members_max: int = 1
    name: str = "worker"

    def __post_init__(self) -> None:
        if not 0 <= self.members_min <= self.members_max or self.members_max == 0:
            raise InvalidRequest(
                f"Role {self.name!r} needs 0 <= min <= max and max > 0.", param="roles"
            )


@dataclass(frozen=True, slots=True)
class Topology:
    """How the members of a gang must, or should, lie to each other.

    `level` is "node" or the name of a node label ("rack"): members share its value. With `spread`
    they must instead lie on different values of it.
    """

    level: str
    required: bool = True
    spread: bool = False


@dataclass(frozen=True)
class Job:
    """A job as the plan sees it. Times are seconds of one clock; durations are seconds."""

    id: JobId
    queue: QueueName
    roles: tuple[Role, ...]
    priority: int = 0
    # Kept through every requeue, so that a preempted job does not lose its place.
    submitted_at: float = 0.0
    # The job is stopped after this long; None means it may run for ever.
    limit_seconds: float | None = None
    # What its owner or its history expects; used for prediction and ordering, never to stop it.
    estimate_seconds: float | None = None
    preemptible: bool = True
    # It takes members while it runs, up to the most that its roles name.
    grows: bool = False
    topology: Topology | None = None
    not_before: float = 0.0
    # Jobs that must have succeeded first.
    after: tuple[JobId, ...] = ()
    avoid_nodes: frozenset[NodeName] = frozenset()
    # Seconds between checkpoints; None means that a stop loses everything since the start.
    checkpoint_seconds: float | None = None
    restart_seconds: float = 0.0
    # Work already saved by checkpoints of earlier attempts.
    saved_seconds: float = 0.0
    # When this attempt told of a checkpoint; None when it has not, and the interval is believed.
    saved_at: float | None = None
    preemptions: int = 0

    def __post_init__(self) -> None:
        if not self.roles:
            raise InvalidRequest("A job needs at least one role.", param="roles")
        if self.members_min == 0:
            raise InvalidRequest("A job needs at least one member that must run.", param="roles")

    @cached_property
    def members_min(self) -> int:
        """Members without which the gang does not run."""
        return sum(role.members_min for role in self.roles)

    @cached_property
    def members_max(self) -> int:
        """Members that the gang can use."""
        return sum(role.members_max for role in self.roles)

    @cached_property
    def amount_min(self) -> Amount:
        """What the smallest gang takes in all."""
        total = Amount()
        for role in self.roles:
            total = total.plus(role.request.amount.times(role.members_min))
        return total

    @cached_property
    def amount_max(self) -> Amount:
        """What the largest gang takes in all."""
        total = Amount()
        for role in self.roles:
            total = total.plus(role.request.amount.times(role.members_max))
        return total

    @cached_property
    def shape(self) -> tuple[object, ...]:
        """Equal for jobs of one queue that fit, or do not fit, alike."""
        return (self.roles, self.topology, self.avoid_nodes)

    @property
    def seconds_expected(self) -> float | None:
        """How long the rest of it should take, at most its limit; None when nobody knows."""
        known = [s for s in (self.limit_seconds, self.estimate_seconds) if s is not None]
        if not known:
            return None
        return max(min(known) - self.saved_seconds, 0.0)


class Seat(NamedTuple):
    """One member's place: node index, the GPUs it holds there, and which role it plays."""

    node: int
    gpus: tuple[int, ...]
    request: Request
    role: int = 0


Seats = tuple[Seat, ...]


def amount_of(seats: Seats) -> Amount:
    """What those seats take in all."""
    gpu_milli = cpu_milli = memory_mib = 0
    for seat in seats:
        amount = seat.request.amount
        gpu_milli += amount[0]
        cpu_milli += amount[1]
        memory_mib += amount[2]
    return Amount(gpu_milli, cpu_milli, memory_mib)
