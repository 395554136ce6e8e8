"""What becomes of a job that nobody seats: it is let go on, given up, cancelled or told to go.

Decides which state follows and why, on drafts; what members do is `moves`'. It does not know
stores, executors or clocks.
"""

from collections.abc import Mapping, Sequence

from tokenyard.jobs.draft import Draft
from tokenyard.jobs.records import EventKind, NodeRecord, NodeState
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.shape import seconds_at
from tokenyard.vocabulary.ids import JobId, NodeName
from tokenyard.vocabulary.reasons import Reason


def wake(draft: Draft, unmet: Sequence[JobId], failed: JobId | None) -> None:
    """A job that waits for a time or for others: let it go on, or fail it with those."""
    record = draft.record
    if record.cancel_wanted:
        cancel(draft)
    elif failed is not None:
        fail_waiting(draft, Reason.DEPENDENCY_FAILED, f"{failed} did not succeed")
    elif not unmet and record.not_before <= draft.now and record.state is not State.QUEUED:
        draft.move(State.QUEUED, EventKind.RELEASED, not_before=0.0)


def fail_waiting(draft: Draft, reason: Reason, detail: str | None) -> None:
    """A job without seats fails for good."""
    if draft.record.state in {State.HELD, State.BACKING_OFF}:
        draft.move(State.QUEUED, EventKind.RELEASED)
    draft.move(
        State.FAILED,
        EventKind.FAILED,
        reason=reason,
        detail=detail,
        held_seats=(),
        ended_at=draft.now,
    )


def cancel(draft: Draft, by: str | None = None) -> None:
    """A job without seats is cancelled."""
    draft.move(
        State.CANCELLED,
        EventKind.CANCELLED,
        reason=Reason.CANCELLED_BY_USER,
        by=by,
        held_seats=(),
        ended_at=draft.now,
    )


def pass_deadline(draft: Draft) -> None:
    """Its deadline is over and it has not succeeded."""
    deadline = seconds_at(draft.record.spec.deadline)
    if deadline is None or draft.now < deadline:
        return
    state = draft.record.state
    if state in {State.STARTING, State.RUNNING}:
        draft.stop(Reason.DEADLINE_PASSED)
    elif state in {State.HELD, State.QUEUED, State.BACKING_OFF}:
        fail_waiting(draft, Reason.DEADLINE_PASSED, None)


def drain(draft: Draft, nodes: Mapping[NodeName, NodeRecord]) -> None:
    """Tell a job to go that sits on a node which the operator wants empty."""
    if draft.record.state not in {State.STARTING, State.RUNNING}:
        return
    for seat in draft.record.seats:
        node = nodes.get(seat.node)
        if node is not None and node.wanted is NodeState.DRAINING:
            draft.stop(Reason.PREEMPTED, detail=f"node {node.name} is drained")
            return
