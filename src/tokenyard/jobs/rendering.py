"""Jobs, queues and nodes as the API gives them out."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from tokenyard.jobs.draft import gpu_seconds_of
from tokenyard.jobs.insight import Insight, Why
from tokenyard.jobs.observation import Observer, fragmented
from tokenyard.jobs.records import (
    Attempt,
    JobEvent,
    JobRecord,
    MemberSeat,
    NodeRecord,
    NodeState,
    Sample,
)
from tokenyard.jobs.roster import Roster
from tokenyard.jobs.rules.explain import Explanation
from tokenyard.jobs.rules.states import State, holds_seats, is_final
from tokenyard.jobs.rules.workload import GPU_MILLI
from tokenyard.jobs.shape import gpus_of, gpus_wanted
from tokenyard.protocol.jobs import (
    AttemptBody,
    ChangeBody,
    ClusterBody,
    EvidenceBody,
    ExplanationBody,
    GpuBody,
    HistoryBody,
    HistoryPoint,
    JobBody,
    JobEventBody,
    JobList,
    NodeBody,
    QueueBody,
    QueueList,
    SeatBody,
    TimelineBody,
    WaitBody,
)
from tokenyard.protocol.responses import Cost
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.ids import NodeName


class JobView:
    """Jobs with what only the scheduler knows of them: why they wait, and their class by name."""

    def __init__(self, insight: Insight, observer: Observer, clock: Clock) -> None:
        self._insight = insight
        self._observer = observer
        self._clock = clock

    def job(self, record: JobRecord, *, with_spec: bool = False) -> JobBody:
        """One job."""
        why = self._insight.why(record)
        name = self._observer.class_of(record.priority)
        return render_job(record, why, name, now=self._clock.now(), with_spec=with_spec)

    def page(self, records: Sequence[JobRecord], more: bool = False) -> JobList:
        """A page of jobs."""
        return JobList(
            data=[self.job(record) for record in records],
            has_more=more,
            first_id=records[0].id if records else "",
            last_id=records[-1].id if records else "",
        )


def render_job(
    record: JobRecord, why: Why | None, priority_class: str, *, now: float, with_spec: bool = False
) -> JobBody:
    """One job."""
    spec = record.spec
    reason = None if record.reason is None else record.reason.value
    return JobBody(
        id=record.id,
        name=spec.name,
        type=spec.type,
        queue=record.queue,
        priority=record.priority,
        priority_class=priority_class,
        state=record.state.value,
        reason=reason if why is None else why.reason,
        detail=record.detail,
        why=None if why is None else why.sentence,
        evidence=None if why is None else msgspec.convert(why.evidence, EvidenceBody),
        attempt=record.attempt,
        array_index=record.array_index,
        submitted_at=record.submitted_at,
        started_at=record.first_started_at,
        ended_at=record.ended_at,
        gpus=gpus_of(record) if record.seats else gpus_wanted(spec),
        seats=_seats(record, record.seats),
        held_seats=_seats(record, record.held_seats),
        exit_status=record.exit_status,
        preemptions=record.preemptions,
        failures={kind.value: count for kind, count in record.failures.items()},
        saved_seconds=record.saved_seconds,
        saved_step=record.saved_step,
        gpu_seconds=record.gpu_seconds + gpu_seconds_of(record, now),
        lost_gpu_seconds=record.lost_gpu_seconds,
        labels=dict(spec.labels),
        project=record.project,
        user=record.user,
        spec=spec if with_spec else None,
    )


def render_explanation(record: JobRecord, found: Explanation | None) -> ExplanationBody:
    """Why a job waits, or that it does not."""
    if found is None:
        waits = record.state is State.QUEUED
        sentence = "It starts soon." if waits else f"It is {record.state}."
        if record.detail:
            sentence += f" {record.detail}"
        reason = None if record.reason is None else record.reason.value
        return ExplanationBody(
            job=record.id,
            state=record.state.value,
            reason=reason,
            sentence=sentence,
            evidence=EvidenceBody(),
            ahead_count=0,
            ahead=[],
            predicted_start=None,
            prediction=None,
            resumes_at_step=_resumes_at(record),
            what_if=[],
            changes=[],
        )
    return ExplanationBody(
        job=record.id,
        state=record.state.value,
        reason=found.reason.value,
        sentence=found.sentence,
        evidence=msgspec.convert(found.evidence, EvidenceBody),
        ahead_count=found.ahead_count,
        ahead=list(found.ahead),
        predicted_start=found.predicted_start,
        prediction=None
        if found.predicted_start is None
        else ("played" if found.prediction_is_exact else "reckoned"),
        resumes_at_step=_resumes_at(record),
        what_if=[change.words for change in found.what_if],
        changes=[
            ChangeBody(kind=change.kind.value, count=change.count, name=change.name)
            for change in found.what_if
        ],
    )


def _resumes_at(record: JobRecord) -> int | None:
    waits = not holds_seats(record.state) and not is_final(record.state)
    return record.saved_step if waits else None


def render_timeline(
    record: JobRecord,
    events: Sequence[tuple[int, JobEvent]],
    attempts: Sequence[Attempt],
    now: float,
) -> TimelineBody:
    """What happened to a job."""
    return TimelineBody(
        job=record.id,
        events=[
            JobEventBody(
                number=number,
                at=event.at,
                kind=event.kind.value,
                attempt=event.attempt,
                reason=None if event.reason is None else event.reason.value,
                detail=event.detail,
                by=event.by,
                step=event.step,
            )
            for number, event in events
        ],
        attempts=[
            AttemptBody(
                number=one.number,
                launched_at=one.launched_at,
                running_at=one.running_at,
                ended_at=one.ended_at,
                outcome=None if one.outcome is None else one.outcome.value,
                exit_status=one.exit_status,
                gpu_seconds=one.gpu_seconds
                if one.ended_at is not None
                else gpu_seconds_of(record, now),
                lost_gpu_seconds=one.lost_gpu_seconds,
                resumed_step=one.resumed_step,
                saved_step=one.saved_step,
                cost=_cost([one]),
                seats=_seats(record, one.seats),
            )
            for one in attempts
        ],
        cost=_cost(attempts),
    )


def _cost(attempts: Sequence[Attempt]) -> Cost | None:
    """The sum of those that are billed, in the currency of the last; None when none is."""
    billed = [one.cost for one in attempts if one.cost is not None]
    if not billed:
        return None
    currency = billed[-1].currency
    nanos = sum(cost.nanos for cost in billed if cost.currency == currency)
    return Cost(nanos=nanos, currency=currency)


def render_queues(roster: Roster, observer: Observer, now: float) -> QueueList:
    """All queues and who is in them."""
    counts: Counter[tuple[str, str]] = Counter()
    oldest: dict[str, float] = {}
    for record in roster.records.values():
        group = "running" if holds_seats(record.state) else "held"
        if record.state is State.QUEUED:
            group = "waiting"
            queue = record.queue
            oldest[queue] = min(oldest.get(queue, record.submitted_at), record.submitted_at)
        counts[record.queue, group] += 1
    tree = roster.board.queues
    data = []
    for name in tree.names():
        spec = tree.spec(name)
        waits = observer.waits_of(name)
        data.append(
            QueueBody(
                name=name,
                parent=spec.parent,
                weight=spec.weight,
                gpus_nominal=None if spec.nominal is None else spec.nominal.gpu_milli / 1000,
                gpus_used=tree.used(name).gpu_milli / 1000,
                waiting=counts[name, "waiting"],
                held=counts[name, "held"],
                running=counts[name, "running"],
                oldest_wait_seconds=max(now - oldest[name], 0.0) if name in oldest else None,
                waits={
                    one: WaitBody(count=told.count, p50=told.p50, p95=told.p95, max=told.max)
                    for one, told in waits.items()
                },
            )
        )
    return QueueList(data=data)


def render_cluster(
    roster: Roster,
    nodes: Sequence[NodeRecord],
    observer: Observer,
    *,
    now: float,
    profile: str,
    leader: bool,
) -> ClusterBody:
    """The cluster, node by node and in all."""
    cluster = roster.board.cluster
    sitting: dict[NodeName, dict[str, tuple[int, ...]]] = {}
    for record in roster.seated.values():
        for seat in record.seats:
            on_node = sitting.setdefault(seat.node, {})
            on_node[record.id] = (*on_node.get(record.id, ()), *seat.gpus)
    held = {
        (seat.node, gpu): str(record.id)
        for record in roster.records.values()
        for seat in record.held_seats
        for gpu in seat.gpus
    }
    failures: Counter[str] = Counter()
    for (_, reason), count in observer.failures.items():
        failures[reason] += count
    states = Counter(record.state.value for record in roster.records.values())
    return ClusterBody(
        nodes=[_node(node, roster, sitting.get(node.name, {}), held, now) for node in nodes],
        gpus=cluster.capacity.gpu_milli // 1000,
        gpus_free=cluster.free_open().gpu_milli / 1000,
        gpus_fragmented=fragmented(roster),
        gpus_held=sum(gpus_of(r, r.held_seats) for r in roster.records.values()),
        jobs=dict(states),
        failures=dict(failures),
        preemptions=observer.preemptions,
        lost_gpu_seconds=observer.lost_gpu_seconds,
        cycle_seconds=observer.cycle_seconds,
        profile=profile,
        leader=leader,
    )


def render_history(samples: Sequence[Sample], prefixes: tuple[str, ...]) -> HistoryBody:
    """Points of the history; only of values whose names begin so, all without prefixes."""
    return HistoryBody(
        data=[
            HistoryPoint(
                at=one.at,
                values={k: v for k, v in one.values.items() if k.startswith(prefixes or "")},
            )
            for one in samples
        ]
    )


def _node(
    node: NodeRecord,
    roster: Roster,
    jobs: Mapping[str, Sequence[int]],
    held: Mapping[tuple[NodeName, int], str],
    now: float,
) -> NodeBody:
    live = roster.board.cluster.by_name.get(node.name)
    devices = [
        GpuBody(
            index=index,
            free=free / GPU_MILLI,
            jobs=sorted(job for job, gpus in jobs.items() if index in gpus),
            held_for=held.get((node.name, index)),
        )
        for index, free in enumerate(() if live is None else live.gpus)
    ]
    return NodeBody(
        name=node.name,
        state=node.state(now).value,
        executor=node.executor,
        gpu_model=node.gpu_model,
        gpus=node.gpus,
        gpus_free=0.0 if live is None else live.gpu_free / 1000,
        cpus=node.cpu_milli / 1000,
        cpus_free=0.0 if live is None else live.cpu_free / 1000,
        memory_mib=node.memory_mib,
        memory_mib_free=0 if live is None else live.memory_free,
        labels=dict(node.labels),
        jobs=sorted(jobs),
        devices=devices,
        reason=node.state(now).value if node.state(now) is not NodeState.OPEN else None,
        seen_at=node.seen_at,
    )


def _seats(record: JobRecord, seats: Sequence[MemberSeat]) -> list[SeatBody]:
    roles = record.spec.roles
    return [
        SeatBody(rank=s.rank, role=roles[s.role].name, node=s.node, gpus=list(s.gpus))
        for s in sorted(seats, key=lambda seat: seat.rank)
    ]
