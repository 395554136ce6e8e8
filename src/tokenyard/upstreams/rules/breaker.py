"""When to stop asking a server that fails, and when to try it again: a circuit breaker.

Closed, it counts failures in a row. Open, nobody is sent there. When its time is over one call may
try; that call's outcome closes it, or opens it for twice as long. Knows times as arguments only.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether calls are sent to a server."""

    CLOSED = "closed"
    OPEN = "open"
    # One call is on its way to find out.
    TRYING = "trying"


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """After so many failures in a row, for so long at first and at most."""

    failures_max: int
    seconds_min: float
    seconds_max: float


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one server's breaker. opened: how often in a row."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    opened: int = 0
    until: float = 0.0


def may_ask(breaker: Breaker, now: float) -> bool:
    """Whether a call may be sent now."""
    match breaker.state:
        case BreakerState.CLOSED:
            return True
        case BreakerState.OPEN:
            return now >= breaker.until
        case BreakerState.TRYING:
            # A trial that never told its outcome does not hold the others up for ever.
            return now >= breaker.until


def begin(breaker: Breaker, now: float, rule: BreakerRule) -> Breaker:
    """A call is sent: through an open breaker it is the trial."""
    if breaker.state is BreakerState.CLOSED:
        return breaker
    return replace(breaker, state=BreakerState.TRYING, until=now + rule.seconds_max)


def succeed(breaker: Breaker) -> Breaker:
    """A call was answered."""
    return breaker if breaker == Breaker() else Breaker()


def fail(breaker: Breaker, now: float, rule: BreakerRule) -> Breaker:
    """A call broke."""
    failures = breaker.failures + 1
    if breaker.state is BreakerState.CLOSED and failures < rule.failures_max:
        return replace(breaker, failures=failures)
    if breaker.state is BreakerState.OPEN and now < breaker.until:
        # It was on its way when the breaker opened.
        return breaker
    seconds = min(rule.seconds_min * 2**breaker.opened, rule.seconds_max)
    return Breaker(BreakerState.OPEN, failures, breaker.opened + 1, now + seconds)
