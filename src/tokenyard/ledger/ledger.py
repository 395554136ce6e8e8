"""The ledger: sets money aside before a generation, and bills what the engine counted after it.

Decides nothing about HTTP and never counts a token itself. What is spent and reserved is kept in
memory, so that a reservation waits for nothing; the store is the truth and is read at the start.
One process reserves at a time: what another process spends is seen at the next start.

The usual course is `reserve`, stream, `settle`, with `release` in a `finally`: dropping a
reservation twice counts once. `settle` counts first and writes then, and a store writes even when
its caller is cancelled: so a bill is neither lost nor counted twice when the client vanishes.
"""

import asyncio
from collections.abc import Awaitable

from tokenyard.ledger.months import Month, month_of
from tokenyard.ledger.ports import GroupBy, LedgerStore
from tokenyard.ledger.prices import read_monthly_budget, read_prices
from tokenyard.ledger.records import Reservation, UsageRow, UsageTotal
from tokenyard.ledger.rules.budget import Denied, decide
from tokenyard.ledger.rules.pricing import PriceBook, Rates, price
from tokenyard.ledger.rules.reservation import worst_cost
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.settings import LedgerSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import LimitReached, NotFound, Unavailable
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import IdPrefix, ModelName, ProjectId, ReservationId
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason


class Ledger:
    """Reservations and bills of all projects; call `start` once before the first reservation."""

    def __init__(
        self,
        store: LedgerStore,
        settings: LedgerSettings,
        *,
        clock: Clock,
        randomness: Randomness,
        log: Log,
        metrics: GatewayMetrics | None = None,
    ) -> None:
        self._store = store
        self._prices = read_prices(settings)
        self._budget = read_monthly_budget(settings)
        self._reservations_max = settings.reservations_max
        self._currency = settings.currency
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self._metrics = metrics
        self._month: Month | None = None
        # Nano-units of this month, by project.
        self._spent: dict[ProjectId, int] = {}
        # Nano-units of the reservations that are open now; a project that holds none is not in it.
        self._reserved: dict[ProjectId, int] = {}
        self._open: dict[ReservationId, Reservation] = {}

    async def start(self) -> None:
        """Read from the store what was spent this month."""
        month = month_of(self._clock.now())
        self._spent = await self._store.spent_by_project(
            currency=self._currency, since=month.since, until=month.until
        )
        self._month = month

    @property
    def open_reservations(self) -> int:
        """How many generations have money set aside now."""
        return len(self._open)

    def reserve(
        self,
        principal: Principal,
        model: ModelName,
        *,
        prompt_tokens: int,
        completion_tokens_max: int,
        batch: bool = False,
    ) -> Reservation:
        """Set the worst cost of a request aside.

        prompt_tokens: an upper bound of what the engine will count. batch: at the price of batches.
        Raises LimitReached when the project's budget of the month could be passed, NotFound when
        the model has no price, Unavailable when too many reservations are open.
        """
        rates = self._rates_of(model, batch=batch)
        if len(self._open) >= self._reservations_max:
            raise Unavailable("Too many requests are in progress.", retry_after_seconds=1.0)
        cost = worst_cost(
            rates, prompt_tokens=prompt_tokens, completion_tokens_max=completion_tokens_max
        )
        now = self._clock.now()
        self._admit(principal.project, cost, now)
        reservation = Reservation(
            id=ReservationId(mint(IdPrefix.RESERVATION, self._randomness)),
            at=now,
            user=principal.user,
            project=principal.project,
            key=principal.key,
            model=model,
            rates=rates,
            worst_cost=cost,
        )
        self._open[reservation.id] = reservation
        if cost.nanos:
            held = self._reserved.get(principal.project, 0)
            self._reserved[principal.project] = held + cost.nanos
        return reservation

    def release(self, reservation: Reservation) -> None:
        """Give back what was set aside; quiet when it was given back or billed before."""
        if self._open.pop(reservation.id, None) is None:
            return
        left = self._reserved.get(reservation.project, 0) - reservation.worst_cost.nanos
        if left:
            self._reserved[reservation.project] = left
        else:
            self._reserved.pop(reservation.project, None)

    def bill(
        self, reservation: Reservation, *, id: str, usage: Usage, finish: FinishReason
    ) -> UsageRow:
        """The usage row of a generation, for a store call that writes more than the row.

        id: of the completion or response; the ledger holds one row for each. Nothing is counted
        until `settle_with` or `close` hears of the row.
        """
        return UsageRow(
            id=id,
            at=self._clock.now(),
            user=reservation.user,
            project=reservation.project,
            key=reservation.key,
            model=reservation.model,
            usage=usage,
            cost=price(usage, reservation.rates),
            finish=finish,
        )

    async def settle(
        self, reservation: Reservation, *, id: str, usage: Usage, finish: FinishReason
    ) -> UsageRow:
        """Bill a generation: write its row and release the reservation.

        A second call with the same id changes nothing. Raises what the store raises; the row is
        then in the log, and the call may be made again.
        """
        row = self.bill(reservation, id=id, usage=usage, finish=finish)
        await self.settle_with(reservation, row, self._store.add_usage(row))
        return row

    async def settle_with(
        self, reservation: Reservation, row: UsageRow, write: Awaitable[bool]
    ) -> bool:
        """Release the reservation and count the row that `write` stores; True when it was new.

        `write` is a store call that returns False when the row was there before, such as
        `finish_response`.
        """
        self.release(reservation)
        self._count(row)
        try:
            written = await write
        except asyncio.CancelledError:
            # The store writes all the same; whether the row was new is no longer heard.
            self._publish(row)
            raise
        except Exception as error:
            self._uncount(row)
            self._report_unwritten(row, error)
            raise
        if written:
            self._publish(row)
        else:
            self._uncount(row)
            self._log.warning(
                Event.LEDGER_DUPLICATE, id=row.id, project=row.project, cost_nanos=row.cost.nanos
            )
        return written

    def close(self, reservation: Reservation, row: UsageRow | None) -> None:
        """End a reservation whose row, if any, the caller has just written."""
        self.release(reservation)
        if row is not None:
            self._count(row)
            self._publish(row)

    async def month_to_date(self, project: ProjectId) -> Money:
        """What the store holds of this month (UTC), in the ledger's currency."""
        month = month_of(self._clock.now())
        nanos = await self._store.spent_nanos(
            project, currency=self._currency, since=month.since, until=month.until
        )
        return Money(nanos, self._currency)

    async def totals(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over the project's rows with since <= at < until (Unix seconds)."""
        return await self._store.total_usage(project, since=since, until=until, group_by=group_by)

    @property
    def currency(self) -> str:
        """ISO 4217 code of everything that is billed here."""
        return self._currency

    @property
    def prices(self) -> PriceBook:
        """The prices at which is billed."""
        return self._prices

    @property
    def monthly_budget(self) -> Money | None:
        """What each project may spend in a month; None when nothing limits it."""
        return self._budget

    def _rates_of(self, model: ModelName, *, batch: bool) -> Rates:
        rates = self._prices.find_for_batch(model) if batch else self._prices.find(model)
        if rates is None:
            raise NotFound(
                f"The model {model} has no price.", reason=Reason.MODEL_NOT_FOUND, param="model"
            )
        return rates

    def _admit(self, project: ProjectId, cost: Money, now: float) -> None:
        month = self._turn_month(now)
        spent = Money(self._spent.get(project, 0), self._currency)
        reserved = Money(self._reserved.get(project, 0), self._currency)
        verdict = decide(spent, reserved, cost, self._budget)
        if isinstance(verdict, Denied):
            raise LimitReached(
                f"This request may cost up to {cost}, and {verdict.remaining} of the project's "
                f"monthly budget of {self._budget} is left.",
                reason=verdict.reason,
                retry_after_seconds=month.until - now,
            )

    def _turn_month(self, now: float) -> Month:
        if self._month is None:
            raise RuntimeError("the ledger has not been started")
        # A clock that is set back a little must not bring the old month's empty sums back.
        if now >= self._month.until:
            self._month = month_of(now)
            self._spent.clear()
        return self._month

    def _count(self, row: UsageRow) -> None:
        if self._turn_month(row.at).holds(row.at):
            self._spent[row.project] = self._spent.get(row.project, 0) + row.cost.nanos

    def _uncount(self, row: UsageRow) -> None:
        # The month may have turned while the row was written; its sums are then gone already.
        if self._turn_month(row.at).holds(row.at):
            self._spent[row.project] = self._spent.get(row.project, 0) - row.cost.nanos

    def _publish(self, row: UsageRow) -> None:
        self._log.debug(Event.LEDGER_SETTLED, id=row.id, model=row.model, cost_nanos=row.cost.nanos)
        if self._metrics is None:
            return
        tokens = self._metrics.tokens
        tokens.labels(row.model, "prompt").inc(row.usage.prompt_tokens)
        tokens.labels(row.model, "cached").inc(row.usage.cached_tokens)
        tokens.labels(row.model, "completion").inc(row.usage.completion_tokens)
        self._metrics.cost.labels(row.model).inc(row.cost.nanos)

    def _report_unwritten(self, row: UsageRow, error: Exception) -> None:
        self._log.error(
            Event.LEDGER_UNWRITTEN,
            error,
            id=row.id,
            row_at=row.at,
            user=row.user,
            project=row.project,
            key=row.key,
            model=row.model,
            prompt_tokens=row.usage.prompt_tokens,
            cached_tokens=row.usage.cached_tokens,
            completion_tokens=row.usage.completion_tokens,
            reasoning_tokens=row.usage.reasoning_tokens,
            cost_nanos=row.cost.nanos,
            currency=row.cost.currency,
            finish=row.finish,
        )
