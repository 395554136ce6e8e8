"""A stored job in the words of the rules, and seats by name in place of index.

Decides nothing; the rules know no specs and the records know no indexes.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from tokenyard.jobs.ports import MemberId
from tokenyard.jobs.records import JobRecord, MemberSeat
from tokenyard.jobs.rules.workload import Job, Request, Role, Seat, Seats, Topology
from tokenyard.protocol.jobs import JobSpec, RoleSpec
from tokenyard.vocabulary.ids import JobId, NodeName


def seconds_at(moment: datetime | float | None) -> float | None:
    """A moment of a job file as seconds since the epoch."""
    return moment.timestamp() if isinstance(moment, datetime) else moment


def request_of(role: RoleSpec) -> Request:
    """What one member of the role needs; raises InvalidRequest when that is nonsense."""
    return Request(
        gpus=role.gpus,
        gpu_milli=role.gpu_milli if role.gpus else 1000,
        cpu_milli=round(role.cpus * 1000),
        memory_mib=role.memory_mib,
        gpu_models=frozenset(role.gpu_models),
        labels=tuple(sorted(role.node_labels.items())),
    )


def roles_of(spec: JobSpec) -> tuple[Role, ...]:
    """The roles; raises InvalidRequest when one makes no sense."""
    return tuple(
        Role(
            request_of(role),
            members_min=role.replicas,
            members_max=role.replicas if role.replicas_max is None else role.replicas_max,
            name=role.name,
        )
        for role in spec.roles
    )


def job_of(record: JobRecord) -> Job:
    """The job as the plan sees it."""
    spec = record.spec
    checkpoint = spec.checkpoint
    topology = spec.topology
    return Job(
        id=record.id,
        queue=record.queue,
        roles=roles_of(spec),
        priority=record.priority,
        submitted_at=record.submitted_at,
        limit_seconds=spec.time_limit_seconds,
        estimate_seconds=spec.estimate_seconds,
        preemptible=spec.preemptible,
        grows=spec.grows,
        topology=None
        if topology is None
        else Topology(topology.level, topology.required, topology.spread),
        not_before=record.not_before,
        after=tuple(JobId(job) for job in spec.after),
        avoid_nodes=frozenset(record.avoid_nodes),
        # A job that saves its work when told to loses nothing by a stop.
        checkpoint_seconds=0.0 if checkpoint.on_signal else checkpoint.interval_seconds,
        restart_seconds=checkpoint.restart_seconds,
        saved_seconds=record.saved_seconds,
        saved_at=record.saved_at,
        preemptions=record.preemptions,
    )


def member_of(record: JobRecord, seat: MemberSeat) -> MemberId:
    """The member of the current attempt that sits there."""
    return MemberId(record.id, record.attempt, seat.rank, seat.turn)


def gpus_of(record: JobRecord, seats: Iterable[MemberSeat] | None = None) -> float:
    """GPUs that its seats take; shares count as parts."""
    milli = 0
    for seat in record.seats if seats is None else seats:
        role = record.spec.roles[seat.role]
        milli += len(seat.gpus) * role.gpu_milli
    return milli / 1000


def gpus_wanted(spec: JobSpec) -> float:
    """GPUs that the smallest gang takes."""
    return sum(role.replicas * role.gpus * role.gpu_milli for role in spec.roles) / 1000


def index_seats(
    record: JobRecord, seats: Iterable[MemberSeat], indexes: Mapping[NodeName, int]
) -> Seats | None:
    """Seats for the rules; None when a node is not there any more."""
    requests = [request_of(role) for role in record.spec.roles]
    found = []
    for seat in seats:
        index = indexes.get(seat.node)
        if index is None:
            return None
        found.append(Seat(index, seat.gpus, requests[seat.role], seat.role))
    return tuple(found)


def name_seats(
    seats: Seats, names: list[NodeName], taken: Iterable[int] = (), turn: int = 0
) -> tuple[MemberSeat, ...]:
    """Seats for the record: ranks go up by role and then by node, past those that are taken."""
    used = set(taken)
    free = (rank for rank in range(len(seats) + len(used)) if rank not in used)
    ordered = sorted(seats, key=lambda seat: (seat.role, names[seat.node], seat.gpus))
    return tuple(
        MemberSeat(rank, seat.role, names[seat.node], seat.gpus, turn)
        for rank, seat in zip(free, ordered, strict=False)
    )
