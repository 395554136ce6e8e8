"""The ledger with what keeps it true while nobody asks: its beat, its budgets, its warnings."""

import msgspec

from tokenyard.assembly.ground import Ground
from tokenyard.ledger.budgets import BudgetWarning
from tokenyard.ledger.ledger import Ledger
from tokenyard.upstreams.webhooks import Webhooks


async def open_ledger(ground: Ground) -> Ledger:
    """The started ledger; it beats until the ground is closed."""
    settings = ground.settings.ledger
    ledger = make_ledger(ground)
    await ledger.start()
    webhooks = Webhooks(settings, tasks=ground.tasks, clock=ground.clock, log=ground.log)
    ground.stack.push_async_callback(webhooks.close)

    async def tell(warning: BudgetWarning) -> None:
        body = msgspec.json.encode(warning.notice())
        await webhooks.post(warning.budget.webhook, warning.id, body)

    for name, work in (("beat", ledger.keep()), ("budgets", ledger.budgets.keep(tell))):
        keeping = ground.tasks.spawn(f"ledger.{name}", work)
        ground.stack.push_async_callback(ground.tasks.end, keeping)
    return ledger


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
