"""The ledger with what keeps it true while nobody asks: its beat, its budgets, its warnings."""

from collections.abc import Mapping

import msgspec

from tokenyard.assembly.ground import Ground
from tokenyard.ledger.budgets import BudgetWarning
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.ledger_settings import LedgerSettings
from tokenyard.upstreams.webhooks import Webhooks, read_secret
from tokenyard.vocabulary.errors import StartError


async def open_ledger(ground: Ground, webhook_secret: bytes) -> Ledger:
    """The started ledger; it beats until the ground is closed."""
    settings = ground.settings.ledger
    ledger = make_ledger(ground)
    await ledger.start()
    webhooks = Webhooks(
        settings,
        tasks=ground.tasks,
        clock=ground.clock,
        log=ground.log,
        secret=webhook_secret,
    )
    ground.stack.push_async_callback(webhooks.close)

    async def tell(warning: BudgetWarning) -> None:
        body = msgspec.json.encode(warning.notice())
        await webhooks.post(warning.budget.webhook, warning.id, body)

    for name, work in (
        ("beat", ledger.keep()),
        ("entering", ledger.entering.keep()),
        ("budgets", ledger.budgets.keep(tell)),
    ):
        keeping = ground.tasks.spawn(f"ledger.{name}", work)
        ground.stack.push_async_callback(ground.tasks.end, keeping)
    return ledger


def read_webhook_secret(settings: LedgerSettings, environment: Mapping[str, str]) -> bytes:
    """What warnings are signed with; raises StartError naming the variable that is wrong."""
    variable = settings.webhook_secret_variable
    if not variable:
        return b""
    try:
        secret = read_secret(environment.get(variable, ""))
    except ValueError as error:
        raise StartError(f"ledger.webhook_secret_variable: {variable}: {error}.") from None
    if not secret:
        raise StartError(f"ledger.webhook_secret_variable: the variable {variable} is not set.")
    return secret


def make_ledger(ground: Ground) -> Ledger:
    """A ledger that is not started: it can be read."""
    return Ledger(
        ground.store.ledger,
        ground.settings.ledger,
        clock=ground.clock,
        randomness=ground.randomness,
        log=ground.log,
        metrics=ground.metrics,
    )
