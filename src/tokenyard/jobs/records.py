"""What the scheduler keeps: jobs, their attempts and events, nodes, the lease of the leader.

Records only; `rules.states` says how a job may move. A seat names its node, since the indexes that
the rules use hold for one snapshot only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tokenyard.jobs.rules.retries import FailureKind
from tokenyard.jobs.rules.states import State
from tokenyard.protocol.jobs import JobSpec
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION
from tokenyard.vocabulary.ids import (
    JobId,
    KeyId,
    NodeName,
    OrganisationId,
    ProjectId,
    QueueName,
    UserId,
)
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class MemberSeat:
    """The place of one member: `rank` is its number in the gang, `role` the index of its role."""

    rank: int
    role: int
    node: NodeName
    gpus: tuple[int, ...] = ()
    # Rises when the place of a lost member is taken anew within one attempt.
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job and where it stands. Times are seconds since the epoch."""

    id: JobId
    project: ProjectId
    user: UserId
    key: KeyId | None
    spec: JobSpec
    queue: QueueName
    # Of the class it has now; the owner may change it.
    priority: int
    submitted_at: float
    array_index: int | None = None
    state: State = State.QUEUED
    # Why it is in this state; while STOPPING, why it was told to go.
    reason: Reason | None = None
    detail: str | None = None
    # Raised by every change; what a change is based on.
    version: int = 1
    # Not to be started before then: asked for, or the back-off.
    not_before: float = 0.0
    # Which try this is, or was; 0 before the first.
    attempt: int = 0
    # Where its members sit while STARTING, RUNNING or STOPPING.
    seats: tuple[MemberSeat, ...] = ()
    # Seats that are held for it while others leave them; only while QUEUED.
    held_seats: tuple[MemberSeat, ...] = ()
    # Members of this attempt when it was launched; ranks are below it.
    members: int = 0
    # How often this attempt was given new members for lost ones.
    turns: int = 0
    launched_at: float | None = None
    running_at: float | None = None
    ended_at: float | None = None
    first_started_at: float | None = None
    # Since when the gang lacks members that it needs; None while it is whole.
    incomplete_since: float | None = None
    # By when who is told to go has to be gone; only while STOPPING.
    stop_at: float | None = None
    exit_status: int | None = None
    # The owner wants it gone.
    cancel_wanted: bool = False
    saved_seconds: float = 0.0
    # The step that its last checkpoint holds, by the job's own word; where the next try goes on.
    saved_step: int | None = None
    # When that was heard of; None while the open attempt has said nothing.
    saved_at: float | None = None
    # The step that the open attempt, or the last one, went on from.
    resumed_step: int | None = None
    preemptions: int = 0
    # How often it failed, by kind, since it was last replayed by hand.
    failures: Mapping[FailureKind, int] = field(default_factory=dict)
    # Who pays, above the project; jobs that are older than organisations are the first one's.
    organisation: OrganisationId = DEFAULT_ORGANISATION
    avoid_nodes: tuple[NodeName, ...] = ()
    # Of attempts that have ended.
    gpu_seconds: float = 0.0
    lost_gpu_seconds: float = 0.0
    # Of this attempt until `counted_at`; members may come and go within it.
    attempt_gpu_seconds: float = 0.0
    counted_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job; the open one has no end."""

    job: JobId
    number: int
    launched_at: float
    seats: tuple[MemberSeat, ...]
    running_at: float | None = None
    ended_at: float | None = None
    outcome: Reason | None = None
    exit_status: int | None = None
    gpu_seconds: float = 0.0
    # Of those, what no checkpoint has kept.
    lost_gpu_seconds: float = 0.0
    # The step that it went on from, and that of its last checkpoint.
    resumed_step: int | None = None
    saved_step: int | None = None
    # What it was billed at; None until it is.
    cost: Money | None = None


class EventKind(StrEnum):
    """What can happen to a job."""

    SUBMITTED = "submitted"
    RELEASED = "released"
    SEATS_HELD = "seats_held"
    SEATS_GIVEN_UP = "seats_given_up"
    LAUNCHED = "launched"
    RUNNING = "running"
    MEMBERS_LOST = "members_lost"
    MEMBERS_ADDED = "members_added"
    STOPPING = "stopping"
    REQUEUED = "requeued"
    BACKING_OFF = "backing_off"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"
    RETRIED = "retried"
    PRIORITY_CHANGED = "priority_changed"
    CANCEL_WANTED = "cancel_wanted"


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's timeline."""

    job: JobId
    at: float
    kind: EventKind
    attempt: int = 0
    reason: Reason | None = None
    detail: str | None = None
    # The job or user that caused it.
    by: str | None = None
    # The step of the checkpoint from which a try goes on, or which a stop has left.
    step: int | None = None


class NodeState(StrEnum):
    """Whether a node takes members."""

    OPEN = "open"
    CORDONED = "cordoned"
    # Takes nobody, and who is there is told to go.
    DRAINING = "draining"
    LOST = "lost"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as it was last known."""

    name: NodeName
    executor: str
    gpus: int
    cpu_milli: int
    memory_mib: int
    gpu_model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    # What the operator wants.
    wanted: NodeState = NodeState.OPEN
    seen_at: float = 0.0
    lost: bool = False
    launch_failures: int = 0
    quarantined_until: float = 0.0
    # How busy each GPU is, percent; empty where nobody can say.
    gpu_load: tuple[float, ...] = ()

    def state(self, now: float) -> NodeState:
        """What holds now; being lost outweighs what is wanted."""
        if self.lost:
            return NodeState.LOST
        if self.wanted is not NodeState.OPEN:
            return self.wanted
        return NodeState.QUARANTINED if now < self.quarantined_until else NodeState.OPEN


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to schedule. The epoch rises whenever it changes hands, and fences the old hand."""

    holder: str
    epoch: int
    until: float


@dataclass(frozen=True, slots=True)
class Change:
    """A job as it is to be; `record.version` is one above the version that it replaces."""

    record: JobRecord
    events: tuple[JobEvent, ...] = ()
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Cycle:
    """All that one cycle of the leader changes, written together or not at all.

    The sequence rises with every cycle of an epoch, so that writing one again changes nothing.
    """

    epoch: int
    sequence: int
    changes: tuple[Change, ...]
    nodes: tuple[NodeRecord, ...] = ()


class Applied(StrEnum):
    """What became of a cycle that was to be written."""

    DONE = "done"
    # It was written before.
    ALREADY = "already"
    # A job is no longer as the cycle saw it; nothing was written.
    STALE = "stale"
    # Somebody else leads; nothing was written.
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of the cluster at one moment, for the history."""

    at: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs of a list are wanted; None wants all."""

    states: frozenset[State] | None = None
    queue: str | None = None
    type: str | None = None
    name: str | None = None
    # Part of the name or the id.
    search: str | None = None
