"""When to start a dead model server again: soon at first, then ever more slowly.

Knows how often it died and how long it lived; does not know why.
"""

from dataclasses import dataclass

# One that served for this long has proved itself: the next death counts as the first.
PROVED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait doubles from `seconds_min` up to `seconds_max`."""

    seconds_min: float
    seconds_max: float


def count_deaths(deaths: int, lived_seconds: float) -> int:
    """How many deaths in a row this one makes, after `deaths` before it."""
    return 1 if lived_seconds >= PROVED_SECONDS else deaths + 1


def wait_seconds(deaths: int, backoff: Backoff) -> float:
    """The wait after that many deaths in a row; the first waits the minimum."""
    # The exponent is bounded so that a server that dies for years does not overflow a float.
    doublings = min(max(deaths - 1, 0), 64)
    return float(min(backoff.seconds_max, backoff.seconds_min * 2.0**doublings))
