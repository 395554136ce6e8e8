"""How long pieces of text are gathered before they are sent on as one event.

An event costs a wake-up and a system call for each reader, however short it is. A calm server
sends each piece at once; one that falls behind gathers for longer, step by step up to a quarter of
a second, which a reader hardly sees and which spares seven wake-ups of eight. To wait for longer
than pieces come spares nothing and only makes readers wait: such windows are left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

WINDOWS_SECONDS = (0.0, 0.025, 0.05, 0.1, 0.25)
# A piece that waited for longer than this on its way says that the server is behind.
_BEHIND_SECONDS = 0.05
_CALM_SECONDS = 0.01
# What a window must gather of one answer to be worth its wait.
_PIECES_MIN = 1.5
_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Pace:
    """How many pieces a second an answer brings, as it was in the last second or so."""

    pieces: int = 0
    per_second: float = 0.0
    _since: float | None = None
    _answers: set[str] = field(default_factory=set)

    def look(self, answers: Iterable[str], now: float) -> float:
        """These answers had pieces; returns the pace, which counts `pieces` since it was last."""
        if self._since is None:
            self._since = now
        self._answers.update(answers)
        passed = now - self._since
        if passed >= _LOOK_SECONDS and self._answers:
            self.per_second = self.pieces / len(self._answers) / passed
            self.pieces, self._since = 0, now
            self._answers.clear()
        return self.per_second


def choose_window(window_seconds: float, lag_seconds: float, pace: float) -> float:
    """The next window, one useful step longer or shorter than the last, or the same.

    lag_seconds: how much longer than the window the oldest piece took from the model server into
    the log. pace: pieces a second of one answer.
    """
    useful = [one for one in WINDOWS_SECONDS if not one or one * pace >= _PIECES_MIN]
    if lag_seconds > _BEHIND_SECONDS:
        return next((one for one in useful if one > window_seconds), useful[-1])
    least = window_seconds if lag_seconds >= _CALM_SECONDS else window_seconds - 0.001
    return max((one for one in useful if one <= least), default=0.0)
