"""A real process that is preempted and goes on at the step that it has told."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.job_records import make_job, make_spec, submitted
from tokenyard.jobs.executors.devices import Devices
from tokenyard.jobs.executors.local import LocalExecutor
from tokenyard.jobs.observation import Observer
from tokenyard.jobs.ports import MemberId
from tokenyard.jobs.queues import queue_specs
from tokenyard.jobs.records import EventKind, JobRecord
from tokenyard.jobs.rules.profile import QUOTA_PROTECTING
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.protocol.jobs import CheckpointSpec, JobSpec, RoleSpec
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory_jobs import MemoryJobStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import JobMetrics
from tokenyard.vocabulary.ids import JobId, NodeName

SECONDS_MAX = 30.0
# Ten steps are its whole work; the first try is never let go beyond the fourth.
TRAIN = """
import signal, sys, time
from tokenyard.jobs.executors.checkpoints import checkpoint, resumed_step
step = resumed_step() or 0
first = step == 0
print("from", step, flush=True)
def save(*_):
    checkpoint(step=step)
    sys.exit(0)
signal.signal(signal.SIGUSR1, save)
while step < 10:
    step += 1
    if first and step == 4:
        checkpoint(step=3)
        time.sleep(60)
"""
URGENT = "print('urgent')"


class Yard:
    """A leader over processes of this machine, with one declared GPU."""

    def __init__(self, folder: Path, tasks: TaskSupervisor) -> None:
        clock, settings = RealClock(), JobSettings(tick_seconds=0.05)
        self.store = MemoryJobStore()
        devices = Devices(1, "fake", 4000, 4096)
        self.executor = LocalExecutor(folder, settings, devices, tasks=tasks, clock=clock)
        self.scheduler = Scheduler(
            "leader", store=self.store, executors=[self.executor], queues=queue_specs(settings),
            profile=QUOTA_PROTECTING, settings=settings, clock=clock,
            log=Log(io.StringIO(), clock),
            observer=Observer(self.store, settings, JobMetrics()),
        )  # fmt: skip
        self.leading = tasks.spawn("leader", self.scheduler.run(tasks))

    async def submit(self, number: int, spec: JobSpec, priority: int) -> JobId:
        job = make_job(number, spec=spec, priority=priority)
        assert await self.store.add_jobs([submitted(job)], open_max=100)
        self.scheduler.poke()
        return job.id

    async def get(self, job: JobId) -> JobRecord:
        record = await self.store.find_job(job, None)
        assert record is not None
        return record

    async def wait_for(self, job: JobId, state: State, step: int | None) -> JobRecord:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                record = await self.get(job)
                if (record.state, record.saved_step) == (state, step):
                    return record
                await asyncio.sleep(0.02)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    failures: list[str] = []
    async with TaskSupervisor(lambda name, error: failures.append(f"{name}: {error!r}")) as tasks:
        made = Yard(tmp_path, tasks)
        await made.executor.open()
        yield made
        await tasks.end(made.leading)
        await made.executor.close()
    assert not failures


async def test_a_preempted_process_goes_on_where_it_was(yard: Yard) -> None:
    gpu = (RoleSpec(gpus=1),)
    saves = CheckpointSpec(signal="USR1", grace_seconds=20.0, on_signal=True)
    training = make_spec(
        command=(), python="train", files={"train.py": TRAIN}, roles=gpu, checkpoint=saves
    )
    victim = await yard.submit(1, training, priority=0)
    await yard.wait_for(victim, State.RUNNING, 3)
    urgent = await yard.submit(
        2, make_spec(command=("python3", "-c", URGENT), roles=gpu), priority=1000
    )
    done = await yard.wait_for(victim, State.SUCCEEDED, 4)
    assert (done.attempt, done.preemptions, done.resumed_step) == (2, 1, 4)
    first = await yard.get(urgent)
    assert first.state is State.SUCCEEDED
    told = [event for _, event in await yard.store.events(victim, after=0, limit=99)]
    steps = {event.kind: event.step for event in told if event.step is not None}
    assert steps == {EventKind.REQUEUED: 4, EventKind.LAUNCHED: 4}
    stopped = next(event for event in told if event.kind is EventKind.STOPPING)
    assert stopped.by == urgent
    log = await yard.executor.read_log(
        MemberId(victim, 2, 0), NodeName("local"), offset=0, limit=999
    )
    assert log.text == "from 4\n"
