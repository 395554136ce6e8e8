"""What jobs cost: GPU-seconds of each attempt, billed once at the price of their kind.

Does not know jobs; the one who bills says what an attempt is called.
"""

from collections.abc import Mapping

from tokenyard.ledger.ports import LedgerStore
from tokenyard.ledger.prices import gpu_hour_nanos
from tokenyard.ledger.records import UsageRow
from tokenyard.ledger.rules.pricing import PriceBook, price_gpu
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.money import Money


class GpuCharges:
    """Bills of work that is paid for by time."""

    def __init__(self, store: LedgerStore, prices: PriceBook, clock: Clock) -> None:
        self._store = store
        self._prices = prices
        self._clock = clock

    def price(self, gpu_millis: Mapping[str, int]) -> Money:
        """What thousandths of GPU-seconds of each kind cost."""
        nanos = sum(
            price_gpu(millis, gpu_hour_nanos(self._prices, kind))
            for kind, millis in gpu_millis.items()
        )
        return Money(nanos, self._prices.currency)

    async def charge(
        self,
        principal: Principal,
        *,
        id: str,
        job: str,
        gpu_millis: Mapping[str, int],
        at: float | None = None,
        finish: FinishReason = FinishReason.STOP,
    ) -> bool:
        """Bill an attempt; False when that id was billed before.

        gpu_millis: thousandths of GPU-seconds of all its GPUs together, by their kind. at: when it
        ended (Unix seconds), which decides the month that it counts in.
        """
        return await self._store.add_usage(
            UsageRow(
                id=id,
                at=self._clock.now() if at is None else at,
                user=principal.user,
                project=principal.project,
                key=principal.key,
                model=ModelName("gpu:" + "+".join(sorted(gpu_millis))),
                usage=Usage(0, 0),
                cost=self.price(gpu_millis),
                finish=finish,
                organisation=principal.organisation,
                job=job,
                gpu_millis=sum(gpu_millis.values()),
            )
        )
