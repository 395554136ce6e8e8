"""A scheduler over a memory store and the fake executor, in virtual time."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from support.job_records import make_job, make_spec, submitted
from tokenyard.jobs.executors.fake import FAKE, FakeExecutor, Outcome, Script
from tokenyard.jobs.observation import Observer
from tokenyard.jobs.ports import Executor, JobStore, Launch
from tokenyard.jobs.queues import queue_specs
from tokenyard.jobs.records import EventKind, JobRecord, NodeRecord
from tokenyard.jobs.rules.profile import YARD, Profile
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.protocol.jobs import RoleSpec
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.storage.memory_jobs import MemoryJobStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import JobMetrics
from tokenyard.vocabulary.ids import JobId, NodeName


def make_nodes(count: int = 2, gpus: int = 4) -> list[NodeRecord]:
    return [
        NodeRecord(NodeName(f"n{number}"), FAKE, gpus, 64_000, 64_000) for number in range(count)
    ]


def ten_seconds(launch: Launch) -> Outcome:
    return Outcome(10.0)


class World:
    """One cluster, and the leader that is alive at the moment."""

    def __init__(
        self,
        script: Script = ten_seconds,
        *,
        nodes: Sequence[NodeRecord] | None = None,
        settings: JobSettings | None = None,
        profile: Profile = YARD,
    ) -> None:
        self.clock = SimulatedClock()
        self.settings = settings or JobSettings()
        self.profile = profile
        self.store: JobStore = MemoryJobStore()
        self.executor = FakeExecutor(nodes or make_nodes(), script, self.clock)
        self.leaders = 0
        self.scheduler = self.new_leader()
        self.submitted = 0

    def new_leader(
        self,
        wrap_store: Callable[[JobStore], JobStore] = lambda store: store,
        wrap_executor: Callable[[Executor], Executor] = lambda executor: executor,
    ) -> Scheduler:
        self.leaders += 1
        store = wrap_store(self.store)
        self.scheduler = Scheduler(
            f"leader-{self.leaders}",
            store=store,
            executors=[wrap_executor(self.executor)],
            queues=queue_specs(self.settings),
            profile=self.profile,
            settings=self.settings,
            clock=self.clock,
            log=Log(io.StringIO(), self.clock),
            observer=Observer(store, self.settings, JobMetrics()),
        )
        return self.scheduler

    async def submit(self, *, gpus: int = 1, replicas: int = 1, **fields: Any) -> JobId:
        self.submitted += 1
        record_fields: dict[str, Any] = {
            name: fields.pop(name) for name in ("priority", "not_before", "state") if name in fields
        }
        role = RoleSpec(gpus=gpus, replicas=replicas)
        fields.setdefault("roles", (role,))
        record_fields.setdefault("submitted_at", self.clock.now())
        job = make_job(self.submitted, spec=make_spec(**fields), **record_fields)
        assert await self.store.add_jobs([submitted(job)], open_max=100_000)
        return job.id

    async def get(self, job: JobId) -> JobRecord:
        record = await self.store.find_job(job, None)
        assert record is not None
        return record

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        for _ in range(round(seconds / step)):
            await self.scheduler.tick()
            await self.clock.advance(step)
        await self.scheduler.tick()

    async def kinds(self, job: JobId) -> list[EventKind]:
        return [event.kind for _, event in await self.store.events(job, after=0, limit=1000)]
