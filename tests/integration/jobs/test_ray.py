"""Jobs on a real Ray cluster of several nodes, one of which is killed."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.job_records import make_job, make_spec, submitted
from tokenyard.jobs.observation import Observer
from tokenyard.jobs.ports import MemberId, MemberPhase
from tokenyard.jobs.queues import queue_specs
from tokenyard.jobs.records import JobRecord, NodeState
from tokenyard.jobs.rules.profile import YARD
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.protocol.jobs import RoleSpec
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.job_settings import JobSettings, RaySettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory_jobs import MemoryJobStore
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import JobMetrics
from tokenyard.vocabulary.ids import JobId
from tokenyard.vocabulary.reasons import Reason

if TYPE_CHECKING:
    from support.ray_cluster import RayCluster
    from tokenyard.jobs.executors.ray import RayExecutor

SECONDS_MAX = 60.0
CODE = """
import os, time
print(os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ["CUDA_VISIBLE_DEVICES"],
      os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"], flush=True)
time.sleep(float(os.environ["SLEEP"]))
"""


class Yard:
    """A leader over Ray, and its store."""

    def __init__(self, executor: "RayExecutor", settings: JobSettings, tasks: TaskSupervisor):
        self.clock = RealClock()
        self.executor = executor
        self.store = MemoryJobStore()
        self.tasks = tasks
        self.scheduler = Scheduler(
            "leader", store=self.store, executors=[executor], queues=queue_specs(settings),
            profile=YARD, settings=settings, clock=self.clock, log=Log(io.StringIO(), self.clock),
            observer=Observer(self.store, settings, JobMetrics()),
        )  # fmt: skip
        executor.changed = self.scheduler.poke
        self.leading = tasks.spawn("leader", self.scheduler.run(tasks))

    async def close(self) -> None:
        await self.tasks.end(self.leading)
        await self.executor.close()

    async def submit(self, number: int, members: int, gpus: int, seconds: float) -> JobId:
        spec = make_spec(
            command=("python3", "-c", CODE),
            environment={"SLEEP": str(seconds)},
            roles=(RoleSpec(replicas=members, gpus=gpus),),
        )
        job = make_job(number, spec=spec, submitted_at=self.clock.now())
        assert await self.store.add_jobs([submitted(job)], open_max=100)
        self.scheduler.poke()
        return job.id

    async def wait_for(self, job: JobId, *states: State) -> JobRecord:
        ends_at = self.clock.monotonic() + SECONDS_MAX
        while True:
            record = await self.store.find_job(job, None)
            assert record is not None
            if record.state in states:
                return record
            if self.clock.monotonic() > ends_at:
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"{job} is {record.state}: {record.reason} {record.detail}")

    async def log(self, record: JobRecord, rank: int) -> str:
        seat = next(
            s for a in await self.store.attempts(record.id) for s in a.seats
            if (a.number, s.rank) == (record.attempt, rank)
        )  # fmt: skip
        member = MemberId(record.id, record.attempt, rank, seat.turn)
        for _ in range(100):
            told = await self.executor.read_log(member, seat.node, offset=0, limit=1000)
            if told.text:
                break
            await asyncio.sleep(0.05)
        return told.text


@pytest.fixture
async def yard(ray_cluster: "RayCluster", tmp_path: Path) -> AsyncIterator[Yard]:
    from tokenyard.jobs.executors.ray import RayExecutor  # noqa: PLC0415

    clock = RealClock()
    ray = RaySettings(address=ray_cluster.address, folder=str(tmp_path))
    settings = JobSettings(ray=ray, back_off_seconds=0.5)
    failures: list[str] = []
    async with TaskSupervisor(lambda name, error: failures.append(f"{name}: {error!r}")) as tasks:
        executor = RayExecutor(settings, tasks=tasks, clock=clock, log=Log(io.StringIO(), clock))
        await executor.open()
        made = Yard(executor, settings, tasks)
        yield made
        await made.close()
    assert not failures


async def test_a_killed_node_is_known_in_three_seconds_and_frees_its_whole_gang(
    yard: Yard, ray_cluster: "RayCluster"
) -> None:
    gang = await yard.submit(1, members=2, gpus=4, seconds=600)
    running = await yard.wait_for(gang, State.RUNNING)
    assert len({seat.node for seat in running.seats}) == 2
    told = [(await yard.log(running, rank)).split() for rank in (0, 1)]
    assert [words[:3] for words in told] == [["0", "2", "0,1,2,3"], ["1", "2", "0,1,2,3"]]
    assert told[0][3] == told[1][3]
    assert re.fullmatch(r"[\d.]+:\d+", told[0][3])

    began = yard.clock.monotonic()
    await asyncio.to_thread(ray_cluster.kill_node)
    killed = yard.clock.monotonic() - began
    # What this loop is held up by a busy machine holds up the leader's too.
    late, looked = 0.0, yard.clock.monotonic()
    while not any(n.state(yard.clock.now()) is NodeState.LOST for n in await yard.store.nodes()):
        await asyncio.sleep(0.02)
        late += max(yard.clock.monotonic() - looked - 0.05, 0.0)
        looked = yard.clock.monotonic()
        assert looked - began < SECONDS_MAX
    known = yard.clock.monotonic() - began
    assert known - killed - late < 3.0, (known, killed, late)
    freed = await yard.wait_for(gang, State.BACKING_OFF, State.QUEUED)
    assert (freed.reason, freed.seats) == (Reason.NODE_LOST, ())
    # What survived of the gang has ended, and its GPUs are for others, while Ray still counts the
    # dead node as alive.
    other = await yard.submit(2, members=1, gpus=4, seconds=0.2)
    assert (await yard.wait_for(other, State.SUCCEEDED)).exit_status == 0

    # Ray starts nodes in the main thread only.
    ray_cluster.add_node()
    again = await yard.wait_for(gang, State.RUNNING)
    # On a machine that is so busy that nodes say nothing for two seconds, there are more tries.
    assert again.attempt >= 2
    assert len({seat.node for seat in again.seats}) == 2


async def test_the_next_server_finds_the_members_of_the_last(
    yard: Yard, ray_cluster: "RayCluster", tmp_path: Path
) -> None:
    from tokenyard.jobs.executors.ray import RayExecutor  # noqa: PLC0415

    job = await yard.submit(3, members=1, gpus=1, seconds=600)
    await yard.wait_for(job, State.RUNNING)
    # As at the end of the server's process; its cluster and its members go on.
    await yard.close()
    settings = JobSettings(ray=RaySettings(address=ray_cluster.address, folder=str(tmp_path)))
    log = Log(io.StringIO(), yard.clock)
    yard.executor = RayExecutor(settings, tasks=yard.tasks, clock=yard.clock, log=log)
    await yard.executor.open()
    report = (await yard.executor.report())[MemberId(job, 1, 0)]
    assert report.phase is MemberPhase.RUNNING
    await yard.executor.stop(report.id, report.node, grace_seconds=0.0, epoch=9)
