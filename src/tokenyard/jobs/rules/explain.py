"""Why a job waits, in one sentence with its evidence; when it should start; what would help.

The reason is the plan's own. The prediction plays the plan forward with expected run times and no
new arrivals, so it is as good as the estimates; for a long queue it is reckoned from the work that
is ahead instead, in time that grows with the number of lines and not with their length. What-if
tries variations of the job on the cluster as it is, and names only such as would start now. Works
on a copy or a trial; changes nothing.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from heapq import nsmallest

from tokenyard.jobs.rules.board import Board, Entry, Line, Phase, progressed
from tokenyard.jobs.rules.decisions import Blocked, Decision, Plan, Preempt, Start
from tokenyard.jobs.rules.gangs import Shortfall, seat_gang
from tokenyard.jobs.rules.ordering import Ordering
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.twin import twin_of
from tokenyard.jobs.rules.workload import INFINITY, Job, Role
from tokenyard.vocabulary.errors import NotFound
from tokenyard.vocabulary.ids import JobId
from tokenyard.vocabulary.reasons import Reason

# Jobs named as being ahead, and ends of jobs that a prediction plays through.
AHEAD_MAX = 5
FORECAST_EVENTS_MAX = 2_000
# A prediction plays through so much: events times jobs and nodes that each looks at.
FORECAST_WORK_MAX = 400_000
# Jobs of one line whose work is added up for a reckoned prediction; the rest are taken to be alike.
RECKONED_JOBS_MAX = 200
# Times below are of a simulation, others seconds since the epoch.
_CALENDAR_SECONDS_MIN = 1e9

Evidence = dict[str, str | float]


class ChangeKind(StrEnum):
    """How a job would be another one."""

    LOOSE_TOPOLOGY = "loose_topology"
    ANY_MODEL = "any_model"
    FEWER_GPUS = "fewer_gpus"
    FEWER_MEMBERS = "fewer_members"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a job with which it would start now; count and name say how large and of what."""

    kind: ChangeKind
    words: str
    count: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to "why does my job not run?"."""

    job: JobId
    reason: Reason
    sentence: str
    # The numbers of the sentence, for who says it in other words.
    evidence: Evidence
    # How many jobs of its queue are tried before it, and the first of them.
    ahead_count: int
    ahead: tuple[JobId, ...]
    predicted_start: float | None
    # Played forward job by job, or only reckoned from the work that is ahead.
    prediction_is_exact: bool
    what_if: tuple[Change, ...]


def explain(
    board: Board,
    job_id: JobId,
    now: float,
    *,
    decided: Plan | None = None,
    forecast_events_max: int = FORECAST_EVENTS_MAX,
) -> Explanation | None:
    """None when the job runs, or starts in the next cycle.

    decided: the last plan, when it has been carried out; without it, one is made.
    """
    entry = board.entries.get(job_id)
    if entry is None:
        raise NotFound(f"There is no job {job_id} on the board.")
    last = plan(board, now) if decided is None else decided
    blocked = last.why(entry)
    if blocked is None:
        return None
    counts = _ahead(board, entry, now)
    exact = _plays_forward(board)
    start = None
    if entry.phase is not Phase.RUNNING:
        if exact:
            start = forecast(board, job_id, now, events_max=forecast_events_max)
        else:
            start = reckon(board, entry, now)
    starting = () if decided is not None else last.decisions
    helps: tuple[Change, ...] = ()
    if entry.phase is Phase.WAITING:
        helps = tuple(what_if(board, entry.job, starting))
    return Explanation(
        job_id,
        blocked.reason,
        sentence_of(board, entry.job, blocked),
        evidence_of(board, entry.job, blocked),
        sum(count for line, count in counts if line.queue == entry.job.queue),
        _first_of(board, [one for one in counts if one[0].queue == entry.job.queue], now),
        start,
        exact,
        helps,
    )


def _ahead(board: Board, entry: Entry, now: float) -> list[tuple[Line, int]]:
    """How many of each line are tried before the job; a line is in order, so it is halved."""
    if entry.phase is not Phase.WAITING:
        return []
    ordering = Ordering(board, now)
    own = ordering.key_of(entry)
    found = []
    for line in board.lines.values():
        count = bisect_left(line.entries, own, key=ordering.key_of) if line.entries else 0
        if count:
            found.append((line, count))
    return found


def _first_of(board: Board, counts: list[tuple[Line, int]], now: float) -> tuple[JobId, ...]:
    ordering = Ordering(board, now)
    heads = (one for line, count in counts for one in line.entries[: min(count, AHEAD_MAX)])
    return tuple(one.job.id for one in nsmallest(AHEAD_MAX, heads, key=ordering.key_of))


def _plays_forward(board: Board) -> bool:
    """Whether the future is short enough to be played through."""
    events = min(len(board.entries), FORECAST_EVENTS_MAX)
    lines = sum(1 for line in board.lines.values() if line.entries)
    return events * (lines + len(board.cluster.nodes) // 8 + 1) <= FORECAST_WORK_MAX


def reckon(board: Board, entry: Entry, now: float) -> float | None:
    """When the job starts if all work that is ahead of it were spread evenly over the cluster.

    GPU-seconds where the cluster has GPUs, else CPU-seconds. None when somebody's end is unknown or
    it is not known who is ahead.
    """
    if entry.phase is not Phase.WAITING:
        return None
    part = 0 if board.cluster.capacity.gpu_milli else 1
    capacity = board.cluster.capacity[part]
    if not capacity:
        return None
    work = sum(max(one.ends_at - now, 0.0) * one.amount[part] for one in board.running.values())
    for line, count in _ahead(board, entry, now):
        looked = line.entries[: min(count, RECKONED_JOBS_MAX)]
        some = sum(board.profile.seconds_of(one.job) * one.job.amount_min[part] for one in looked)
        work += some * count / len(looked)
    return now + work / capacity if work < INFINITY else None


def forecast(
    board: Board, job_id: JobId, now: float, *, events_max: int = FORECAST_EVENTS_MAX
) -> float | None:
    """When the job starts if nothing new arrives and estimates hold; None when that is unknown."""
    twin = twin_of(board)
    for _ in range(events_max):
        for entry in list(twin.stopping.values()):
            twin.requeue(entry.job.id, progressed(entry, now, preempted=True))
        decided = plan(twin, now)
        if any(isinstance(d, Start) and d.job == job_id for d in decided.decisions):
            return now
        apply(twin, decided.decisions, now)
        if any(isinstance(d, Preempt) for d in decided.decisions):
            continue
        following = twin.next_event(now)
        if following is None:
            return None
        now = following
        for _, _, entry in list(twin.ends):
            if entry.ends_at > now:
                break
            twin.finish(entry.job.id)
    return None


def what_if(board: Board, job: Job, starting: Sequence[Decision]) -> Iterator[Change]:
    """Smaller or freer versions of the job that would find quota and seats at this moment.

    starting: decisions that are not carried out yet; who starts by them is ahead.
    """
    for change, variant in _variants(job):
        cluster = board.cluster
        mark = cluster.mark()
        for decision in starting:
            if isinstance(decision, Start):
                cluster.take_all(decision.seats)
        seats = seat_gang(board.floor, variant)
        cluster.undo(mark)
        allowed = board.queues.refuse(variant.queue, variant.amount_min, variant.priority) is None
        if allowed and not isinstance(seats, Shortfall):
            yield change


def _variants(job: Job) -> Iterator[tuple[Change, Job]]:
    """From the smallest change to the largest."""
    topology = job.topology
    if topology is not None and topology.required:
        loose = replace(job, topology=replace(topology, required=False))
        words = f"with {topology.level} as a preference it would start now"
        yield Change(ChangeKind.LOOSE_TOPOLOGY, words, name=topology.level), loose
    models = {model for role in job.roles for model in role.request.gpu_models}
    if models:
        roles = tuple(
            replace(role, request=replace(role.request, gpu_models=frozenset()))
            for role in job.roles
        )
        words = "with any GPU model it would start now"
        yield Change(ChangeKind.ANY_MODEL, words), replace(job, roles=roles)
    for number, role in enumerate(job.roles):
        for fewer in range(1, role.request.gpus):
            small = replace(role, request=replace(role.request, gpus=role.request.gpus - fewer))
            words = f"with {fewer} fewer {_gpus(fewer)} per node it would start now"
            change = Change(ChangeKind.FEWER_GPUS, words, fewer, role.name)
            yield change, _with_role(job, number, small)
        if role.members_min > 1:
            half = replace(role, members_min=(role.members_min + 1) // 2)
            words = f"with a minimum of {half.members_min} {role.name} members it would start now"
            change = Change(ChangeKind.FEWER_MEMBERS, words, half.members_min, role.name)
            yield change, _with_role(job, number, half)


def _with_role(job: Job, number: int, role: Role) -> Job:
    return replace(job, roles=(*job.roles[:number], role, *job.roles[number + 1 :]))


def _gpus(count: float) -> str:
    return "GPU" if count == 1 else "GPUs"


def _times(role: Role) -> str:
    request, parts = role.request, []
    if request.gpus:
        count = request.gpus if request.gpu_milli == 1000 else request.gpu_milli / 1000
        models = f" of model {' or '.join(sorted(request.gpu_models))}" * bool(request.gpu_models)
        parts.append(f"{count} {_gpus(count)}{models}")
    if request.cpu_milli:
        parts.append(_cpus(request.cpu_milli))
    if request.memory_mib:
        parts.append(f"{request.memory_mib} MiB")
    return f"{role.members_min} x {' + '.join(parts) or 'nothing'}"


def sentence_of(board: Board, job: Job, blocked: Blocked) -> str:
    """The reason with its numbers, in words for people."""
    wants = " and ".join(_times(role) for role in job.roles if role.members_min)
    topology = job.topology
    where = ""
    if topology is not None and topology.required:
        how = "each on a different" if topology.spread else "all on one"
        where = f" {how} {topology.level} (required topology)"
    shortfall = blocked.shortfall
    if blocked.reason in _NO_SEATS and shortfall is not None:
        free = _free(shortfall.gpus_free)
        told = _NO_SEATS[blocked.reason].format(s=shortfall, free=free)
        return f"{told} It needs {wants}{where}."
    queues = board.queues
    if blocked.reason in _NO_QUOTA:
        left = queues.available(job.queue)
        return (
            f"Queue {job.queue} {_NO_QUOTA[blocked.reason]}. The job needs {_amount(job)}; "
            f"the queue uses {queues.used(job.queue).gpu_milli / 1000:g} GPUs and may use "
            f"{max(left.gpu_milli, 0) / 1000:g} more."
        )
    return _OTHER[blocked.reason].format(b=blocked, until=_moment(blocked.until))


def evidence_of(board: Board, job: Job, blocked: Blocked) -> Evidence:
    """What the sentence is made of, by name."""
    found: Evidence = {"about": blocked.job}
    short = blocked.shortfall
    if short is not None:
        found |= {
            "role": short.role,
            "members_needed": short.needed,
            "members_possible": short.possible,
            "gpus_needed": short.gpus_needed,
            "gpus_free": short.gpus_free,
        }
    if blocked.until is not None:
        found["until"] = blocked.until
    if blocked.planned_start is not None:
        found["planned_start"] = blocked.planned_start
    if blocked.reason in _NO_QUOTA:
        queues = board.queues
        found |= {
            "queue": job.queue,
            "queue_gpus_used": queues.used(job.queue).gpu_milli / 1000,
            "queue_gpus_left": max(queues.available(job.queue).gpu_milli, 0) / 1000,
        }
    return found


def _amount(job: Job) -> str:
    amount = job.amount_min
    if amount.gpu_milli:
        return f"{amount.gpu_milli / 1000:g} {_gpus(amount.gpu_milli / 1000)}"
    return _cpus(amount.cpu_milli)


def _cpus(milli: int) -> str:
    return f"{milli / 1000:g} {'CPU' if milli == 1000 else 'CPUs'}"


def _free(gpus: float) -> str:
    return f"{gpus:g} {_gpus(gpus)} {'is' if gpus == 1 else 'are'} free"


def _moment(at: float | None) -> str:
    """A time for people: of the calendar, or of a simulation that begins at 0."""
    if at is None or at < _CALENDAR_SECONDS_MIN:
        return f"{at or 0:g} s"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_NO_SEATS = {
    Reason.NEVER_FITS: "No part of this cluster can ever hold the job: {s.possible} of "
    "{s.needed} members would fit if it were empty.",
    Reason.NODES_CLOSED: "The nodes that could hold the job are cordoned or lost.",
    Reason.INSUFFICIENT_RESOURCES: "Too little is free: {s.possible} of {s.needed} members "
    "would fit, and {free}.",
    Reason.FRAGMENTED: "Enough is free in all ({s.gpus_free:g} GPUs), but in pieces that are too "
    "small: {s.possible} of {s.needed} members would fit.",
    Reason.TOPOLOGY: "Enough is free, but not close together: the best single place holds "
    "{s.possible} of {s.needed} members.",
    Reason.GANG_INCOMPLETE: "The gang lost members and still lacks {s.needed}.",
}
_NO_QUOTA = {
    Reason.QUEUE_QUOTA: "has used up its quota and nobody has more to lend",
    Reason.BORROW_LIMIT: "may not borrow more",
    Reason.QUEUE_CAP: "has reached its cap",
    Reason.PRIORITY_CAP: "has reached the cap of this priority",
}
_OTHER = {
    Reason.GANG_INCOMPLETE: "The gang lost members and waits for room for them.",
    Reason.RESERVED_FOR_OTHERS: "It would delay the planned start of {b.job}.",
    Reason.BEHIND_IN_QUEUE: "{b.job} is ahead in a queue that keeps its order.",
    Reason.VICTIMS_STOPPING: "Seats are held for it; their occupants are stopping.",
    Reason.NOT_BEFORE: "It was asked not to start before {until}.",
    Reason.BACKING_OFF: "Its last start failed; it is tried again at {until}.",
    Reason.DEPENDENCY: "It waits for {b.job} to succeed.",
    Reason.CYCLE_LIMIT: "It has not been looked at yet.",
}
