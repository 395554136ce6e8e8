"""How long somebody who guesses passwords has to wait.

Failures are counted for an account together with where they come from, and for a place alone:
nobody can lock an account for others, as what fails elsewhere does not count here. Knows counts and
times; not what a place is. Source: OWASP Authentication Cheat Sheet, "Account Lockout".
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """`free` failures cost nothing; each one more doubles the wait, from one second."""

    free: int
    wait_seconds_max: float = 900.0
    # A series of failures is forgotten after this long without one.
    forget_seconds: float = 3_600.0


@dataclass(frozen=True, slots=True)
class Failures:
    """A series of failures."""

    count: int
    last_at: float


def wait_seconds(failures: Failures | None, now: float, patience: Patience) -> float:
    """How long until the next attempt may be made; 0 for now."""
    if failures is None or is_forgotten(failures, now, patience):
        return 0.0
    over = failures.count - patience.free
    if over < 0:
        return 0.0
    wait = min(2.0 ** min(over, 30), patience.wait_seconds_max)
    return max(0.0, failures.last_at + wait - now)


def add_failure(failures: Failures | None, now: float, patience: Patience) -> Failures:
    """The series with one failure more."""
    if failures is None or is_forgotten(failures, now, patience):
        return Failures(1, now)
    return Failures(failures.count + 1, now)


def is_forgotten(failures: Failures, now: float, patience: Patience) -> bool:
    """Whether the series is over."""
    return now - failures.last_at >= patience.forget_seconds
