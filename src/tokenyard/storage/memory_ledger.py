"""The books in memory: for tests, and for a gateway that may forget everything when it stops.

The same entries as in SQL, made by the same rules; a call never gives up control half way.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tokenyard.ledger.months import period_of
from tokenyard.ledger.ports import GroupBy
from tokenyard.ledger.records import (
    Balance,
    Budget,
    Cap,
    CapReached,
    Dimension,
    Entry,
    Fault,
    Reservation,
    Subject,
    UsageBucket,
    UsageQuery,
    UsageRow,
    UsageTotal,
    subjects_of,
)
from tokenyard.ledger.rules.budget import decide
from tokenyard.ledger.rules.journal import (
    enter_adjustment,
    enter_release,
    enter_reservation,
    enter_settlement,
)
from tokenyard.storage.days import day_number, day_text
from tokenyard.storage.refusals import too_many_buckets
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import BudgetId, ProjectId, ReservationId
from tokenyard.vocabulary.money import Money

_NOTHING = Usage(0, 0)
# A balance: whose it is, the month or None for what is reserved now, and the currency.
Place = tuple[Subject, int | None, str]


@dataclass(slots=True)
class Books:
    """Everything that the ledger knows."""

    usage: dict[str, UsageRow] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    open: dict[ReservationId, Reservation] = field(default_factory=dict)
    sums: Counter[Place] = field(default_factory=Counter)
    holders: dict[str, float] = field(default_factory=dict)
    budgets: dict[tuple[str, Subject], Budget] = field(default_factory=dict)
    warnings: set[str] = field(default_factory=set)

    def reserve(self, reservation: Reservation) -> None:
        """Enter a reservation."""
        if reservation.id not in self.open:
            self.open[reservation.id] = reservation
            self._enter(enter_reservation(reservation))

    def release(self, reservation: ReservationId, at: float, note: str = "") -> None:
        """Give back what was reserved; nothing when it has ended."""
        held = self.open.pop(reservation, None)
        if held is not None:
            self._enter(enter_release(enter_reservation(held), at, note))

    def add_usage(self, row: UsageRow) -> bool:
        """Store a bill and settle it; False when its id is there."""
        if row.id in self.usage:
            return False
        self.usage[row.id] = row
        held = None if row.reservation is None else self.open.pop(row.reservation, None)
        self._enter(enter_settlement(row, 0 if held is None else held.worst_cost.nanos))
        return True

    def adjust(self, row: str, id: str, nanos: int, at: float, note: str) -> bool:
        """Correct a bill."""
        bill = self.usage.get(row)
        if bill is None:
            return False
        entry = enter_adjustment(bill, id, nanos, at, note)
        if entry.id in self.entries:
            return False
        self._enter(entry)
        return True

    def balance(self, subject: Subject, at: float, currency: str) -> Balance:
        """What a subject spent in the month of that time, and has reserved now."""
        return Balance(
            self.sums[subject, period_of(at), currency], self.sums[subject, None, currency]
        )

    def check(self) -> list[Fault]:
        """Sums of entries against the sums that were kept."""
        expected: Counter[Place] = Counter()
        for entry in self.entries.values():
            self._add(expected, entry)
        return [
            Fault("balance is not the sum of its entries", str(place), expected[place], kept)
            for place, kept in {**expected, **self.sums}.items()
            if expected[place] != kept
        ]

    def _enter(self, entry: Entry) -> None:
        self.entries[entry.id] = entry
        self._add(self.sums, entry)

    @staticmethod
    def _add(sums: Counter[Place], entry: Entry) -> None:
        payers = subjects_of(entry.organisation, entry.project, entry.user, entry.key)
        for subject in payers:
            sums[subject, None, entry.currency] += entry.reserved_nanos
            sums[subject, period_of(entry.at), entry.currency] += entry.spent_nanos


class MemoryLedgerStore:
    """Keeps `ledger.ports.LedgerStore`."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def reserve(self, reservation: Reservation, caps: Sequence[Cap]) -> CapReached | None:
        """Reserve if that fits under every cap."""
        currency = reservation.worst_cost.currency
        subjects = [(cap.scope, cap.subject) for cap in caps]
        held = {one: self._books.balance(one, reservation.at, currency) for one in subjects}
        reached = decide(caps, held, reservation.worst_cost.nanos)
        if reached is None:
            self._books.reserve(reservation)
        return reached

    def post_reservation(
        self, reservation: Reservation, failed: Callable[[Exception], None]
    ) -> None:
        """Enter a reservation that no cap concerns."""
        self._books.reserve(reservation)

    def post_release(
        self, reservation: ReservationId, at: float, failed: Callable[[Exception], None]
    ) -> None:
        """Give back what was reserved."""
        self._books.release(reservation, at)

    async def add_usage(self, row: UsageRow) -> bool:
        """Store the row and settle it; False, and nothing written, when its id is there."""
        return self._books.add_usage(row)

    async def adjust(self, row: str, id: str, nanos: int, at: float, note: str) -> bool:
        """Correct a bill by an entry of that id."""
        return self._books.adjust(row, id, nanos, at, note)

    async def find_reservation(self, work: str) -> tuple[ReservationId, str, int] | None:
        """An open reservation of that work: its id, its holder and its nano-units."""
        for held in self._books.open.values():
            if (held.work or held.id) == work:
                return held.id, held.holder, held.worst_cost.nanos
        return None

    async def take_over(self, reservation: ReservationId, holder: str) -> bool:
        """Let another process answer for a reservation; False when it has ended."""
        held = self._books.open.get(reservation)
        if held is None:
            return False
        self._books.open[reservation] = replace(held, holder=holder)
        return True

    async def hold(self, holder: str, until: float) -> None:
        """Say that a process lives, and until when to believe it."""
        self._books.holders[holder] = until

    async def release_abandoned(self, now: float, *, limit: int) -> int:
        """Give back what is reserved by processes that are no more."""
        living = {holder for holder, until in self._books.holders.items() if until > now}
        lost = [held.id for held in self._books.open.values() if held.holder not in living]
        for reservation in lost[:limit]:
            self._books.release(reservation, now, "its process is gone")
        return len(lost[:limit])

    async def balances(
        self, subjects: Sequence[Subject], *, at: float, currency: str
    ) -> dict[Subject, Balance]:
        """What they spent in the month of that time, and have reserved now."""
        return {subject: self._books.balance(subject, at, currency) for subject in subjects}

    async def total_usage(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over rows with since <= at < until, ordered by group; days are in UTC."""
        totals: dict[tuple[str, str], UsageTotal] = {}
        for row in self._books.usage.values():
            if row.project == project and since <= row.at < until:
                group = _group_of(row, group_by)
                empty = UsageTotal(group, 0, _NOTHING, Money(0, row.cost.currency))
                held = totals.get((group, row.cost.currency), empty)
                totals[group, row.cost.currency] = UsageTotal(
                    group, held.requests + 1, _add(held.usage, row.usage), held.cost + row.cost
                )
        return [totals[place] for place in sorted(totals)]

    async def usage_buckets(self, query: UsageQuery, *, limit: int) -> list[UsageBucket]:
        """Sums over rows by time and group; raises InvalidRequest beyond `limit`."""
        found: dict[tuple[int, tuple[str | None, ...], str], UsageBucket] = {}
        for row in self._books.usage.values():
            if not (query.since <= row.at < query.until) or not _wanted(row, query):
                continue
            start = int(row.at // 60) // query.bucket_minutes * query.bucket_minutes * 60
            group = tuple(_value(row, dimension) for dimension in query.group_by)
            currency = row.cost.currency
            empty = UsageBucket(start, group, 0, _NOTHING, 0, 0, Money(0, currency))
            held = found.get((start, group, currency), empty)
            found[start, group, currency] = replace(
                held,
                requests=held.requests + 1,
                usage=_add(held.usage, row.usage),
                gpu_millis=held.gpu_millis + row.gpu_millis,
                saved_nanos=held.saved_nanos + row.saved_nanos,
                cost=held.cost + row.cost,
            )
        if len(found) > limit:
            raise too_many_buckets(limit)
        return sorted(
            found.values(), key=lambda one: (one.start, [value or "" for value in one.group])
        )

    async def list_budgets(self) -> list[Budget]:
        """Every budget, by scope and subject."""
        return sorted(self._books.budgets.values(), key=lambda one: (one.scope, one.subject))

    async def put_budget(self, budget: Budget) -> None:
        """Store a budget in place of the one with its scope and subject."""
        self._books.budgets[budget.organisation, (budget.scope, budget.subject)] = budget

    async def delete_budget(self, budget: BudgetId) -> bool:
        """Forget a budget; False when there is none of that id."""
        found = [place for place, one in self._books.budgets.items() if one.id == budget]
        for place in found:
            del self._books.budgets[place]
        return bool(found)

    async def note_warning(self, id: str, at: float) -> bool:
        """Remember that a warning is given; True for exactly one caller."""
        new = id not in self._books.warnings
        self._books.warnings.add(id)
        return new

    async def check(self, *, limit: int) -> list[Fault]:
        """Prove the books."""
        return self._books.check()[:limit]


def _add(one: Usage, other: Usage) -> Usage:
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )


def _wanted(row: UsageRow, query: UsageQuery) -> bool:
    return all(_value(row, name) in values for name, values in query.only.items())


def _value(row: UsageRow, dimension: Dimension) -> str | None:
    values: dict[Dimension, str | None] = {
        Dimension.ORGANISATION: row.organisation,
        Dimension.PROJECT: row.project,
        Dimension.USER: row.user,
        Dimension.KEY: row.key,
        Dimension.MODEL: row.model,
        Dimension.TIER: row.tier.value,
        Dimension.UPSTREAM: row.upstream,
        Dimension.JOB: row.job,
    }
    return values[dimension]


def _group_of(row: UsageRow, group_by: GroupBy) -> str:
    match group_by:
        case GroupBy.MODEL:
            return row.model
        case GroupBy.KEY:
            return row.key or ""
        case GroupBy.USER:
            return row.user
        case GroupBy.DAY:
            return day_text(day_number(row.at))
