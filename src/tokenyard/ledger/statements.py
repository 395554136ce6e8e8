"""What the books say: balances, sums of usage, and the proof that they are right.

Reads, and corrects a bill where a person asks for it. Decides nothing about who may ask.
"""

from tokenyard.ledger.months import month_of
from tokenyard.ledger.ports import GroupBy, LedgerStore
from tokenyard.ledger.records import (
    Balance,
    Fault,
    Scope,
    Subject,
    UsageBucket,
    UsageQuery,
    UsageTotal,
)
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.ids import IdPrefix, ProjectId
from tokenyard.vocabulary.money import Money

_BUCKETS_MAX = 50_000
_FAULTS_MAX = 100


class Statements:
    """The journal and the usage rows, as people and programs ask for them."""

    def __init__(
        self, store: LedgerStore, currency: str, clock: Clock, randomness: Randomness
    ) -> None:
        self._store = store
        self._currency = currency
        self._clock = clock
        self._randomness = randomness

    async def month_to_date(self, project: ProjectId) -> Money:
        """What the project has spent this month (UTC), in the ledger's currency."""
        subject: Subject = (Scope.PROJECT, project)
        return Money((await self.balances(subject))[subject].spent_nanos, self._currency)

    async def balances(self, *subjects: Subject) -> dict[Subject, Balance]:
        """What these have spent this month and reserved now, all processes together."""
        return await self._store.balances(subjects, at=self._clock.now(), currency=self._currency)

    async def totals(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over the project's rows with since <= at < until (Unix seconds)."""
        return await self._store.total_usage(project, since=since, until=until, group_by=group_by)

    async def usage(self, query: UsageQuery) -> list[UsageBucket]:
        """Sums over rows by time and group; raises InvalidRequest when they are too many."""
        return await self._store.usage_buckets(query, limit=_BUCKETS_MAX)

    async def forecast(self, subject: Subject) -> tuple[int, int]:
        """Nano-units that a subject has spent this month, and will have at its end at that pace."""
        now = self._clock.now()
        month = month_of(now)
        spent = (await self.balances(subject))[subject].spent_nanos
        return spent, round(spent * (month.until - month.since) / max(now - month.since, 3600.0))

    async def adjust(self, row: str, *, nanos: int, note: str) -> bool:
        """Correct a bill by hand; False when there is no such row."""
        name = mint(IdPrefix.RESERVATION, self._randomness)
        return await self._store.adjust(row, name, nanos, self._clock.now(), note)

    async def check(self) -> list[Fault]:
        """Prove the books; no faults means that every balance is the sum of its entries."""
        return await self._store.check(limit=_FAULTS_MAX)
