"""Why jobs wait, as far as this process knows: from the leader's last plan, or one of its own.

Decides only whose plan is asked. A replica that does not lead plans on its mirror, changes nothing
by it, and keeps that plan until its mirror changes.
"""

from dataclasses import dataclass

from tokenyard.jobs.records import JobRecord
from tokenyard.jobs.rules.decisions import Plan
from tokenyard.jobs.rules.explain import (
    Evidence,
    Explanation,
    evidence_of,
    explain,
    sentence_of,
)
from tokenyard.jobs.rules.plan import plan
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.runtime.clock import Clock

_WAITING = {State.HELD, State.QUEUED, State.BACKING_OFF}


@dataclass(frozen=True, slots=True)
class Why:
    """The one dominant reason for which a job waits, the sentence, and its numbers."""

    reason: str
    sentence: str
    evidence: Evidence


class Insight:
    """Reads the scheduler's board; never changes it."""

    def __init__(self, scheduler: Scheduler, clock: Clock) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._own: Plan | None = None

    def why(self, record: JobRecord) -> Why | None:
        """None when it runs, has ended, starts in the next cycle, or is not known here yet."""
        board = self._scheduler.roster.board
        entry = board.entries.get(record.id)
        if record.state not in _WAITING or entry is None:
            return None
        blocked = self._decided().why(entry)
        if blocked is None:
            return None
        job = entry.job
        evidence = evidence_of(board, job, blocked)
        return Why(blocked.reason.value, sentence_of(board, job, blocked), evidence)

    def explain(self, record: JobRecord) -> Explanation | None:
        """The whole answer; None as above."""
        board = self._scheduler.roster.board
        if record.state not in _WAITING or record.id not in board.entries:
            return None
        return explain(board, record.id, self._clock.now(), decided=self._decided())

    def _decided(self) -> Plan:
        decided = self._scheduler.decided
        if decided is not None:
            return decided
        board = self._scheduler.roster.board
        if self._own is None or self._own.version != board.version:
            self._own = plan(board, self._clock.now())
        return self._own
