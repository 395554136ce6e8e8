"""The cashier of jobs: hands bills of attempts to the ledger. Decides nothing."""

from collections.abc import Mapping

from tokenyard.jobs.ports import AttemptBill
from tokenyard.ledger.gpu import GpuCharges
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.money import Money


class LedgerCashier:
    """Keeps `jobs.ports.Cashier`."""

    def __init__(self, charges: GpuCharges) -> None:
        self._charges = charges

    async def charge(self, bill: AttemptBill) -> None:
        """Enter it in the ledger, unless it is there."""
        payer = Principal(bill.user, bill.project, bill.key, bill.organisation)
        await self._charges.charge(
            payer, id=bill.id, job=bill.job, gpu_millis=bill.gpu_millis, at=bill.ended_at
        )

    def price(self, gpu_millis: Mapping[str, int]) -> Money:
        """What so many thousandths of GPU-seconds cost at today's prices."""
        return self._charges.price(gpu_millis)
