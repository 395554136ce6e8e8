"""How many lines of batches may run now, whose turn is next, and who gives way.

Lines fill what interactive answers leave. While nobody else asks, up to `lines_max` run; a model
server that says it is full halves the number, and answers raise it again, one for each round of
them (AIMD, as in TCP: Chiu and Jain 1989). When an interactive answer begins, the number falls to
`beside_interactive` at once for new lines, and after `yield_seconds` the youngest of the others are
stopped. So no interactive answer meets more than `beside_interactive` lines for longer than that.

Knows counts and times as arguments; does not know what a line is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """The bounds; both counts are at least 1, so that lines never starve."""

    lines_max: int
    beside_interactive: int
    yield_seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """What was learned. Times are monotonic seconds."""

    # The most lines that the model servers took lately.
    cap: int
    # Answers since the cap last changed.
    answers: int = 0
    # No line begins before this time.
    closed_until: float = 0.0
    # Since when more lines run beside interactive answers than may.
    crowded_since: float | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that has a line to start."""

    running: int
    # Grows with each line that was started, of any batch.
    served: int


def allow(pace: Pace, limits: PaceLimits, *, interactive: int, now: float) -> int:
    """How many lines may run, those that run already counted."""
    if now < pace.closed_until:
        return 0
    return _room(pace, limits, interactive)


def refuse(pace: Pace, *, wait_seconds: float, now: float) -> Pace:
    """A model server was full: half as many, and none before the time it named."""
    closed_until = max(pace.closed_until, now + wait_seconds)
    if now < pace.closed_until:
        # Lines that were sent together are refused together; that is one refusal.
        return replace(pace, closed_until=closed_until)
    return replace(pace, cap=max(1, pace.cap // 2), answers=0, closed_until=closed_until)


def answer(pace: Pace, limits: PaceLimits) -> Pace:
    """A line was answered: one more after a whole round of answers."""
    answers = pace.answers + 1
    if answers < pace.cap:
        return replace(pace, answers=answers)
    return replace(pace, cap=min(pace.cap + 1, limits.lines_max), answers=0)


def yield_lines(
    pace: Pace, limits: PaceLimits, *, running: int, interactive: int, now: float
) -> tuple[Pace, int]:
    """How many of the running lines have to be stopped now, to make way."""
    excess = running - _room(pace, limits, interactive)
    if interactive == 0 or excess <= 0:
        return replace(pace, crowded_since=None), 0
    if pace.crowded_since is None:
        return replace(pace, crowded_since=now), 0
    if now - pace.crowded_since < limits.yield_seconds:
        return pace, 0
    return pace, excess


def choose(claims: Mapping[str, Claim]) -> str:
    """Whose line begins next: the batch with the fewest running, then who waited longest."""
    return min(claims, key=lambda name: (claims[name].running, claims[name].served, name))


def _room(pace: Pace, limits: PaceLimits, interactive: int) -> int:
    cap = min(pace.cap, limits.lines_max)
    return min(cap, limits.beside_interactive) if interactive else cap
