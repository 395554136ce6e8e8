"""What becomes of a job that sits: from its record and what its members do to its next record.

Decides which state follows and why; pure, like the rules, but on records. How a record changes with
each move is the draft's. It does not know stores, executors or other jobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenyard.jobs.draft import Draft
from tokenyard.jobs.ports import MemberId, MemberPhase, MemberReport
from tokenyard.jobs.records import EventKind, JobRecord, MemberSeat
from tokenyard.jobs.rules.retries import Again, FailureKind, GiveUp, classify, decide
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.shape import member_of
from tokenyard.vocabulary.ids import NodeName
from tokenyard.vocabulary.reasons import Reason

_FAILED_PHASES = {
    MemberPhase.OUT_OF_MEMORY: FailureKind.OUT_OF_MEMORY,
    MemberPhase.LAUNCH_FAILED: FailureKind.LAUNCH_FAILED,
    MemberPhase.LOST: FailureKind.NODE_LOST,
}
_GONE = {MemberPhase.LOST, MemberPhase.LAUNCH_FAILED}
_KINDS = {Reason(kind.value): kind for kind in FailureKind}
_KILLED = -9
# SIGXCPU: the limit of CPU time.
_BY_SIGNAL = {_KILLED: FailureKind.OUT_OF_MEMORY, -24: FailureKind.TIME_LIMIT}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what; seconds."""

    launch_seconds: float
    back_off_seconds: float
    back_off_seconds_max: float
    # Between two writes of the step that a running job has reached.
    step_seconds: float


@dataclass(frozen=True, slots=True)
class _Member:
    seat: MemberSeat
    phase: MemberPhase | None
    status: int | None
    detail: str | None

    @property
    def is_over(self) -> bool:
        return self.phase is not None and self.phase.is_over

    @property
    def succeeded(self) -> bool:
        return self.phase is MemberPhase.EXITED and self.status == 0

    @property
    def failure(self) -> FailureKind | None:
        if self.phase is MemberPhase.EXITED and self.status != 0:
            # Nobody of ours kills without having told the job to go: it was the kernel.
            return _BY_SIGNAL.get(self.status or 0, FailureKind.USER_ERROR)
        return None if self.phase is None else _FAILED_PHASES.get(self.phase)


def settle(
    draft: Draft,
    reports: Mapping[MemberId, MemberReport],
    lost: Mapping[NodeName, float],
    patience: Patience,
) -> None:
    """Bring a seated job up to date with what its members do.

    lost: nodes that say nothing any more, and when each was last heard of.
    """
    record = draft.record
    # Members that joined a running gang are given as much time to be heard of as all others.
    recent = draft.now - record.counted_at < patience.launch_seconds
    members = [
        _member(record, seat, reports, lost, joins=recent and 0 < seat.turn == record.turns)
        for seat in record.seats
    ]
    # What it did on a node that is lost is known only until that was last heard of.
    draft.heard_at = min([draft.now, *(lost[s.node] for s in record.seats if s.node in lost)])
    is_over = all(member.is_over for member in members)
    _take_step(draft, reports, 0.0 if is_over else patience.step_seconds)
    if record.state is State.STOPPING:
        if is_over:
            _gone(draft, members, patience)
        return
    if record.cancel_wanted:
        draft.stop(Reason.CANCELLED_BY_USER)
    elif members and all(member.succeeded for member in members):
        if record.incomplete_since is None:
            _run(draft)
            _succeed(draft)
    elif _has_failed(draft, members):
        failures = [kind for kind in (member.failure for member in members) if kind]
        kind = classify(failures)
        draft.record = replace(draft.record, exit_status=_status(members))
        if is_over:
            _fail(draft, kind, _detail(members, kind), patience)
        else:
            draft.stop(Reason(kind.value), detail=_detail(members, kind))
    else:
        _go_on(draft, members, patience)


def _take_step(draft: Draft, reports: Mapping[MemberId, MemberReport], step_seconds: float) -> None:
    """Note the last checkpoint that a member has told of, now and then while the job runs."""
    record = draft.record
    told = [reports.get(member_of(record, seat)) for seat in record.seats]
    steps = [report.step for report in told if report is not None and report.step is not None]
    if not steps or (record.saved_at is not None and max(steps) == record.saved_step):
        return
    if record.saved_at is None or draft.heard_at - record.saved_at >= step_seconds:
        draft.record = replace(record, saved_step=max(steps), saved_at=draft.heard_at)


def _member(
    record: JobRecord,
    seat: MemberSeat,
    reports: Mapping[MemberId, MemberReport],
    lost: Mapping[NodeName, float],
    *,
    joins: bool,
) -> _Member:
    report = reports.get(member_of(record, seat))
    if report is not None and report.phase.is_over:
        return _Member(seat, report.phase, report.status, report.detail)
    if seat.node in lost:
        return _Member(seat, MemberPhase.LOST, None, f"node {seat.node} is lost")
    if report is None and record.state is State.RUNNING and not joins:
        return _Member(seat, MemberPhase.LOST, None, "its executor does not know it any more")
    if report is None:
        return _Member(seat, None, None, None)
    return _Member(seat, report.phase, None, None)


def _has_failed(draft: Draft, members: Sequence[_Member]) -> bool:
    """Whether the gang cannot go on; one that only lost members may."""
    failed = [member for member in members if member.failure is not None]
    if not failed:
        return False
    if any(member.phase not in _GONE or member.seat.rank == 0 for member in failed):
        # Rank 0 is where the others meet: without it, or with another one, they wait in vain.
        return True
    if draft.record.state is State.STARTING and len(failed) < len(members):
        return False
    return _below_minimum(draft.record, [m.seat for m in members if m.failure is None])


def _below_minimum(record: JobRecord, seats: Sequence[MemberSeat]) -> bool:
    counts = [0] * len(record.spec.roles)
    for seat in seats:
        counts[seat.role] += 1
    roles = record.spec.roles
    return any(n < role.replicas for n, role in zip(counts, roles, strict=True))


def _go_on(draft: Draft, members: Sequence[_Member], patience: Patience) -> None:
    """Members are coming up or run; some may be gone, of a gang that can do without them."""
    record, now = draft.record, draft.now
    gone = [member for member in members if member.failure is not None]
    if gone:
        stay = tuple(member.seat for member in members if member.failure is None)
        short = _below_minimum(record, stay)
        detail = "; ".join(sorted({member.detail or "" for member in gone}))
        draft.reseat(
            stay,
            incomplete_since=(record.incomplete_since or now) if short else None,
            avoid_nodes=_avoiding(record, gone),
        )
        record = draft.record
        draft.note(EventKind.MEMBERS_LOST, reason=Reason.GANG_INCOMPLETE, detail=detail)
    waiting = [m for m in members if m.phase in {None, MemberPhase.STARTING} and m not in gone]
    if record.state is State.STARTING and not waiting and record.incomplete_since is None:
        _run(draft)
    elif record.state is State.STARTING and waiting:
        late = now - (record.launched_at or now) >= patience.launch_seconds
        if late and record.incomplete_since is None:
            detail = f"{len(waiting)} members did not come up in {patience.launch_seconds:g} s"
            draft.stop(Reason.LAUNCH_FAILED, detail=detail)
    limit = record.spec.time_limit_seconds
    if draft.record.state is State.RUNNING and limit is not None:
        began = draft.record.running_at or now
        if record.saved_seconds + now - began >= limit:
            draft.stop(Reason.TIME_LIMIT, detail=f"it ran for {limit:g} s")


def _avoiding(record: JobRecord, gone: Sequence[_Member]) -> tuple[NodeName, ...]:
    bad = {member.seat.node for member in gone if member.phase is MemberPhase.LAUNCH_FAILED}
    return tuple(sorted(bad | set(record.avoid_nodes)))


def _run(draft: Draft) -> None:
    if draft.record.state is State.STARTING:
        draft.move(State.RUNNING, EventKind.RUNNING, running_at=draft.now)


def _succeed(draft: Draft) -> None:
    draft.record = replace(draft.record, exit_status=0)
    draft.end_attempt(None)
    draft.move(State.SUCCEEDED, EventKind.SUCCEEDED, ended_at=draft.now)


def _gone(draft: Draft, members: Sequence[_Member], patience: Patience) -> None:
    """Every member of a job that was told to go is gone."""
    record = draft.record
    reason, detail = record.reason or Reason.PREEMPTED, record.detail
    status = _status(members)
    draft.record = replace(record, exit_status=record.exit_status or status)
    kind = _KINDS.get(reason)
    preempted = kind is None or kind is FailureKind.PREEMPTED
    saves = record.spec.checkpoint.on_signal
    if members and preempted and not saves and all(member.succeeded for member in members):
        # It has finished before it could be stopped; one that saves its work may only say so.
        _succeed(draft)
        return
    if reason is Reason.CANCELLED_BY_USER or record.cancel_wanted:
        draft.end_attempt(Reason.CANCELLED_BY_USER)
        cause = Reason.CANCELLED_BY_USER
        draft.move(State.CANCELLED, EventKind.CANCELLED, reason=cause, ended_at=draft.now)
    elif reason is Reason.DEADLINE_PASSED:
        draft.end_attempt(reason)
        draft.move(State.FAILED, EventKind.FAILED, reason=reason, detail=detail, ended_at=draft.now)
    elif reason is Reason.GANG_INCOMPLETE:
        draft.end_attempt(reason)
        draft.move(State.BACKING_OFF, EventKind.BACKING_OFF, reason=reason, detail=detail)
    elif kind is None or kind is FailureKind.PREEMPTED:
        _requeue(draft, reason, members, patience)
    else:
        _fail(draft, kind, detail, patience)


def _requeue(draft: Draft, reason: Reason, members: Sequence[_Member], patience: Patience) -> None:
    """A preempted job waits again in its old place, unless it may not be preempted so often."""
    graceful = all(m.phase is MemberPhase.EXITED and m.status != _KILLED for m in members)
    # A step of an earlier try is not news.
    step = None if draft.record.saved_at is None else draft.record.saved_step
    draft.end_attempt(reason, saved_by_signal=graceful)
    record = draft.record
    kind = FailureKind.PREEMPTED
    failures = {**record.failures, kind: record.failures.get(kind, 0) + 1}
    counted: dict[str, Any] = {"failures": failures, "preemptions": record.preemptions + 1}
    follows = _next(record, kind, failures, patience)
    if isinstance(follows, Again):
        told = None if step is None else f"saved at step {step}"
        draft.move(
            State.QUEUED,
            EventKind.REQUEUED,
            reason=reason,
            detail=told,
            step=step,
            not_before=0.0,
            **counted,
        )
        return
    draft.move(State.FAILED, EventKind.FAILED, reason=reason, ended_at=draft.now, **counted)
    if follows.exhausted:
        draft.move(State.DEAD, EventKind.DEAD, reason=reason, detail="no retries are left")


def _fail(draft: Draft, kind: FailureKind, detail: str | None, patience: Patience) -> None:
    """Failed; tried again later, or for good."""
    reason = Reason(kind.value)
    draft.end_attempt(reason)
    record, now = draft.record, draft.now
    failures = {**record.failures, kind: record.failures.get(kind, 0) + 1}
    draft.move(
        State.FAILED,
        EventKind.FAILED,
        reason=reason,
        detail=detail,
        ended_at=now,
        failures=failures,
    )
    follows = _next(record, kind, failures, patience)
    if isinstance(follows, Again):
        draft.move(
            State.BACKING_OFF,
            EventKind.BACKING_OFF,
            reason=reason,
            detail=detail,
            not_before=now + follows.wait_seconds,
            ended_at=None,
        )
    elif follows.exhausted:
        draft.move(State.DEAD, EventKind.DEAD, reason=reason, detail=detail)


def _next(
    record: JobRecord, kind: FailureKind, failures: Mapping[FailureKind, int], patience: Patience
) -> Again | GiveUp:
    asked = record.spec.retries
    budgets = {one: getattr(asked, one.value) for one in FailureKind}
    return decide(
        kind,
        {one.value: count for one, count in failures.items()},
        {one.value: count for one, count in budgets.items() if count is not None},
        back_off_seconds=patience.back_off_seconds,
        back_off_seconds_max=patience.back_off_seconds_max,
    )


def _status(members: Sequence[_Member]) -> int | None:
    bad = [m.status for m in members if m.status]
    return bad[0] if bad else None


def _detail(members: Sequence[_Member], kind: FailureKind) -> str:
    for member in members:
        if member.failure is kind:
            said = member.detail or f"exit status {member.status}"
            return f"member {member.seat.rank} on {member.seat.node}: {said}"[:500]
    return kind.value
