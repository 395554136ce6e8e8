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
from tokenyard.ledger.rules.budget import caps_of, find_budgets, passed_soft
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.ledger_settings import LedgerSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import BudgetId, IdPrefix, OrganisationId
from tokenyard.vocabulary.money import Money

# Subjects that one look for warnings asks the store for.
_SUBJECTS_MAX = 1000
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
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self.monthly: Money | None = read_monthly_budget(settings)
        self._budgets: dict[Subject, Budget] = {}
        # Who has spent since the last look for warnings.
        self._touched: set[Subject] = set()

    async def read(self) -> None:
        """Take the budgets from the store; the setting stands for projects without one."""
        found: dict[Subject, Budget] = {}
        if self.monthly is not None:
            found[Scope.PROJECT, ANYBODY] = Budget(
                _BY_SETTING, Scope.PROJECT, ANYBODY, hard_nanos=self.monthly.nanos
            )
        found.update(
            {(budget.scope, budget.subject): budget for budget in await self._store.list_budgets()}
        )
        self._budgets = found

    def caps(self, subjects: Sequence[Subject], key_cap_nanos: int | None) -> list[Cap]:
        """The hard caps that a reservation of these has to fit under.

        key_cap_nanos: what the key itself says that it may spend.
        """
        if self._budgets:
            self._touched.update(subjects)
        caps = caps_of(self._budgets, subjects) if self._budgets else []
        if key_cap_nanos is not None:
            caps += [
                Cap(scope, subject, key_cap_nanos)
                for scope, subject in subjects
                if scope is Scope.KEY
            ]
        return caps

    def list(self, organisation: OrganisationId) -> list[Budget]:
        """The budgets of a tenant."""
        return [one for one in self._budgets.values() if one.organisation == organisation]

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
        soft = [one for one in self._touched if self._soft(one)]
        touched, self._touched = sorted(soft), set()
        now = self._clock.now()
        for start in range(0, len(touched), _SUBJECTS_MAX):
            subjects = touched[start : start + _SUBJECTS_MAX]
            balances = await self._store.balances(subjects, at=now, currency=self._currency)
            for subject, balance in balances.items():
                await self._warn_of(subject, balance, now, tell)

    def _soft(self, subject: Subject) -> bool:
        return any(one.soft_nanos is not None for one in find_budgets(self._budgets, [subject]))

    async def _warn_of(self, subject: Subject, balance: Balance, now: float, tell: Tell) -> None:
        for budget in find_budgets(self._budgets, [subject]):
            if not passed_soft(budget, balance):
                # Its last spending may not have been settled when we looked.
                if balance.reserved_nanos:
                    self._touched.add(subject)
                continue
            name = f"{budget.id}/{subject[1]}/{period_of(now)}"
            if await self._store.note_warning(name, now):
                self._log.warning(
                    Event.BUDGET_WARNING,
                    budget=budget.id,
                    scope=budget.scope,
                    subject=subject[1],
                    spent_nanos=balance.spent_nanos,
                    soft_nanos=budget.soft_nanos,
                )
                await tell(
                    BudgetWarning(name, budget, subject[1], balance.spent_nanos, self._currency)
                )
