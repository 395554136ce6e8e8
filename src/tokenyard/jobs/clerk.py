"""What the leader does beside scheduling: enters attempts in the ledger, and forgets what is old.

Both are done after the fact and in steps that may be repeated, so a crash between any two of them
bills nothing twice and leaves nothing behind. Decides how long things are kept, by the
settings; what is paid is `rules.charges`'.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tokenyard.jobs.ports import AttemptBill, Cashier, Executor, JobStore
from tokenyard.jobs.records import Attempt, JobRecord
from tokenyard.jobs.rules.charges import billable_seconds, split_by_kind
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import NodeName

_AT_ONCE = 200
NO_MODEL = "unknown"


class Clerk:
    """Works while its scheduler leads."""

    def __init__(
        self,
        store: JobStore,
        scheduler: Scheduler,
        executors: Sequence[Executor],
        cashier: Cashier | None,
        settings: JobSettings,
        *,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._executors = tuple(executors)
        self._cashier = cashier
        self._settings = settings
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Round after round until cancelled; one that fails is told and tried again."""
        while True:
            await self._clock.sleep(self._settings.clerk_seconds)
            if not self._scheduler.leads:
                continue
            try:
                await self.round()
            except TokenyardError as error:
                self._log.error(Event.JOBS_CLERK_FAILED, error, reason=error.reason.value)

    async def round(self) -> None:
        """Everything that is due."""
        await self._bill()
        await self._forget_jobs()
        await self._forget_nodes()

    async def _bill(self) -> None:
        due = await self._store.unbilled(limit=_AT_ONCE)
        kinds = {node.name: node.gpu_model for node in await self._store.nodes()}
        for record, attempt in due:
            bill = _bill_of(record, attempt, kinds)
            # First the ledger, which knows a bill again, then the mark.
            cost = None
            if self._cashier is not None:
                cost = self._cashier.price(bill.gpu_millis)
                if bill.gpu_millis:
                    await self._cashier.charge(bill)
            await self._store.mark_billed(replace(attempt, cost=cost))

    async def _forget_jobs(self) -> None:
        now = self._clock.now()
        found = await self._store.ended_jobs(
            before=now - self._settings.ended_kept_seconds,
            dead_before=now - self._settings.dead_kept_seconds,
            limit=_AT_ONCE,
        )
        roster = self._scheduler.roster
        # Somebody waits for its success, or for the news that there was none.
        gone = [job for job in found if not roster.is_awaited(job)]
        if gone:
            for executor in self._executors:
                await executor.discard(gone)
            await self._store.drop_jobs(gone)
            self._log.info(Event.JOBS_FORGOTTEN, count=len(gone))

    async def _forget_nodes(self) -> None:
        since = self._clock.now() - self._settings.lost_nodes_kept_seconds
        seated = {s.node for record in self._scheduler.roster.seated.values() for s in record.seats}
        gone = [
            node.name
            for node in await self._store.nodes()
            if node.lost and node.seen_at < since and node.name not in seated
        ]
        if gone:
            await self._store.drop_nodes(gone)
            self._scheduler.forget_nodes(gone)


def _bill_of(record: JobRecord, attempt: Attempt, kinds: dict[NodeName, str]) -> AttemptBill:
    roles = record.spec.roles
    gpus: Counter[str] = Counter()
    for seat in attempt.seats:
        gpus[kinds.get(seat.node) or NO_MODEL] += len(seat.gpus) * roles[seat.role].gpu_milli
    seconds = billable_seconds(attempt.outcome, attempt.gpu_seconds, attempt.lost_gpu_seconds)
    return AttemptBill(
        job=record.id,
        attempt=attempt.number,
        project=record.project,
        user=record.user,
        key=record.key,
        organisation=record.organisation,
        ended_at=attempt.ended_at or 0.0,
        gpu_millis=split_by_kind(seconds, gpus),
    )
