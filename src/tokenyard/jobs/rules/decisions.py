"""What a plan says: decisions to carry out, and why everyone else waits.

Words only. A decision names the job; carrying it out is the scheduler's work.
"""

from dataclasses import dataclass, field

from tokenyard.jobs.rules.backfill import Reservation
from tokenyard.jobs.rules.board import Entry, Phase
from tokenyard.jobs.rules.gangs import Shortfall
from tokenyard.jobs.rules.workload import Seats
from tokenyard.vocabulary.ids import JobId
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Start:
    """Launch the job on those seats, which are free."""

    job: JobId
    seats: Seats
    # In its turn, in a gap before a reservation, or on seats that were held for it.
    reason: Reason = Reason.IN_ORDER


@dataclass(frozen=True, slots=True)
class Claim:
    """Hold those seats for the job until who sits there has gone."""

    job: JobId
    seats: Seats


@dataclass(frozen=True, slots=True)
class Preempt:
    """Tell a running job to go; it waits again in its old place."""

    job: JobId
    # Who gains by it; None when the whole order changed.
    by: JobId | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class Release:
    """A gang that stayed incomplete gives all back and waits until then."""

    job: JobId
    not_before: float


@dataclass(frozen=True, slots=True)
class Renounce:
    """A claim that can no longer be met is given up; the job waits on."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Complete:
    """Launch the members that a running gang lacks, or further ones of a gang that grows."""

    job: JobId
    seats: Seats


Decision = Start | Claim | Preempt | Release | Renounce | Complete


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a job waits: the dominant reason, and the evidence where there are numbers."""

    reason: Reason
    # The job that was tried and failed, or the one that is waited for.
    job: JobId
    shortfall: Shortfall | None = None
    planned_start: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one cycle."""

    now: float
    # The board's version that was looked at; to be applied to no other.
    version: int
    # In the order in which they must be carried out.
    decisions: tuple[Decision, ...]
    blocked: dict[int, Blocked] = field(repr=False)
    single: dict[JobId, Blocked] = field(repr=False)
    reservations: tuple[Reservation, ...] = field(repr=False)

    def why(self, entry: Entry) -> Blocked | None:
        """The one reason for which the job does not run; None when it runs or will start now."""
        job = entry.job
        if entry.phase is Phase.HELD:
            if entry.unmet:
                return Blocked(Reason.DEPENDENCY, min(entry.unmet))
            reason = Reason.BACKING_OFF if entry.attempt else Reason.NOT_BEFORE
            return Blocked(reason, job.id, until=job.not_before)
        own = self.single.get(job.id)
        if own is not None:
            return own
        if entry.phase is not Phase.WAITING or self._acts_on(job.id):
            return None
        return self.blocked.get(entry.line.number) or Blocked(Reason.CYCLE_LIMIT, job.id)

    def _acts_on(self, job: JobId) -> bool:
        return any(isinstance(d, (Start, Claim)) and d.job == job for d in self.decisions)
