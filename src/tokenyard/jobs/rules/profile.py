"""Policies by name: the same plan under the philosophies of different schedulers.

A profile decides nothing itself; it says in which order jobs are tried, who may be displaced and
whether a small job may pass a large one. Two philosophies cannot be had at once: Kueue protects
nominal quota, Armada protects fair shares. So each is a profile of its own.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from tokenyard.jobs.rules.fairness import Share
from tokenyard.jobs.rules.placement import BestFit, Pack, Policy
from tokenyard.jobs.rules.workload import GPU_MILLI, INFINITY, Job
from tokenyard.vocabulary.errors import InvalidRequest


class Order(StrEnum):
    """One criterion by which jobs are tried; earlier criteria of a profile weigh more."""

    # Higher priority first; with ageing, waiting raises it.
    PRIORITY = "priority"
    # The queue whose share stays lowest with the job in it.
    SHARE = "share"
    # Jobs that stay within their queue's nominal quota before those that would borrow.
    NOMINAL = "nominal"
    # The shortest rest of work, in seconds; in GPU-seconds.
    REMAINING = "remaining"
    SERVICE = "service"
    # The time of submission plus a stretch of the expected length: short jobs first, but a job is
    # overtaken only by such as come within that stretch after it. So nobody starves.
    STRETCH = "stretch"
    # First come, first served.
    AGE = "age"


class Passing(StrEnum):
    """What happens behind a job that cannot start."""

    # Its queue waits with it.
    STRICT = "strict"
    # Whoever fits starts; large jobs may starve.
    SKIP = "skip"
    # Whoever fits starts if it delays no reservation: one of the first blocked job (EASY, Lifka
    # 1995), or one of each blocked job up to a limit (conservative, Mu'alem and Feitelson 2001).
    EASY = "easy"
    CONSERVATIVE = "conservative"


class Taking(StrEnum):
    """Whom a blocked job may displace."""

    NOBODY = "nobody"
    # The cheapest minimal set, by the rules of its queue about priority and reclaim.
    VICTIMS = "victims"
    # The same, but other queues lose only while their share stays the larger one.
    FAIR_VICTIMS = "fair_victims"
    # Everyone who may be displaced is tried again in order; who finds no seat is displaced.
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Profile:
    """A scheduling policy; seconds are of the plan's clock."""

    name: str
    order: tuple[Order, ...] = (Order.PRIORITY, Order.AGE)
    placement: Policy = field(default_factory=BestFit)
    # Once it is known what jobs ask for, place them so that the least is cut into pieces that those
    # cannot use; until then by `placement`.
    learns: bool = False
    # Of places that are equally good, take one whose occupants should have gone when the newcomer
    # has too: so whole nodes come free together.
    aligns: bool = False
    share: Share = Share.DOMINANT
    passing: Passing = Passing.SKIP
    taking: Taking = Taking.NOBODY
    # Reservations of one cycle under CONSERVATIVE; EASY has one.
    reservations_max: int = 8
    # Jobs behind a reservation that are tried in one line of alike jobs, and in one cycle in all.
    passing_jobs_max: int = 64
    passing_tries_max: int = 8_192
    # Jobs for which victims are sought in one cycle, and nodes that are looked at for each.
    preemptors_max: int = 16
    preemption_nodes_max: int = 64
    # A job runs at least this long before it can be displaced, and after each displacement twice
    # as long, up to a limit: so often may the same thing happen to it, and no more.
    run_seconds_min: float = 0.0
    run_seconds_min_max: float = 4 * 3600.0
    # So often may a job be displaced by one whose priority is not higher.
    preemptions_max: int = 5
    # Waiting this long is worth one step of priority; None: priorities never age.
    ageing_seconds: float | None = None
    # Who has waited longer goes before everyone else, oldest first; None: never.
    overdue_seconds: float | None = None
    # Under STRETCH: for each second that a job should run it is put off by `stretch` seconds times
    # this power of its GPUs. 1 counts GPU-seconds, 0 seconds alone; below 0 wide gangs go before
    # narrow jobs, which find room in what those leave. Nobody is put off by more than the most, and
    # so never overtaken by who comes later than that.
    stretch: float = 1.0
    stretch_width_power: float = 1.0
    stretch_seconds_max: float = 7 * 86_400.0
    # Under REPLACE: queues up to this fraction of their fair share lose nobody to equals.
    protected_fraction: float = 1.0
    # Under REPLACE: a displaced job may be seated elsewhere at once.
    moves: bool = False
    # What is assumed of a job that names neither limit nor estimate; None: it may run for ever.
    estimate_seconds_default: float | None = None
    # A job that has outlived its estimate is expected to go on for this long.
    overrun_seconds: float = 60.0
    # How long a gang may sit below its minimum, and how long it then waits.
    patience_seconds: float = 60.0
    back_off_seconds: float = 10.0
    back_off_seconds_max: float = 600.0

    def __post_init__(self) -> None:
        if not self.order:
            raise InvalidRequest("A profile needs an order.", param="order")
        by_length = {Order.REMAINING, Order.SERVICE, Order.STRETCH} & set(self.order)
        if self.overdue_seconds is not None and by_length:
            message = "Overdue jobs cannot be found in an order by length."
            raise InvalidRequest(message, param="overdue_seconds")

    def protected_seconds(self, preemptions: int) -> float:
        """How long a job that was displaced so often is left alone once it runs."""
        # Capped before it is raised, so that a thousandth displacement does not overflow.
        return min(self.run_seconds_min * 2.0 ** min(preemptions, 32), self.run_seconds_min_max)

    def seconds_of(self, job: Job) -> float:
        """How long the rest of the job is taken to last; infinite when nobody knows."""
        seconds = job.seconds_expected
        if seconds is None:
            seconds = self.estimate_seconds_default
        return INFINITY if seconds is None else seconds

    def stretched(self, job: Job) -> float:
        """When it was submitted, put off by how long it should run, weighed by how wide it is."""
        width: float = max(job.amount_min.gpu_milli / GPU_MILLI, 1.0) ** self.stretch_width_power
        off = self.stretch * width * self.seconds_of(job)
        return job.submitted_at + min(off, self.stretch_seconds_max)

    @property
    def reserves(self) -> int:
        """How many reservations a cycle makes."""
        match self.passing:
            case Passing.STRICT | Passing.SKIP:
                return 0
            case Passing.EASY:
                return 1
            case Passing.CONSERVATIVE:
                return self.reservations_max


QUOTA_PROTECTING = Profile(
    "quota_protecting",
    order=(Order.NOMINAL, Order.PRIORITY, Order.AGE),
    share=Share.BORROWED,
    taking=Taking.VICTIMS,
)
QUOTA_PROTECTING_FAIR = Profile(
    "quota_protecting_fair",
    order=(Order.SHARE, Order.PRIORITY, Order.AGE),
    share=Share.BORROWED,
    taking=Taking.FAIR_VICTIMS,
)
SHARE_PROTECTING = Profile(
    "share_protecting",
    order=(Order.PRIORITY, Order.SHARE, Order.AGE),
    taking=Taking.REPLACE,
)
FIFO = Profile("fifo", order=(Order.AGE,), passing=Passing.STRICT)
FIFO_SKIP = Profile("fifo_skip", order=(Order.AGE,))
FIFO_EASY = Profile("fifo_easy", order=(Order.AGE,), passing=Passing.EASY)
FIFO_CONSERVATIVE = Profile("fifo_conservative", order=(Order.AGE,), passing=Passing.CONSERVATIVE)
PRIORITY = Profile("priority")
SJF = Profile("sjf", order=(Order.REMAINING, Order.AGE), placement=Pack())
# Preemptive shortest-first as in the simulators of Tiresias and Muri: everyone is placed anew at
# every event. What remains of a running job only falls, so nobody is displaced in circles.
SRTF = Profile(
    "srtf",
    order=(Order.REMAINING, Order.AGE),
    placement=Pack(),
    taking=Taking.REPLACE,
    moves=True,
    preemptions_max=1 << 30,
)
SRSF = replace(SRTF, name="srsf", order=(Order.SERVICE, Order.AGE))
# Ours, the default: quota first, then short and wide work, with a bound on being overtaken, so that
# nobody starves; who is blocked first is protected by a reservation. The stretch was chosen on some
# windows of the Philly trace and holds on others (decision 0018).
YARD = Profile(
    "yard",
    order=(Order.PRIORITY, Order.NOMINAL, Order.STRETCH, Order.AGE),
    passing=Passing.EASY,
    taking=Taking.VICTIMS,
    learns=True,
    aligns=True,
    run_seconds_min=60.0,
    stretch=8.0,
    stretch_width_power=-1.0,
    estimate_seconds_default=14_400.0,
)
# Ours where teams share a cluster without quotas: the queue with the smallest share first.
YARD_FAIR = replace(
    YARD,
    name="yard_fair",
    order=(Order.PRIORITY, Order.SHARE, Order.AGE),
    overdue_seconds=6 * 3600.0,
)

PROFILES = {
    profile.name: profile
    for profile in (
        QUOTA_PROTECTING,
        QUOTA_PROTECTING_FAIR,
        SHARE_PROTECTING,
        FIFO,
        FIFO_SKIP,
        FIFO_EASY,
        FIFO_CONSERVATIVE,
        PRIORITY,
        SJF,
        SRTF,
        SRSF,
        YARD,
        YARD_FAIR,
    )
}
