"""The order in which a cycle tries jobs: lines of alike jobs, compared by their heads.

Decides who comes first under a profile; not whether he fits. A job that is overdue comes before all
others. Running jobs that were lifted on trial are compared with those who wait, and win ties.
"""

from typing import Any, assert_never

from tokenyard.jobs.rules.board import Board, Entry, Line
from tokenyard.jobs.rules.profile import Order

# Elements differ by profile (numbers, tuples of shares) but agree position by position.
OrderKey = tuple[Any, ...]
_BY_LENGTH = {Order.REMAINING, Order.SERVICE}


class Source:
    """A line of waiting jobs, or of lifted running ones, with a cursor."""

    __slots__ = ("cursor", "entries", "lifted", "line", "number")

    def __init__(self, number: int, line: Line, entries: list[Entry], lifted: bool) -> None:
        self.number = number
        self.line = line
        self.entries = entries
        self.cursor = 0
        self.lifted = lifted


class Ordering:
    """Keys of one cycle; the smaller is tried first."""

    def __init__(self, board: Board, now: float) -> None:
        self._board = board
        self._now = now
        self._order = board.profile.order
        self._ageing = board.profile.ageing_seconds
        overdue = board.profile.overdue_seconds
        # Who was submitted before this is overdue.
        self._overdue_before = float("-inf") if overdue is None else now - overdue
        self._by_length = bool(_BY_LENGTH & set(self._order))

    def sources(self, lifted: list[Entry]) -> list[Source]:
        """Every line with somebody in it, and those lifted, grouped alike."""
        sources = [
            Source(line.number, line, line.entries, False)
            for line in self._board.lines.values()
            if line.entries
        ]
        by_line: dict[int, list[Entry]] = {}
        for entry in lifted:
            by_line.setdefault(entry.line.number, []).append(entry)
        for number, entries in by_line.items():
            entries.sort(key=lambda entry: self._own_key(entry, lifted=True))
            sources.append(Source(-1 - number, entries[0].line, entries, True))
        return sources

    def key(self, source: Source) -> OrderKey:
        """The key of the source's next job, with the shares of this moment."""
        return self.key_of(source.entries[source.cursor], lifted=source.lifted)

    def key_of(self, entry: Entry, *, lifted: bool = False) -> OrderKey:
        """The key of one job."""
        job = entry.job
        if job.submitted_at < self._overdue_before:
            return (0, job.submitted_at, entry.seq)
        queues, key = self._board.queues, [1, *self._own_key(entry, lifted=lifted)]
        for position, order in enumerate(self._order, start=1):
            if order is Order.SHARE:
                share = queues.share(job.queue, job.amount_min, self._board.profile.share)
                # Of equals, who sits already stays.
                key[position] = (share, not lifted)
            elif order is Order.NOMINAL:
                key[position] = queues.borrows(job.queue, job.amount_min)
        return tuple(key)

    def _own_key(self, entry: Entry, *, lifted: bool) -> OrderKey:
        """What does not depend on others; shares are filled in by `key`."""
        job, key = entry.job, []
        ageing = self._ageing
        seconds = 0.0
        if self._by_length:
            rest = entry.ends_at - self._now if lifted else self._board.profile.seconds_of(job)
            seconds = max(rest, 0.0)
        for order in self._order:
            match order:
                case Order.PRIORITY:
                    aged = job.submitted_at / ageing if ageing else 0.0
                    key.append(-job.priority + aged)
                case Order.AGE:
                    key.append(job.submitted_at)
                case Order.REMAINING:
                    key.append(seconds)
                case Order.SERVICE:
                    key.append(seconds * job.amount_min.gpu_milli)
                case Order.STRETCH:
                    key.append(self._board.profile.stretched(job))
                case Order.SHARE | Order.NOMINAL:
                    key.append(0.0)
                case _:
                    assert_never(order)
        return (*key, not lifted, job.submitted_at, entry.seq)
