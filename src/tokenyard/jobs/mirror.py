"""The roster of one process, kept equal to the store: the leader decides on it, others look at it.

Decides nothing. It reads what has changed since it last looked, so a replica that does not lead can
still say what waits, where and why.
"""

from collections.abc import Iterable, Sequence

from tokenyard.jobs.ports import JobStore
from tokenyard.jobs.records import JobRecord, NodeRecord
from tokenyard.jobs.roster import Roster
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.profile import Profile
from tokenyard.jobs.rules.states import State, is_final
from tokenyard.runtime.clock import Clock

_RECORDS_AT_ONCE = 100
# Ended jobs from which a new mirror learns what jobs ask for here.
PAST_JOBS_MAX = 2_000


class Mirror:
    """A roster and how far it has read."""

    def __init__(
        self, store: JobStore, queues: Iterable[QueueSpec], profile: Profile, clock: Clock
    ) -> None:
        self._store = store
        self._queues = tuple(queues)
        self._profile = profile
        self._clock = clock
        self._revision = 0
        self._loaded = False
        self.roster = Roster(self._queues, profile)

    def forget(self) -> None:
        """Know nothing; the next read begins anew."""
        self.roster = Roster(self._queues, self._profile)
        self._revision = 0
        self._loaded = False

    async def load(self, nodes: Sequence[NodeRecord]) -> None:
        """Everything, read anew."""
        self.forget()
        if self._profile.learns:
            past = await self._store.past_jobs(limit=PAST_JOBS_MAX)
            self.roster = Roster(self._queues, self._profile, past)
        self.roster.set_nodes(nodes, self._clock.now())
        records, self._revision = await self._store.open_jobs()
        self._loaded = True
        await self._take_in(records)

    async def sync(self) -> None:
        """What others have changed since: submissions, cancellations, priorities."""
        records, self._revision = await self._store.changed_jobs(self._revision)
        await self._take_in(records)

    async def follow(self) -> None:
        """Be up to date without leading."""
        nodes = await self._store.nodes()
        if not self._loaded:
            await self.load(nodes)
            return
        self.roster.set_nodes(nodes, self._clock.now())
        await self.sync()

    async def _take_in(self, records: Sequence[JobRecord]) -> None:
        new = {record.id: record.state for record in records}
        missing = []
        for job in self.roster.unknown_dependencies(records):
            if job not in new:
                missing.append(job)
            elif is_final(new[job]):
                self.roster.ended[job] = new[job]
        if missing:
            for job, state in (await self._store.states_of(missing)).items():
                if is_final(State(state)):
                    self.roster.ended[job] = State(state)
        # Those who ended come first: others may wait for them.
        for number, record in enumerate(sorted(records, key=lambda one: not is_final(one.state))):
            self.roster.put(record)
            if number % _RECORDS_AT_ONCE == _RECORDS_AT_ONCE - 1:
                # The same process serves answers, which a large array must not hold up.
                await self._clock.sleep(0)
