"""What the scheduler needs: a store, and executors that run members.

The store is kept by `storage.memory_jobs` and `storage.sql.jobs`, executors by
`jobs.executors.fake`, `jobs.executors.local` and `jobs.executors.ray`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tokenyard.jobs.records import (
    Applied,
    Attempt,
    Change,
    Cycle,
    JobEvent,
    JobFilter,
    JobRecord,
    Lease,
    NodeRecord,
    Sample,
)
from tokenyard.protocol.jobs import JobSpec
from tokenyard.vocabulary.ids import JobId, KeyId, NodeName, OrganisationId, ProjectId, UserId
from tokenyard.vocabulary.money import Money


class JobStore(Protocol):
    """Durable jobs. A call that returns has been committed, whole."""

    async def add_jobs(self, changes: Sequence[Change], *, open_max: int) -> bool:
        """Store new jobs of one project; False, and nothing written, when it has too many open."""
        ...

    async def find_job(self, job: JobId, project: ProjectId | None) -> JobRecord | None:
        """None when there is none, or when it belongs to another project; None asks for any."""
        ...

    async def list_jobs(
        self, project: ProjectId, wanted: JobFilter, *, limit: int, after: JobId | None
    ) -> list[JobRecord]:
        """Newest first; raises InvalidRequest when `after` is no job of the project."""
        ...

    async def change_job(self, change: Change) -> bool:
        """What its owner changes; False, and nothing written, when it is no longer as it was."""
        ...

    async def open_jobs(self) -> tuple[list[JobRecord], int]:
        """All that have not ended, and the revision up to which this is true."""
        ...

    async def changed_jobs(self, revision: int) -> tuple[list[JobRecord], int]:
        """Jobs that changed after that revision, in order, and the newest revision."""
        ...

    async def states_of(self, jobs: Sequence[JobId]) -> dict[JobId, str]:
        """The states of those that exist."""
        ...

    async def events(self, job: JobId, *, after: int, limit: int) -> list[tuple[int, JobEvent]]:
        """Events with a greater number, oldest first."""
        ...

    async def attempts(self, job: JobId) -> list[Attempt]:
        """All attempts, the first one first."""
        ...

    async def unbilled(self, *, limit: int) -> list[tuple[JobRecord, Attempt]]:
        """Attempts that have ended and are not billed yet, with their jobs."""
        ...

    async def mark_billed(self, attempt: Attempt) -> None:
        """The attempt is in the ledger, at the cost that it names."""
        ...

    async def past_jobs(self, *, limit: int) -> list[JobRecord]:
        """Jobs that have ended, the latest first."""
        ...

    async def ended_jobs(self, *, before: float, dead_before: float, limit: int) -> list[JobId]:
        """Billed jobs that ended before then, the oldest first; dead ones by their own time."""
        ...

    async def drop_jobs(self, jobs: Sequence[JobId]) -> None:
        """Forget them, with their attempts and events."""
        ...

    async def nodes(self) -> list[NodeRecord]:
        """Every node that was ever seen, by name."""
        ...

    async def drop_nodes(self, names: Sequence[NodeName]) -> None:
        """Forget nodes that will not be heard of again."""
        ...

    async def put_node(self, node: NodeRecord) -> None:
        """Store a node anew: what the operator wants of it."""
        ...

    async def take_lease(self, holder: str, now: float, seconds: float) -> Lease | None:
        """The lease, taken or prolonged; None while somebody else holds it."""
        ...

    async def drop_lease(self, lease: Lease, now: float) -> None:
        """Give the lease back, if it is still this one."""
        ...

    async def apply(self, cycle: Cycle) -> Applied:
        """Write all of a cycle, or nothing and why."""
        ...

    async def add_sample(self, sample: Sample, *, drop_before: float) -> None:
        """Add a point of the history and forget the oldest."""
        ...

    async def samples(self, *, since: float, until: float, limit: int) -> list[Sample]:
        """The newest points of that time, the oldest first."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class MemberId:
    """One member of one attempt. Starting it is asked for any number of times and done once."""

    job: JobId
    attempt: int
    rank: int
    turn: int = 0


class MemberPhase(StrEnum):
    """What an executor knows of a member."""

    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    # It ran out of memory and was ended for it.
    OUT_OF_MEMORY = "out_of_memory"
    # The program could not be started.
    LAUNCH_FAILED = "launch_failed"
    # Its node or its keeper died; it runs no longer.
    LOST = "lost"

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self not in {MemberPhase.STARTING, MemberPhase.RUNNING}


@dataclass(frozen=True, slots=True)
class MemberReport:
    """One member as its executor knows it. `status` is its exit status, negative for a signal."""

    id: MemberId
    node: NodeName
    phase: MemberPhase
    status: int | None = None
    detail: str | None = None
    # It was told to stop before it ended.
    stopped: bool = False
    # The step of the last checkpoint that it has told of.
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """What is needed to start one member."""

    id: MemberId
    node: NodeName
    gpus: tuple[int, ...]
    spec: JobSpec
    role: int
    members: int
    # The rank among members of the same node, and how many those are.
    local_rank: int
    local_members: int
    # The node of rank 0, where members meet.
    master: NodeName
    array_index: int | None
    # Executors refuse the commands of a leader that was replaced.
    epoch: int
    # The step of the checkpoint to go on from, as far as the job has told.
    resumed_step: int | None = None
    # Where the members meet; without a port the executor chooses one.
    master_address: str = "127.0.0.1"
    master_port: int | None = None


@dataclass(frozen=True, slots=True)
class LogText:
    """A piece of a log; offsets count bytes since the member began."""

    text: str
    offset: int
    next_offset: int


class Executor(Protocol):
    """Runs members somewhere. Every command may be repeated; none waits for the member."""

    @property
    def name(self) -> str:
        """Its name in records of nodes."""
        ...

    async def nodes(self) -> Sequence[NodeRecord]:
        """Nodes that are alive, with the time at which each was last heard of."""
        ...

    async def report(self) -> Mapping[MemberId, MemberReport]:
        """All members that it has started and not forgotten."""
        ...

    async def launch(self, launch: Launch) -> None:
        """Start a member, unless it was ever started; refused silently for an old epoch."""
        ...

    async def stop(
        self, member: MemberId, node: NodeName, *, grace_seconds: float, epoch: int
    ) -> None:
        """Send the job's checkpoint signal, and end the member by force after the grace."""
        ...

    async def forget(self, member: MemberId, node: NodeName) -> None:
        """Its end is stored; drop what is kept for `report`. Its log stays."""
        ...

    async def discard(self, jobs: Sequence[JobId]) -> None:
        """Remove the folders and logs of those jobs, wherever they ran."""
        ...

    async def read_log(
        self, member: MemberId, node: NodeName, *, offset: int, limit: int
    ) -> LogText:
        """What it has written from that byte on; empty when there is nothing.

        A negative offset counts from the end.
        """
        ...


@dataclass(frozen=True, slots=True)
class AttemptBill:
    """What one ended attempt is to be charged for; billed once, however often it is handed in."""

    job: JobId
    attempt: int
    project: ProjectId
    user: UserId
    key: KeyId | None
    organisation: OrganisationId
    ended_at: float
    # Thousandths of GPU-seconds for each kind of GPU.
    gpu_millis: Mapping[str, int]

    @property
    def id(self) -> str:
        """Unique for the attempt, in every ledger."""
        return f"{self.job}.{self.attempt}"


class Cashier(Protocol):
    """Takes bills; kept by `jobs.billing` over the ledger."""

    async def charge(self, bill: AttemptBill) -> None:
        """Enter it in the ledger, unless it is there; raises TokenyardError to be tried again."""
        ...

    def price(self, gpu_millis: Mapping[str, int]) -> Money:
        """What so many thousandths of GPU-seconds cost at today's prices."""
        ...
