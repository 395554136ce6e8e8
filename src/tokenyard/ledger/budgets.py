"""Budgets: which caps hold for whom, and who has to be warned.

Hard caps are decided in the store, with every reservation. Warnings are looked for now and then:
each is given once for a subject and month, by whichever process finds it first. Does not know how
a warning is sent.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenyard.ledger.months import period_of
from tokenyard.ledger.ports import LedgerStore
from tokenyard.ledger.prices import read_monthly_budget
from tokenyard.ledger.records import ANYBODY, Balance, Budget, Cap, Scope, Subject
from tokenyard.ledger.rules.budget import caps_of, find_budget, passed_soft
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.ledger_settings import LedgerSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import BudgetId, IdPrefix, OrganisationId
from tokenyard.vocabulary.money import Money

_BY_SETTING = BudgetId("ledger.monthly_budget")


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A soft budget that was passed."""

    id: str
    budget: Budget
    subject: str
    spent_nanos: int
    currency: str

    def notice(self) -> dict[str, Any]:
        """What a webhook is told."""
        return {
            "type": "budget.soft_limit_reached",
            "id": self.id,
            "budget": self.budget.id,
            "scope": self.budget.scope,
            "subject": self.subject,
            "spent_nanos": self.spent_nanos,
            "soft_nanos": self.budget.soft_nanos,
            "hard_nanos": self.budget.hard_nanos,
            "currency": self.currency,
        }


Tell = Callable[[BudgetWarning], Awaitable[None]]


class BudgetBook:
    """The budgets of one process's view; read anew now and then, so that replicas agree."""

    def __init__(
        self,
        store: LedgerStore,
        settings: LedgerSettings,
        *,
        clock: Clock,
        randomness: Randomness,
        log: Log,
    ) -> None:
        self._store = store
        self._seconds = settings.budgets_seconds
        self._currency = settings.currency
        self.webhook_hosts = settings.webhook_hosts
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self.monthly: Money | None = read_monthly_budget(settings)
        self._default: dict[Subject, Budget] = {}
        if self.monthly is not None:
            self._default[Scope.PROJECT, ANYBODY] = Budget(
                _BY_SETTING, Scope.PROJECT, ANYBODY, hard_nanos=self.monthly.nanos
            )
        self._books: dict[OrganisationId, dict[Subject, Budget]] = {}
        # Who has spent since the last look for warnings.
        self._touched: set[tuple[OrganisationId, Subject]] = set()

    async def read(self) -> None:
        """Take the budgets from the store; the setting stands for projects without one."""
        books: dict[OrganisationId, dict[Subject, Budget]] = {}
        for budget in await self._store.list_budgets():
            books.setdefault(budget.organisation, {})[budget.scope, budget.subject] = budget
        self._books = books

    def caps(
        self,
        organisation: OrganisationId,
        subjects: Sequence[Subject],
        key_cap_nanos: int | None,
    ) -> list[Cap]:
        """The hard caps that a reservation of these has to fit under.

        key_cap_nanos: what the key itself says that it may spend.
        """
        book = self._books.get(organisation)
        if book is not None:
            self._touched.update((organisation, subject) for subject in subjects)
        caps = caps_of(self._of(organisation), subjects) if book or self._default else []
        if key_cap_nanos is not None:
            caps += [
                Cap(scope, subject, key_cap_nanos)
                for scope, subject in subjects
                if scope is Scope.KEY
            ]
        return caps

    def list(self, organisation: OrganisationId) -> list[Budget]:
        """The budgets of a tenant."""
        return [*self._books.get(organisation, {}).values()]

    def find(self, organisation: OrganisationId, subject: Subject) -> Budget | None:
        """The budget that holds for a subject of that tenant."""
        return find_budget(self._of(organisation), subject)

    async def put(
        self,
        organisation: OrganisationId,
        scope: Scope,
        subject: str,
        *,
        soft_nanos: int | None,
        hard_nanos: int | None,
        webhook: str,
    ) -> Budget:
        """Store a budget in place of the one that the subject has."""
        name = BudgetId(mint(IdPrefix.BUDGET, self._randomness))
        budget = Budget(name, scope, subject, soft_nanos, hard_nanos, webhook, organisation)
        await self._store.put_budget(budget)
        await self.read()
        return budget

    async def delete(self, organisation: OrganisationId, budget: BudgetId) -> bool:
        """Forget a budget of a tenant; False when there is none."""
        if budget not in {one.id for one in self.list(organisation)}:
            return False
        deleted = await self._store.delete_budget(budget)
        await self.read()
        return deleted

    async def keep(self, tell: Tell) -> None:
        """Read budgets anew and give warnings until cancelled."""
        while True:
            await self._clock.sleep(self._seconds)
            try:
                await self.read()
                await self.warn(tell)
            except TokenyardError as error:
                self._log.warning(Event.LEDGER_UNHEARD, reason=error.reason)

    async def warn(self, tell: Tell) -> None:
        """Look at who has spent since the last time, and tell of soft budgets that were passed."""
        touched, self._touched = sorted(self._touched), set()
        now = self._clock.now()
        for organisation, subject in touched:
            budget = self.find(organisation, subject)
            if budget is None or budget.soft_nanos is None:
                continue
            held = await self._store.balances([subject], at=now, currency=self._currency)
            await self._warn_of(budget, subject, held[subject], now, tell)

    def _of(self, organisation: OrganisationId) -> tuple[dict[Subject, Budget], ...]:
        return self._books.get(organisation, {}), self._default

    async def _warn_of(
        self, budget: Budget, subject: Subject, balance: Balance, now: float, tell: Tell
    ) -> None:
        if not passed_soft(budget, balance):
            # Its last spending may not have been settled when we looked.
            if balance.reserved_nanos:
                self._touched.add((budget.organisation, subject))
            return
        name = f"{budget.id}/{subject[1]}/{period_of(now)}"
        if not await self._store.note_warning(name, now):
            return
        self._log.warning(
            Event.BUDGET_WARNING,
            budget=budget.id,
            scope=budget.scope,
            subject=subject[1],
            spent_nanos=balance.spent_nanos,
            soft_nanos=budget.soft_nanos,
        )
        await tell(BudgetWarning(name, budget, subject[1], balance.spent_nanos, self._currency))
