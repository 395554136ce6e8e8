"""How many lines of batches may run now, whose turn is next, and who gives way.

Lines fill what interactive answers leave. While nobody else asks, up to `lines_max` run; when an
interactive answer begins, the number falls to `beside_interactive` at once for new lines, and after
`yield_seconds` the youngest of the others are stopped. So no interactive answer meets more than
`beside_interactive` lines for longer than that. Further lines begin again once nobody has asked for
`calm_seconds`, or the pauses of a conversation would be filled with work that is thrown away.

Beside it each model has a pace of its own: servers that say they are full halve it and close it for
the time they name, and answers raise it again, by one for each round of them (AIMD, as in TCP: Chiu
and Jain 1989). So a model that is away stops its own lines only.

Knows counts and times as arguments; does not know what a line is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """The bounds; both counts are at least 1, so that lines never starve."""

    lines_max: int
    beside_interactive: int
    yield_seconds: float
    calm_seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """What was learned of one model's servers. Times are monotonic seconds."""

    # The most lines that they took lately.
    cap: int
    # Answers since the cap last changed.
    answers: int = 0
    # No line begins before this time.
    closed_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that has a line to begin."""

    running: int
    # Grows with each line that was begun, of any batch.
    served: int


def allow(limits: PaceLimits, *, quiet_seconds: float) -> int:
    """How many lines may begin in all, those that run already counted.

    quiet_seconds: how long no interactive answer has been in progress; 0 while one is.
    """
    if quiet_seconds < limits.calm_seconds:
        return min(limits.beside_interactive, limits.lines_max)
    return limits.lines_max


def allow_of(pace: Pace, now: float) -> int:
    """How many lines of one model may run."""
    return 0 if now < pace.closed_until else pace.cap


def refuse(pace: Pace, *, wait_seconds: float, now: float) -> Pace:
    """A server was full: half as many, and none before the time it named."""
    closed_until = max(pace.closed_until, now + wait_seconds)
    if now < pace.closed_until:
        # Lines that were sent together are refused together; that is one refusal.
        return replace(pace, closed_until=closed_until)
    return Pace(max(1, pace.cap // 2), closed_until=closed_until)


def close(pace: Pace, *, wait_seconds: float, now: float) -> Pace:
    """No server is there: none before that time, and then as many as before."""
    return replace(pace, closed_until=max(pace.closed_until, now + wait_seconds))


def answer(pace: Pace, limits: PaceLimits) -> Pace:
    """A line was answered: one more after a whole round of answers."""
    answers = pace.answers + 1
    if answers < pace.cap:
        return replace(pace, answers=answers)
    return replace(pace, cap=min(pace.cap + 1, limits.lines_max), answers=0)


def yield_lines(
    limits: PaceLimits,
    *,
    running: int,
    interactive: int,
    crowded_since: float | None,
    now: float,
) -> tuple[float | None, int]:
    """Since when more lines run than may, and how many of them have to be stopped now."""
    excess = running - allow(limits, quiet_seconds=0.0)
    if interactive == 0 or excess <= 0:
        return None, 0
    if crowded_since is None:
        return now, 0
    return crowded_since, excess if now - crowded_since >= limits.yield_seconds else 0


def choose(claims: Mapping[Name, Claim]) -> Name:
    """Whose line begins next: the batch with the fewest running, then who waited longest."""
    return min(claims, key=lambda name: (claims[name].running, claims[name].served, name))
