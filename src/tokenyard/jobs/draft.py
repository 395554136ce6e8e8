"""One job's next record and timeline, made move by move.

Decides what each move does to the record, and what an attempt is booked with: what it took, what
it saved, what is lost. When to move is decided by others (`moves`, `queue`, `waits`, the
scheduler), and whether a move is legal by the rules of states. Pure, like the rules, but on
records.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tokenyard.jobs.records import Attempt, Change, EventKind, JobEvent, JobRecord, MemberSeat
from tokenyard.jobs.rules.states import State, advance, holds_seats
from tokenyard.jobs.shape import gpus_of
from tokenyard.vocabulary.reasons import Reason


class Draft:
    """One job's next record, with the events that lead to it."""

    def __init__(self, record: JobRecord, now: float) -> None:
        self.before = record
        self.record = record
        self.now = now
        self.heard_at = now
        self.events: list[JobEvent] = []
        self._attempt: Attempt | None = None

    def change(self) -> Change | None:
        """What to write; None when nothing happened."""
        if self.record is self.before:
            return None
        record = replace(self.record, version=self.before.version + 1)
        attempt = self._attempt
        if attempt is None and holds_seats(record.state):
            attempt = _attempt_of(record)
        return Change(record, tuple(self.events), attempt)

    def move(
        self,
        state: State,
        kind: EventKind,
        *,
        reason: Reason | None = None,
        detail: str | None = None,
        by: str | None = None,
        step: int | None = None,
        **fields: Any,
    ) -> None:
        """Into another state; Conflict when it is not a legal one."""
        advance(self.record.state, state)
        self.record = replace(self.record, state=state, reason=reason, detail=detail, **fields)
        self.note(kind, reason=reason, detail=detail, by=by, step=step)

    def note(
        self,
        kind: EventKind,
        *,
        reason: Reason | None = None,
        detail: str | None = None,
        by: str | None = None,
        step: int | None = None,
    ) -> None:
        """A line of the timeline."""
        job, attempt = self.record.id, self.record.attempt
        self.events.append(JobEvent(job, self.now, kind, attempt, reason, detail, by, step))

    def start(self, seats: tuple[MemberSeat, ...], how: Reason | None = None) -> None:
        """Take those seats for the next attempt; its members are still to be launched."""
        record = self.record
        first = record.first_started_at
        self.record = replace(record, attempt=record.attempt + 1)
        self.move(
            State.STARTING,
            EventKind.LAUNCHED,
            detail=_places(seats),
            step=record.saved_step,
            seats=seats,
            held_seats=(),
            members=len(seats),
            turns=0,
            launched_at=self.now,
            attempt_gpu_seconds=0.0,
            counted_at=self.now,
            running_at=None,
            incomplete_since=None,
            exit_status=None,
            saved_at=None,
            resumed_step=record.saved_step,
            first_started_at=self.now if first is None else first,
        )
        told = f"{_places(seats)}{_resumed(record)}"
        self.events[-1] = replace(self.events[-1], reason=how, detail=told)

    def stop(
        self, reason: Reason, *, detail: str | None = None, by: str | None = None, **fields: Any
    ) -> None:
        """Tell it to go; it keeps its seats until every member is gone."""
        grace = self.record.spec.checkpoint.grace_seconds
        self.move(
            State.STOPPING,
            EventKind.STOPPING,
            reason=reason,
            detail=detail,
            by=by,
            stop_at=self.now + grace,
            **fields,
        )

    def reseat(self, seats: tuple[MemberSeat, ...], **fields: Any) -> None:
        """Other seats within the same attempt; what the old ones took is counted."""
        self.record = replace(
            self.record,
            seats=seats,
            attempt_gpu_seconds=gpu_seconds_of(self.record, self.now),
            counted_at=self.now,
            **fields,
        )

    def end_attempt(self, outcome: Reason | None, *, saved_by_signal: bool = False) -> None:
        """Book what the attempt took, and free its seats."""
        record = self.record
        ran = 0.0 if record.running_at is None else max(self.heard_at - record.running_at, 0.0)
        held = 0.0 if record.launched_at is None else self.now - record.launched_at
        took = gpu_seconds_of(record, self.now)
        saved, lost = record.saved_seconds, 0.0
        if outcome is not None:
            saved = _saved(record, ran, saved_by_signal)
            # The part of the time whose work no checkpoint has kept.
            lost = took * max(1 - (saved - record.saved_seconds) / held, 0.0) if held else 0.0
        self._attempt = replace(
            _attempt_of(record),
            ended_at=self.now,
            outcome=outcome,
            gpu_seconds=took,
            lost_gpu_seconds=lost,
        )
        self.record = replace(
            record,
            seats=(),
            incomplete_since=None,
            # Bad nodes are the quarantine's business; a job that avoided many could never sit.
            avoid_nodes=(),
            stop_at=None,
            saved_at=None,
            saved_seconds=saved,
            gpu_seconds=record.gpu_seconds + took,
            lost_gpu_seconds=record.lost_gpu_seconds + lost,
            attempt_gpu_seconds=0.0,
        )


def gpu_seconds_of(record: JobRecord, now: float) -> float:
    """What the open attempt has taken until now."""
    if not record.seats:
        return record.attempt_gpu_seconds
    # A record of an older version was never counted.
    since = record.counted_at or record.launched_at or now
    return record.attempt_gpu_seconds + gpus_of(record) * max(now - since, 0.0)


def _attempt_of(record: JobRecord) -> Attempt:
    return Attempt(
        record.id,
        record.attempt,
        record.launched_at or 0.0,
        record.seats,
        running_at=record.running_at,
        exit_status=record.exit_status,
        resumed_step=record.resumed_step,
        saved_step=None if record.saved_at is None else record.saved_step,
    )


def _saved(record: JobRecord, ran: float, by_signal: bool) -> float:
    checkpoint = record.spec.checkpoint
    restart = checkpoint.restart_seconds if record.saved_seconds else 0.0
    worked = max(ran - restart, 0.0)
    if record.saved_at is not None and record.running_at is not None:
        # What the job has told of outweighs what its file promises.
        kept = record.saved_at - record.running_at - restart
        return record.saved_seconds + min(max(kept, 0.0), worked)
    if checkpoint.on_signal and by_signal:
        return record.saved_seconds + worked
    if checkpoint.interval_seconds is None:
        return record.saved_seconds
    return record.saved_seconds + worked - worked % checkpoint.interval_seconds


def _resumed(record: JobRecord) -> str:
    if record.saved_step is not None:
        return f", resumed at step {record.saved_step}"
    return f", from {record.saved_seconds:.0f} s of saved work" if record.saved_seconds else ""


def _places(seats: Sequence[MemberSeat]) -> str:
    nodes = sorted({seat.node for seat in seats})
    shown = ", ".join(nodes[:4]) + (", …" if len(nodes) > 4 else "")
    return f"{len(seats)} {'member' if len(seats) == 1 else 'members'} on {shown}"
