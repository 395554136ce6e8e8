"""How many requests one caller may make in a minute: GCRA, the leaky bucket as a single number.

The state of a bucket is its theoretical arrival time (TAT): when it would be empty again. Knows
times and counts as arguments only. Source: ITU-T I.371, annex A, the virtual scheduling algorithm.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_minute` requests on average, of which `burst` may come at once. Both at least 1."""

    per_minute: int
    burst: int

    @property
    def interval_seconds(self) -> float:
        """Time that one request uses up."""
        return 60.0 / self.per_minute


@dataclass(frozen=True, slots=True)
class Allowed:
    """Take it, and keep `arrival_time` as the bucket's new state."""

    arrival_time: float
    # How many more could come right now.
    remaining: int
    # Until the bucket is full of room again.
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; the next one is allowed after `seconds`. The state stays as it was."""

    seconds: float
    reset_seconds: float


def admit(arrival_time: float | None, now: float, rate: Rate) -> Allowed | Wait:
    """Decide on one request at time `now` (any monotonic seconds); None is an untouched bucket."""
    interval = rate.interval_seconds
    capacity = interval * rate.burst
    theoretical = max(arrival_time if arrival_time is not None else now, now)
    after = theoretical + interval
    # Half a nanosecond of slack keeps rounding from denying the last request of a full burst.
    if after - now > capacity + 5e-10:
        return Wait(seconds=after - now - capacity, reset_seconds=theoretical - now)
    remaining = int((capacity - (after - now)) / interval + 1e-6)
    return Allowed(arrival_time=after, remaining=remaining, reset_seconds=after - now)
