"""What every executor promises: orders may be repeated, and old leaders are not heard.

Checked over the fake one in virtual time, over processes of this machine, and over a Ray cluster.
"""

import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.job_records import make_spec
from support.job_worlds import make_nodes
from tokenyard.jobs.executors.devices import Devices
from tokenyard.jobs.executors.fake import FakeExecutor, Outcome
from tokenyard.jobs.executors.local import LocalExecutor
from tokenyard.jobs.ports import Executor, Launch, MemberId, MemberPhase, MemberReport
from tokenyard.runtime.clock import Clock, RealClock, SimulatedClock
from tokenyard.runtime.job_settings import JobSettings, NodeSettings, RaySettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.ids import JobId, NodeName

if TYPE_CHECKING:
    from support.ray_cluster import RayCluster

SECONDS_MAX = 20.0


@dataclass
class Stage:
    executor: Executor
    node: NodeName
    clock: Clock
    jobs: int = 0

    def launch(self, code: str, *, epoch: int = 1, name: str = "") -> Launch:
        self.jobs += 1
        job = JobId(name or f"job_{type(self.executor).__name__.lower()}{self.jobs}")
        spec = make_spec(command=(sys.executable, "-c", code))
        return Launch(
            MemberId(job, 1, 0), self.node, (), spec, 0, 1, 0, 1, self.node, None, epoch
        )  # fmt: skip

    async def wait_for(self, member: MemberId, *, over: bool) -> MemberReport:
        for _ in range(int(SECONDS_MAX / 0.05)):
            report = (await self.executor.report()).get(member)
            if report is not None and (report.phase.is_over or not over):
                return report
            await self.pass_time(0.05)
        raise AssertionError(f"{member} was not heard of")

    async def pass_time(self, seconds: float) -> None:
        if isinstance(self.clock, SimulatedClock):
            await self.clock.advance(seconds)
        else:
            await self.clock.sleep(seconds)

    async def log(self, member: MemberId, offset: int = 0) -> str:
        return (await self.executor.read_log(member, self.node, offset=offset, limit=1000)).text


async def a_node_is_heard_of(stage: Stage) -> None:
    nodes = {node.name: node for node in await stage.executor.nodes()}
    node = nodes[stage.node]
    assert node.executor == stage.executor.name
    assert node.gpus == 4
    assert stage.clock.now() - node.seen_at < 5


async def a_member_starts_once_however_often_it_is_asked_for(stage: Stage) -> None:
    order = stage.launch("print('started')")
    for _ in range(3):
        await stage.executor.launch(order)
    report = await stage.wait_for(order.id, over=True)
    assert (report.phase, report.status) == (MemberPhase.EXITED, 0)
    assert report.node == stage.node
    await stage.executor.launch(order)
    assert (await stage.log(order.id)).count("\n") == 1
    assert await stage.log(order.id, offset=-1) == "\n"


async def an_end_that_is_forgotten_is_not_begun_again(stage: Stage) -> None:
    order = stage.launch("print('once')")
    await stage.executor.launch(order)
    await stage.wait_for(order.id, over=True)
    await stage.executor.forget(order.id, stage.node)
    for _ in range(100):
        if order.id not in await stage.executor.report():
            break
        await stage.pass_time(0.05)
    await stage.executor.launch(order)
    await stage.pass_time(0.6)
    assert order.id not in await stage.executor.report()
    assert (await stage.log(order.id)).count("\n") == 1


async def an_old_leader_is_not_heard(stage: Stage) -> None:
    order = stage.launch("import time; time.sleep(60)", epoch=5)
    await stage.executor.launch(order)
    await stage.wait_for(order.id, over=False)
    stop = stage.executor.stop
    await stop(order.id, stage.node, grace_seconds=0.0, epoch=4)
    late = stage.launch("print('late')", epoch=4)
    await stage.executor.launch(late)
    await stage.pass_time(0.6)
    reports = await stage.executor.report()
    assert not reports[order.id].phase.is_over
    assert late.id not in reports
    await stop(order.id, stage.node, grace_seconds=0.0, epoch=5)
    assert (await stage.wait_for(order.id, over=True)).phase is MemberPhase.EXITED


async def who_is_stopped_before_he_starts_never_starts(stage: Stage) -> None:
    order = stage.launch("print('started')", epoch=5)
    await stage.executor.stop(order.id, stage.node, grace_seconds=0.0, epoch=5)
    report = await stage.wait_for(order.id, over=True)
    assert report.stopped
    await stage.executor.launch(order)
    await stage.pass_time(0.6)
    assert (await stage.executor.report())[order.id].phase is MemberPhase.EXITED


async def the_last_checkpoint_is_told_of_and_outlives_the_member(stage: Stage) -> None:
    saves = "from tokenyard.jobs.executors.checkpoints import checkpoint; checkpoint(7)"
    order = stage.launch(f"{saves}; import time; time.sleep(60)", epoch=5)
    await stage.executor.launch(order)
    for _ in range(int(SECONDS_MAX / 0.05)):
        report = await stage.wait_for(order.id, over=False)
        if report.step is not None:
            break
        await stage.pass_time(0.05)
    assert (report.phase, report.step) == (MemberPhase.RUNNING, 7)
    await stage.executor.stop(order.id, stage.node, grace_seconds=0.0, epoch=5)
    assert (await stage.wait_for(order.id, over=True)).step == 7


Check = Callable[[Stage], Awaitable[None]]
# In this order: the later ones speak for a newer leader.
CHECKS: list[Check] = [
    a_node_is_heard_of,
    a_member_starts_once_however_often_it_is_asked_for,
    an_end_that_is_forgotten_is_not_begun_again,
    an_old_leader_is_not_heard,
    who_is_stopped_before_he_starts_never_starts,
    the_last_checkpoint_is_told_of_and_outlives_the_member,
]


@asynccontextmanager
async def fake_stage(folder: Path) -> AsyncIterator[Stage]:
    def script(launch: Launch) -> Outcome:
        code = launch.spec.command[-1]
        steps = ((0.1, 7),) if "checkpoint" in code else ()
        return Outcome(60.0 if "sleep" in code else 0.1, steps=steps)

    clock = SimulatedClock()
    nodes = make_nodes(1, 4)
    yield Stage(FakeExecutor(nodes, script, clock), nodes[0].name, clock)


@asynccontextmanager
async def local_stage(folder: Path) -> AsyncIterator[Stage]:
    clock = RealClock()
    settings = JobSettings(node=NodeSettings(name="local"))
    async with TaskSupervisor(_fail) as tasks:
        devices = Devices(4, "fake", 4000, 4096)
        executor = LocalExecutor(folder / "jobs", settings, devices, tasks=tasks, clock=clock)
        await executor.open()
        yield Stage(executor, NodeName("local"), clock)
        await executor.close()


def _fail(name: str, error: BaseException) -> None:
    raise AssertionError(f"{name}: {error!r}")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stage", [fake_stage, local_stage], ids=["fake", "local"])
async def test_the_contract(stage: Any, check: Check, tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        await check(made)


async def test_the_contract_over_ray(ray_cluster: "RayCluster", tmp_path: Path) -> None:
    # Not above: it takes seconds.
    from tokenyard.jobs.executors.ray import RayExecutor  # noqa: PLC0415

    clock = RealClock()
    folder = RaySettings(address=ray_cluster.address, folder=str(tmp_path), look_seconds=0.1)
    log = Log(io.StringIO(), clock)
    async with TaskSupervisor(_fail) as tasks:
        executor = RayExecutor(JobSettings(ray=folder), tasks=tasks, clock=clock, log=log)
        await executor.open()
        try:
            node = next(node for node in await executor.nodes() if node.gpus)
            stage = Stage(executor, node.name, clock)
            for check in CHECKS:
                await check(stage)
        finally:
            await executor.close()
