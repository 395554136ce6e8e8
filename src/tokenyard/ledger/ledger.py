"""The ledger: sets money aside before the work, and bills what was counted after it.

Decides nothing about HTTP and never counts a token itself. The store's journal is the truth, and
the one place where caps are looked at: a reservation under a cap is one step in the store, so that
any number of processes together never pass it. Without a cap a reservation waits for nothing,
and nobody needs to see it: it is entered only when the work lasts (`entering`), so that a short
answer costs one write, its bill.

The usual course is `reserve`, stream, `settle`, with `release` in a `finally`: dropping a
reservation twice counts once. A store writes even when its caller is cancelled, so a bill is
neither lost nor counted twice when the client vanishes. What a process reserved comes back when
the process is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tokenyard.ledger.budgets import BudgetBook
from tokenyard.ledger.entering import Entering
from tokenyard.ledger.gpu import GpuCharges
from tokenyard.ledger.months import month_of
from tokenyard.ledger.ports import LedgerStore
from tokenyard.ledger.prices import read_prices
from tokenyard.ledger.records import CapReached, Reservation, UsageRow
from tokenyard.ledger.rules.pricing import (
    PriceBook,
    Rates,
    Tier,
    price,
    saved_nanos,
)
from tokenyard.ledger.rules.reservation import worst_cost
from tokenyard.ledger.statements import Statements
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.ledger_settings import LedgerSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import LimitReached, NotFound, Unavailable
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import IdPrefix, ModelName, ReservationId
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
        self._reservations_max = settings.reservations_max
        self._holder_seconds = settings.holder_seconds
        self._currency = settings.currency
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self._metrics = metrics
        self._holder = ""
        self._open: dict[ReservationId, Reservation] = {}
        self._watchers: dict[ReservationId, Callable[[UsageRow], None]] = {}
        self.entering = Entering(store, settings.enter_seconds, clock=clock, failed=self._unentered)
        self.gpu = GpuCharges(store, self._prices, clock)
        self.statements = Statements(store, settings.currency, clock, randomness)
        self.budgets = BudgetBook(store, settings, clock=clock, randomness=randomness, log=log)

    async def start(self) -> None:
        """Say that this process lives, and read the budgets."""
        self._holder = mint(IdPrefix.HOLDER, self._randomness)
        await self.beat()
        await self.budgets.read()

    async def beat(self) -> None:
        """Say that this process still lives, and give back what lost processes had reserved."""
        now = self._clock.now()
        await self._store.hold(self._holder, now + self._holder_seconds)
        while await self._store.release_abandoned(now, limit=1000) == 1000:
            continue

    async def keep(self) -> None:
        """Beat until cancelled; an outage of the store is waited for."""
        while True:
            await self._clock.sleep(self._holder_seconds / 3)
            try:
                await self.beat()
            except Unavailable as error:
                self._log.warning(Event.LEDGER_UNHEARD, reason=error.reason)

    @property
    def open_reservations(self) -> int:
        """How many generations have money set aside now, by this process."""
        return len(self._open)

    async def reserve(
        self,
        principal: Principal,
        model: ModelName,
        *,
        prompt_tokens: int,
        completion_tokens_max: int,
        tier: Tier = Tier.DEFAULT,
        work: str = "",
    ) -> Reservation:
        """Set the worst cost of a request aside.

        prompt_tokens: an upper bound of what the engine will count. work: the name by which
        another process can take it over. Raises LimitReached when a budget could be passed,
        NotFound when the model has no price, Forbidden when the key may not use it, Unavailable
        when too many reservations are open.
        """
        if not self._holder:
            raise RuntimeError("the ledger has not been started")
        # Here, because nothing is generated without a reservation.
        principal.check_model(model)
        now = self._clock.now()
        rates = self._rates_of(model, now, tier)
        if len(self._open) >= self._reservations_max:
            raise Unavailable("Too many requests are in progress.", retry_after_seconds=1.0)
        # All that it may be billed at, wherever it is served; `rates` is one of them.
        cost = max(
            worst_cost(
                one, prompt_tokens=prompt_tokens, completion_tokens_max=completion_tokens_max
            )
            for one in self._prices.find_all(model, now, tier=tier)
        )
        made = ReservationId(mint(IdPrefix.RESERVATION, self._randomness))
        reservation = Reservation(
            id=made,
            at=now,
            rates=rates,
            worst_cost=cost,
            work=work,
            holder=self._holder,
            tier=tier,
            **_payer(principal, model),
        )
        caps = self.budgets.caps(
            principal.organisation, reservation.subjects(), principal.monthly_cap_nanos
        )
        if caps:
            self.entering.enter_all(principal.organisation)
            reached = await self._store.reserve(reservation, caps)
            if reached is not None:
                raise self._refuse(reached, cost, now)
        else:
            self.entering.add(reservation)
        self._open[made] = reservation
        return reservation

    def watch(self, reservation: Reservation, settled: Callable[[UsageRow], None]) -> None:
        """Let somebody hear of the bill that ends a reservation, if one does."""
        self._watchers[reservation.id] = settled

    def release(self, reservation: Reservation) -> None:
        """Give back what was set aside; quiet when it was given back or billed before."""
        self._watchers.pop(reservation.id, None)
        held = self._open.pop(reservation.id, None)
        if held is not None and not self.entering.take(held.id):
            self._store.post_release(reservation.id, self._clock.now(), self._unentered)

    def bill(
        self,
        reservation: Reservation,
        *,
        id: str,
        usage: Usage,
        finish: FinishReason,
        upstream: str = "",
        job: str | None = None,
    ) -> UsageRow:
        """The usage row of a generation, for a store call that writes more than the row.

        From here on the reservation is not entered any more if it was not: nothing needs an end.
        id: of the completion or response; the ledger holds one row for each. upstream: the server
        that did the work, which may have a price of its own.
        """
        rates = reservation.rates
        if upstream:
            found = self._prices.find(
                reservation.model, reservation.at, upstream=upstream, tier=reservation.tier
            )
            rates = found or rates
        return UsageRow(
            id=id,
            at=self._clock.now(),
            user=reservation.user,
            project=reservation.project,
            key=reservation.key,
            model=reservation.model,
            usage=usage,
            cost=price(usage, rates),
            finish=finish,
            organisation=reservation.organisation,
            tier=reservation.tier,
            upstream=upstream,
            job=job,
            saved_nanos=saved_nanos(usage, rates),
            reservation=None if self.entering.take(reservation.id) else reservation.id,
        )

    async def settle(
        self,
        reservation: Reservation,
        *,
        id: str,
        usage: Usage,
        finish: FinishReason,
        upstream: str = "",
    ) -> UsageRow:
        """Bill a generation: write its row, which ends the reservation.

        A second call with the same id changes nothing. Raises what the store raises; the row is
        then in the log, and the call may be made again.
        """
        row = self.bill(reservation, id=id, usage=usage, finish=finish, upstream=upstream)
        await self.settle_with(reservation, row, self._store.add_usage(row))
        return row

    async def settle_with(
        self, reservation: Reservation, row: UsageRow, write: Awaitable[bool]
    ) -> bool:
        """End the reservation by the row that `write` stores; True when it was new.

        `write` is a store call that returns False when the row was there before, such as
        `finish_response`.
        """
        began = self._clock.monotonic()
        try:
            written = await write
        except asyncio.CancelledError:
            # The store writes all the same; whether the row was new is no longer heard.
            self._open.pop(reservation.id, None)
            self._publish(row)
            raise
        except Exception as error:
            self._log.error(Event.LEDGER_UNWRITTEN, error, **_spell(row))
            raise
        watcher = self._watchers.pop(reservation.id, None)
        if watcher is not None:
            watcher(row)
        if self._metrics is not None:
            self._metrics.ledger_lag.observe(self._clock.monotonic() - began)
        if not written:
            # Another bill has that id: what was set aside for this one is still open.
            self.release(reservation)
            self._log.warning(
                Event.LEDGER_DUPLICATE, id=row.id, project=row.project, cost_nanos=row.cost.nanos
            )
            return False
        self._open.pop(reservation.id, None)
        self._publish(row)
        return True

    async def recover(
        self, principal: Principal, model: ModelName, *, work: str, tier: Tier = Tier.DEFAULT
    ) -> Reservation | None:
        """Take over the reservation of work that another process began; None when there is none."""
        found = await self._store.find_reservation(work)
        if found is None or not await self._store.take_over(found[0], self._holder):
            return None
        held, _, nanos = found
        rates = self._rates_of(model, self._clock.now(), tier)
        cost = Money(nanos, self._currency)
        reservation = Reservation(
            id=held,
            at=self._clock.now(),
            rates=rates,
            worst_cost=cost,
            work=work,
            holder=self._holder,
            tier=tier,
            **_payer(principal, model),
        )
        self._open[held] = reservation
        return reservation

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
        """What a project without a budget of its own may spend in a month; None is no limit."""
        return self.budgets.monthly

    def _rates_of(self, model: ModelName, at: float, tier: Tier) -> Rates:
        rates = self._prices.find(model, at, tier=tier)
        if rates is None:
            raise NotFound(
                f"The model {model} has no price.", reason=Reason.MODEL_NOT_FOUND, param="model"
            )
        return rates

    def _refuse(self, reached: CapReached, cost: Money, now: float) -> LimitReached:
        cap = reached.cap
        return LimitReached(
            f"This request may cost up to {cost}, and "
            f"{Money(reached.remaining_nanos, self._currency)} of the {cap.scope}'s monthly "
            f"budget of {Money(cap.nanos, self._currency)} is left.",
            reason=Reason.INSUFFICIENT_BUDGET,
            retry_after_seconds=month_of(now).until - now,
        )

    def _publish(self, row: UsageRow) -> None:
        self._log.debug(Event.LEDGER_SETTLED, id=row.id, model=row.model, cost_nanos=row.cost.nanos)
        if self._metrics is None:
            return
        tokens = self._metrics.tokens
        tokens.labels(row.model, "prompt").inc(row.usage.prompt_tokens)
        tokens.labels(row.model, "cached").inc(row.usage.cached_tokens)
        tokens.labels(row.model, "completion").inc(row.usage.completion_tokens)
        self._metrics.cost.labels(row.model).inc(row.cost.nanos)

    def _unentered(self, error: Exception) -> None:
        """A reservation or release did not get into the journal."""
        if self._metrics is not None:
            self._metrics.ledger_unentered.inc()
        self._log.error(Event.LEDGER_UNENTERED, error)


def _payer(principal: Principal, model: ModelName) -> dict[str, Any]:
    return {
        "user": principal.user,
        "project": principal.project,
        "key": principal.key,
        "organisation": principal.organisation,
        "model": model,
    }


def _spell(row: UsageRow) -> dict[str, Any]:
    """A bill that could not be written, for the log: enough to enter it by hand."""
    return {
        "id": row.id,
        "row_at": row.at,
        "user": row.user,
        "project": row.project,
        "key": row.key,
        "model": row.model,
        "prompt_tokens": row.usage.prompt_tokens,
        "cached_tokens": row.usage.cached_tokens,
        "completion_tokens": row.usage.completion_tokens,
        "reasoning_tokens": row.usage.reasoning_tokens,
        "cost_nanos": row.cost.nanos,
        "currency": row.cost.currency,
        "finish": row.finish,
    }
