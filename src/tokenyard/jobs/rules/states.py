"""The life of a job: its states and the only legal ways between them.

    held ──▶ queued ──▶ starting ──▶ running ──▶ succeeded
      ▲        │ ▲          │          │  │
      └────────┘ │          ▼          │  ├──▶ failed ──▶ queued (retry) | dead
                 ├──── backing_off ◀───┤  │
                 └──── stopping ◀──────┘  └──▶ cancelled

Decides legality only; why a job moves is the business of plan, retry and the user.
"""

from enum import StrEnum
from typing import assert_never

from tokenyard.vocabulary.errors import Conflict
from tokenyard.vocabulary.reasons import Reason


class State(StrEnum):
    """Where a job is in its life."""

    # Waiting for a time, another job or its owner.
    HELD = "held"
    QUEUED = "queued"
    # Seats are taken, members are being launched.
    STARTING = "starting"
    RUNNING = "running"
    # Asked to stop; its seats are its own until every member is gone.
    STOPPING = "stopping"
    # Waiting out a delay after a failed start or run.
    BACKING_OFF = "backing_off"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    # Out of retries: kept for inspection and replay.
    DEAD = "dead"


_NEXT: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.QUEUED, State.CANCELLED}),
    State.QUEUED: frozenset({State.HELD, State.STARTING, State.CANCELLED, State.FAILED}),
    State.STARTING: frozenset(
        {State.RUNNING, State.STOPPING, State.BACKING_OFF, State.FAILED, State.CANCELLED}
    ),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.STOPPING, State.BACKING_OFF, State.CANCELLED}
    ),
    # A job that is told to stop may still finish first.
    State.STOPPING: frozenset(
        {State.QUEUED, State.BACKING_OFF, State.SUCCEEDED, State.FAILED, State.CANCELLED}
    ),
    State.BACKING_OFF: frozenset({State.QUEUED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED, State.BACKING_OFF, State.DEAD}),
    State.CANCELLED: frozenset(),
    # Replay puts a dead job back in its queue.
    State.DEAD: frozenset({State.QUEUED}),
}


def may_follow(state: State, following: State) -> bool:
    """Whether a job in `state` may go to `following`."""
    return following in _NEXT[state]


def advance(state: State, following: State) -> State:
    """`following`, or Conflict when it is not a legal next state."""
    if following not in _NEXT[state]:
        raise Conflict(
            f"A job that is {state} cannot become {following}.",
            reason=Reason.INVALID_VALUE,
            param="state",
        )
    return following


def holds_seats(state: State) -> bool:
    """Whether a job in this state occupies its seats."""
    match state:
        case State.STARTING | State.RUNNING | State.STOPPING:
            return True
        case State.HELD | State.QUEUED | State.BACKING_OFF:
            return False
        case State.SUCCEEDED | State.FAILED | State.CANCELLED | State.DEAD:
            return False
        case _:
            assert_never(state)


def is_final(state: State) -> bool:
    """Whether the job will never run again unless somebody replays it."""
    return state in {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.DEAD}
