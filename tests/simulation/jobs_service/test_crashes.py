"""A leader may die, or sleep, between any two of its steps: no job is lost, none runs twice.

Every call of the leader to its store and its executors may be the last one: before it does a
thing, or after it has done it and before the leader hears so. Then another leader takes over.
Nodes die and come back, commands get lost, and owners cancel meanwhile.
"""

import asyncio
import io
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.job_worlds import World, make_nodes
from tokenyard.jobs.executors.fake import Outcome
from tokenyard.jobs.ports import JobStore, Launch, MemberId, MemberPhase
from tokenyard.jobs.records import Change, JobRecord
from tokenyard.jobs.rules.states import State, holds_seats, is_final
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.jobs.shape import member_of
from tokenyard.protocol.jobs import RetrySpec, RoleSpec
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import open_sql_store
from tokenyard.telemetry.logs import Log

SETTINGS = JobSettings(
    lease_seconds=4.0,
    launch_seconds=6.0,
    back_off_seconds=0.5,
    back_off_seconds_max=4.0,
    quarantine_seconds=20.0,
)
JOBS = 14


class Crash(BaseException):
    """The process ends here."""


class Fragile:
    """Hands every call on, and lets the process die or sleep before or after some of them."""

    def __init__(
        self, real: Any, dies: Callable[[], str | None], nap: Callable[[], Awaitable[None]]
    ) -> None:
        self._real = real
        self._dies = dies
        self._nap = nap

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found

        async def call(*args: Any, **named: Any) -> Any:
            when = self._dies()
            if when == "before":
                raise Crash
            if when == "sleep":
                await self._nap()
            result = await found(*args, **named)
            if when == "after":
                raise Crash
            return result

        return call


def check(records: list[JobRecord], world: World, seen: dict[str, JobRecord]) -> None:
    """What must hold whatever happened; `seen` is what the records were before."""
    used: Counter[tuple[str, int]] = Counter()
    places: dict[MemberId, str] = {}
    for record in records:
        before = seen.get(record.id, record)
        assert record == before or record.version > before.version, "a change was overwritten"
        assert record.attempt >= before.attempt
        seen[record.id] = record
        places |= {member_of(record, seat): seat.node for seat in record.seats}
        assert bool(record.seats) == holds_seats(record.state), record
        for seat in record.seats:
            used.update((seat.node, gpu) for gpu in seat.gpus)
    assert all(count == 1 for count in used.values()), "a GPU is given out twice"
    assert all(count == 1 for count in world.executor.starts.values()), "a member started twice"
    for member, node in world.executor.places().items():
        assert places.get(member, node) == node, "a member runs where it does not sit"
    running: dict[str, set[int]] = {}
    for member in world.executor.running():
        running.setdefault(member.job, set()).add(member.attempt)
    assert all(len(attempts) == 1 for attempts in running.values()), "two attempts at once"


class Storm:
    """One seeded run."""

    def __init__(self, seed: int, store: JobStore | None = None) -> None:
        self.random = Random(seed)
        self.world = World(self.script, nodes=make_nodes(4, 4), settings=SETTINGS)
        if store is not None:
            self.world.store = store
        self.world.executor.loses = lambda: self.calm is False and self.random.random() < 0.05
        self.world.executor.delays = lambda: self.calm is False and self.random.random() < 0.1
        self.calm = False
        self.asleep: list[Scheduler] = []
        self.naps: list[asyncio.Future[None]] = []
        self.sleeping: list[asyncio.Future[bool]] = []
        self.crashes = 0
        self.seen: dict[str, JobRecord] = {}
        self.lost: set[Any] = set()

    def script(self, launch: Launch) -> Outcome:
        drawn = Random(f"{launch.id}").random()
        if drawn < 0.1:
            return Outcome(1.0, phase=MemberPhase.OUT_OF_MEMORY)
        return Outcome(1.0 + 6 * drawn, start_seconds=drawn, stop_seconds=2 * drawn)

    def dies(self) -> str | None:
        if self.calm or self.random.random() > 0.02:
            return None
        return self.random.choice(("before", "after", "sleep"))

    async def nap(self) -> None:
        """Sleep in the middle of a cycle, as a process that is stopped does."""
        woken = asyncio.get_running_loop().create_future()
        self.naps.append(woken)
        await woken

    def new_leader(self) -> None:
        self.world.new_leader(
            lambda store: Fragile(store, self.dies, self.nap),
            lambda executor: Fragile(executor, self.dies, self.nap),
        )

    async def cycle(self, scheduler: Scheduler) -> bool:
        """False when the process has died or fallen asleep in it."""
        before = len(self.naps)
        cycling = asyncio.ensure_future(scheduler.tick())
        for _ in range(10_000):
            if cycling.done():
                break
            if len(self.naps) > before:
                self.sleeping.append(cycling)
                return False
            await asyncio.sleep(0)
        return await self.died(cycling)

    async def died(self, cycling: "asyncio.Future[bool]") -> bool:
        try:
            await cycling
        except Crash:
            self.crashes += 1
            return False
        return True

    async def wake(self) -> None:
        """Let all who sleep go on from where they were."""
        for woken in self.naps:
            woken.set_result(None)
        self.naps.clear()
        # They may crash or fall asleep again.
        while self.sleeping:
            cycling = self.sleeping.pop()
            while not cycling.done():
                for woken in self.naps:
                    woken.set_result(None)
                self.naps.clear()
                await asyncio.sleep(0)
            await self.died(cycling)

    async def step(self) -> None:
        world, random = self.world, self.random
        if not self.calm:
            await self.disturb()
        for scheduler in (*self.asleep, world.scheduler):
            # Who slept wakes now and then, sure to be the leader still.
            if scheduler is not world.scheduler and random.random() > 0.2:
                continue
            if not await self.cycle(scheduler):
                if scheduler is world.scheduler:
                    self.new_leader()
                else:
                    self.asleep.remove(scheduler)
        if self.naps and (self.calm or random.random() < 0.1):
            await self.wake()
        await world.clock.advance(0.25 + random.random() / 2)
        check((await world.store.changed_jobs(0))[0], world, self.seen)

    async def disturb(self) -> None:
        world, random = self.world, self.random
        nodes = [node.name for node in await world.executor.nodes()]
        if random.random() < 0.04:
            world.executor.lose_node(name := random.choice(nodes))
            self.lost.add(name)
        if self.lost and random.random() < 0.1:
            world.executor.return_node(self.lost.pop())
        world.executor.fails_launch = {one for one in nodes if random.random() < 0.03}
        if random.random() < 0.02:
            self.asleep.append(world.scheduler)
            self.new_leader()
        if random.random() < 0.1 and world.submitted < JOBS:
            role = RoleSpec(gpus=random.randint(0, 4), replicas=1, replicas_max=3)
            whole = RoleSpec(gpus=random.randint(1, 4), replicas=random.randint(1, 3))
            await world.submit(
                roles=(random.choice((role, whole)),),
                grows=random.random() < 0.5,
                priority=random.choice((0, 100)),
                retries=RetrySpec(out_of_memory=50, launch_failed=50, node_lost=50),
            )
        if random.random() < 0.02 and world.submitted:
            await self.cancel()

    async def cancel(self) -> None:
        records, _ = await self.world.store.open_jobs()
        for record in records[:1]:
            after = replace(record, cancel_wanted=True, version=record.version + 1)
            await self.world.store.change_job(Change(after))


@pytest.mark.parametrize("seed", range(40))
async def test_no_job_is_lost_and_none_started_twice(seed: int) -> None:
    await weather(Storm(seed))


@pytest.mark.parametrize("seed", [100, 101, 102])
async def test_the_same_over_a_database(seed: int, tmp_path: Path) -> None:
    clock = RealClock()
    async with (
        TaskSupervisor(lambda name, error: None) as tasks,
        open_sql_store(
            tmp_path / "jobs.db",
            supervisor=tasks,
            log=Log(io.StringIO(), clock),
            clock=clock,
            settings=StorageSettings(durability="normal"),
        ) as store,
    ):
        await weather(Storm(seed, store.jobs))


async def weather(storm: Storm) -> None:
    """A storm, then calm weather until everything has ended."""
    world = storm.world
    storm.new_leader()
    for _ in range(220):
        await storm.step()
    storm.calm = True
    storm.asleep.clear()
    world.executor.fails_launch = set()
    for name in storm.lost:
        world.executor.return_node(name)
    for _ in range(400):
        records, _ = await world.store.changed_jobs(0)
        if all(is_final(record.state) for record in records):
            break
        await storm.step()
    assert storm.crashes
    ends = Counter(record.state for record in records)
    assert len(records) == world.submitted
    assert set(ends) <= {State.SUCCEEDED, State.CANCELLED}, [
        (one.id, one.state, one.reason) for one in records if one.state is not State.SUCCEEDED
    ]
    assert not world.executor.running()
    for record in records:
        if record.state is State.SUCCEEDED:
            last = MemberId(record.id, record.attempt, 0)
            assert any(replace(m, turn=0) == last for m in world.executor.starts)
