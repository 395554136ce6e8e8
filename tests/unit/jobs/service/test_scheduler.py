"""A leader's cycle over the fake executor: starts, failures of each kind, preemption, nodes."""

from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest

from support.job_worlds import World, make_nodes
from tokenyard.jobs.executors.fake import Outcome
from tokenyard.jobs.ports import Executor, Launch, MemberPhase
from tokenyard.jobs.records import Change, EventKind, NodeRecord, NodeState
from tokenyard.jobs.rules.profile import YARD
from tokenyard.jobs.rules.retries import FailureKind
from tokenyard.jobs.rules.states import State
from tokenyard.protocol.jobs import CheckpointSpec, RetrySpec, RoleSpec
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.vocabulary.ids import NodeName
from tokenyard.vocabulary.reasons import Reason

N0, N1 = NodeName("n0"), NodeName("n1")


async def test_a_job_runs_and_succeeds() -> None:
    world = World()
    job = await world.submit(gpus=2, replicas=2)
    await world.pass_time(1)
    running = await world.get(job)
    assert running.state is State.RUNNING
    assert [seat.rank for seat in running.seats] == [0, 1]
    await world.pass_time(11)
    done = await world.get(job)
    assert (done.state, done.exit_status, done.seats) == (State.SUCCEEDED, 0, ())
    assert done.gpu_seconds == pytest.approx(4 * 10.0, abs=4)
    assert done.lost_gpu_seconds == 0
    assert await world.kinds(job) == [
        EventKind.SUBMITTED,
        EventKind.LAUNCHED,
        EventKind.RUNNING,
        EventKind.SUCCEEDED,
    ]
    assert await world.executor.report() == {}


async def test_a_users_error_is_not_tried_again_and_takes_the_gang_along() -> None:
    world = World(lambda one: Outcome(1.0, status=3) if one.id.rank else Outcome(100.0))
    job = await world.submit(replicas=3)
    await world.pass_time(4)
    done = await world.get(job)
    assert (done.state, done.reason, done.exit_status) == (State.FAILED, Reason.USER_ERROR, 3)
    assert not world.executor.running()


async def test_retries_are_counted_by_kind_and_end_in_the_dead_letters() -> None:
    world = World(lambda one: Outcome(1.0, phase=MemberPhase.OUT_OF_MEMORY))
    job = await world.submit(retries=RetrySpec(out_of_memory=2))
    await world.pass_time(20)
    done = await world.get(job)
    assert (done.state, done.reason) == (State.DEAD, Reason.OUT_OF_MEMORY)
    assert done.failures == {FailureKind.OUT_OF_MEMORY: 3}
    waits = [one.launched_at for one in await world.store.attempts(job)]
    # The back-off doubles: about 2 and then about 4 seconds after the failure.
    assert [round(b - a) for a, b in pairwise(waits)] == [3, 5]


async def test_a_kill_that_nobody_asked_for_is_taken_for_memory() -> None:
    world = World(lambda one: Outcome(1.0, status=-9))
    job = await world.submit()
    await world.pass_time(3)
    assert (await world.get(job)).reason is Reason.OUT_OF_MEMORY


async def test_the_time_limit_stops_a_job() -> None:
    world = World(lambda one: Outcome(1000.0))
    job = await world.submit(time_limit_seconds=5.0)
    await world.pass_time(8)
    done = await world.get(job)
    assert (done.state, done.reason) == (State.FAILED, Reason.TIME_LIMIT)


async def test_a_deadline_fails_who_waits_and_who_runs() -> None:
    world = World(lambda one: Outcome(1000.0), nodes=make_nodes(1, 4))
    deadline = world.clock.now() + 5
    runs = await world.submit(gpus=4, deadline=deadline)
    waits = await world.submit(gpus=4, deadline=deadline)
    await world.pass_time(8)
    for job in (runs, waits):
        done = await world.get(job)
        assert (done.state, done.reason) == (State.FAILED, Reason.DEADLINE_PASSED)


async def test_jobs_wait_for_jobs_and_fail_with_them() -> None:
    world = World(lambda one: Outcome(2.0, status=int(one.spec.name == "bad")))
    good = await world.submit()
    bad = await world.submit(name="bad")
    after_good = await world.submit(after=(good,), state=State.HELD)
    after_bad = await world.submit(after=(bad,), state=State.HELD)
    await world.pass_time(1)
    assert (await world.get(after_good)).state is State.HELD
    await world.pass_time(8)
    assert (await world.get(after_good)).state is State.SUCCEEDED
    failed = await world.get(after_bad)
    assert (failed.state, failed.reason) == (State.FAILED, Reason.DEPENDENCY_FAILED)


async def test_who_waits_for_the_past_goes_on_at_once_and_the_past_is_forgotten() -> None:
    world = World(lambda one: Outcome(1.0))
    first = await world.submit()
    await world.pass_time(3)
    second = await world.submit(after=(first,), state=State.HELD)
    third = await world.submit(after=(first, second), state=State.HELD)
    await world.pass_time(2)
    # Another leader learns it from the store.
    await world.clock.advance(world.settings.lease_seconds)
    world.new_leader()
    await world.pass_time(6)
    for job in (second, third):
        assert (await world.get(job)).state is State.SUCCEEDED
    assert world.scheduler.roster.ended == {}


async def test_not_before_is_kept() -> None:
    world = World()
    job = await world.submit(state=State.HELD, not_before=world.clock.now() + 5)
    await world.pass_time(4)
    assert (await world.get(job)).state is State.HELD
    await world.pass_time(3)
    assert (await world.get(job)).state is State.RUNNING


async def test_a_lost_node_takes_its_gang_and_the_gang_starts_anew() -> None:
    world = World(lambda one: Outcome(30.0), nodes=make_nodes(3, 4))
    job = await world.submit(gpus=4, replicas=2, checkpoint=CheckpointSpec(interval_seconds=5.0))
    await world.pass_time(12)
    lost = (await world.get(job)).seats[0].node
    world.executor.lose_node(lost)
    await world.pass_time(4)
    hit = await world.get(job)
    assert hit.failures == {FailureKind.NODE_LOST: 1}
    assert hit.saved_seconds == 10.0
    await world.pass_time(6)
    again = await world.get(job)
    assert again.state is State.RUNNING
    assert again.attempt == 2
    assert lost not in {seat.node for seat in again.seats}


class _HeardLate:
    """An executor whose nodes are told as they were at the look before, as over a network."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._heard: list[NodeRecord] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def nodes(self) -> list[NodeRecord]:
        told = self._heard or list(await self._inner.nodes())
        self._heard = list(await self._inner.nodes())
        return told


async def test_a_leader_that_was_held_up_takes_nobody_for_lost() -> None:
    world = World(lambda one: Outcome(60.0), nodes=make_nodes(2, 4))
    world.new_leader(wrap_executor=lambda inner: cast(Executor, _HeardLate(inner)))
    job = await world.submit(gpus=4, replicas=2)
    await world.pass_time(5)
    # Nothing of this process ran for a while.
    await world.clock.advance(8)
    await world.pass_time(5)
    assert (await world.get(job)).attempt == 1
    # Who is really silent is found as soon as ever.
    world.executor.lose_node((await world.get(job)).seats[1].node)
    await world.pass_time(3.5)
    assert (await world.get(job)).failures == {FailureKind.NODE_LOST: 1}


async def test_an_elastic_gang_goes_on_with_fewer() -> None:
    world = World(lambda one: Outcome(60.0), nodes=make_nodes(2, 4))
    role = RoleSpec(gpus=4, replicas=1, replicas_max=2)
    job = await world.submit(roles=(role,))
    await world.pass_time(2)
    assert len((await world.get(job)).seats) == 2
    world.executor.lose_node(N1)
    await world.pass_time(5)
    less = await world.get(job)
    assert (less.state, less.attempt, len(less.seats)) == (State.RUNNING, 1, 1)
    assert EventKind.MEMBERS_LOST in await world.kinds(job)


async def test_a_gang_that_starts_in_part_is_completed_elsewhere() -> None:
    world = World(nodes=make_nodes(3, 4))
    world.executor.fails_launch.add(N1)
    job = await world.submit(gpus=4, replicas=2)
    await world.pass_time(3)
    whole = await world.get(job)
    assert whole.state is State.RUNNING
    assert {seat.node for seat in whole.seats} == {N0, NodeName("n2")}
    assert whole.attempt == 1
    assert EventKind.MEMBERS_ADDED in await world.kinds(job)


async def test_a_gang_without_its_first_member_starts_anew() -> None:
    world = World(nodes=make_nodes(3, 4))
    world.executor.fails_launch.add(N0)
    job = await world.submit(gpus=4, replicas=2)
    await world.pass_time(1)
    assert (await world.get(job)).failures == {FailureKind.LAUNCH_FAILED: 1}
    world.executor.fails_launch.clear()
    await world.pass_time(4)
    assert (await world.get(job)).attempt == 2


async def test_a_gang_that_stays_incomplete_gives_everything_back() -> None:
    world = World(lambda one: Outcome(1000.0), profile=replace(World().profile, patience_seconds=5))
    world.executor.fails_launch.add(N1)
    job = await world.submit(gpus=4, replicas=2)
    await world.pass_time(2)
    assert (await world.get(job)).state is State.STARTING
    assert len(world.executor.running()) == 1
    await world.pass_time(8)
    back = await world.get(job)
    assert back.state is State.BACKING_OFF
    assert back.reason is Reason.GANG_INCOMPLETE
    assert back.seats == ()
    assert not world.executor.running()


async def test_members_that_do_not_come_up_have_failed_to_launch() -> None:
    world = World(
        lambda one: Outcome(5.0, start_seconds=100.0), settings=JobSettings(launch_seconds=3.0)
    )
    job = await world.submit(retries=RetrySpec(launch_failed=0))
    await world.pass_time(6)
    done = await world.get(job)
    assert (done.state, done.reason) == (State.FAILED, Reason.LAUNCH_FAILED)


async def test_a_node_where_nothing_starts_is_closed_for_a_while() -> None:
    settings = JobSettings(quarantine_failures=2, quarantine_seconds=60.0)
    world = World(nodes=make_nodes(1, 4), settings=settings)
    world.executor.fails_launch.add(N0)
    job = await world.submit(retries=RetrySpec(launch_failed=50))
    await world.pass_time(10)
    [node] = await world.store.nodes()
    assert node.state(world.clock.now()) is NodeState.QUARANTINED
    attempts = (await world.get(job)).attempt
    await world.pass_time(30)
    assert (await world.get(job)).attempt == attempts
    world.executor.fails_launch.clear()
    await world.pass_time(60)
    assert (await world.get(job)).state is State.SUCCEEDED


async def test_urgent_work_displaces_with_grace_and_the_victim_comes_back() -> None:
    world = World(
        lambda one: Outcome(40.0, stop_seconds=3.0),
        nodes=make_nodes(1, 4),
        profile=replace(World().profile, run_seconds_min=0.0),
    )
    victim = await world.submit(
        gpus=4, priority=0, checkpoint=CheckpointSpec(grace_seconds=10.0, on_signal=True)
    )
    await world.pass_time(5)
    age = (await world.get(victim)).submitted_at
    urgent = await world.submit(gpus=4, priority=1000)
    await world.pass_time(1)
    going = await world.get(victim)
    assert going.state is State.STOPPING
    assert going.reason is Reason.PREEMPTED_BY_PRIORITY
    assert (await world.get(urgent)).held_seats
    await world.pass_time(4)
    assert (await world.get(urgent)).state is State.RUNNING
    waiting = await world.get(victim)
    assert (waiting.state, waiting.submitted_at, waiting.preemptions) == (State.QUEUED, age, 1)
    assert waiting.saved_seconds == pytest.approx(8.0, abs=1.5)
    await world.pass_time(45)
    assert (await world.get(victim)).state is State.RUNNING


async def test_a_preempted_job_goes_on_at_the_step_that_it_has_told() -> None:
    launches: list[Launch] = []

    def script(launch: Launch) -> Outcome:
        launches.append(launch)
        step = launch.resumed_step or 0
        return Outcome(60.0, steps=((10.0, step + 100), (20.0, step + 200), (21.0, step + 210)))

    world = World(script, nodes=make_nodes(1, 4), profile=replace(YARD, run_seconds_min=0.0))
    victim = await world.submit(gpus=4)
    await world.pass_time(22.5)
    # Of two steps within a moment the second is stored when there is a reason, or it is time.
    assert (await world.get(victim)).saved_step == 200
    await world.pass_time(2.5)
    urgent = await world.submit(gpus=4, priority=1000)
    await world.pass_time(3)
    waiting = await world.get(victim)
    assert (waiting.state, waiting.saved_step, waiting.preemptions) == (State.QUEUED, 210, 1)
    assert waiting.saved_seconds == pytest.approx(25.0, abs=1.0)
    # Only what came after the checkpoint is lost.
    assert waiting.lost_gpu_seconds == pytest.approx(0.0, abs=4.0)
    assert (await world.get(urgent)).state is State.RUNNING
    await world.pass_time(61)
    assert (await world.get(victim)).state is State.RUNNING
    assert [one.resumed_step for one in launches if one.id.job == victim] == [None, 210]
    events = [event for _, event in await world.store.events(victim, after=0, limit=99)]
    requeued, launched = [e for e in events if e.step is not None]
    assert (requeued.kind, requeued.step) == (EventKind.REQUEUED, 210)
    assert (launched.kind, launched.step) == (EventKind.LAUNCHED, 210)
    assert "resumed at step 210" in (launched.detail or "")
    first, second = await world.store.attempts(victim)
    assert (first.resumed_step, first.saved_step) == (None, 210)
    assert (second.resumed_step, second.saved_step) == (210, None)


async def test_work_after_the_last_step_is_lost() -> None:
    world = World(lambda one: Outcome(60.0, steps=((10.0, 5),)), nodes=make_nodes(2, 4))
    promised = CheckpointSpec(interval_seconds=1.0)
    job = await world.submit(gpus=4, checkpoint=promised)
    await world.pass_time(30)
    world.executor.lose_node((await world.get(job)).seats[0].node)
    await world.pass_time(4)
    hit = await world.get(job)
    assert (hit.saved_step, hit.failures) == (5, {FailureKind.NODE_LOST: 1})
    assert hit.saved_seconds == pytest.approx(10.0, abs=1.0)
    assert hit.lost_gpu_seconds == pytest.approx(4 * 22.0, abs=8.0)


async def test_who_saves_on_the_signal_and_ends_well_has_not_finished() -> None:
    world = World(
        lambda one: Outcome(40.0, stop_seconds=2.0, stop_status=0),
        nodes=make_nodes(1, 4),
        profile=replace(YARD, run_seconds_min=0.0),
    )
    victim = await world.submit(gpus=4, checkpoint=CheckpointSpec(on_signal=True))
    await world.pass_time(5)
    await world.submit(gpus=4, priority=1000)
    await world.pass_time(4)
    assert (await world.get(victim)).state is State.QUEUED


async def test_a_drained_node_is_left_and_a_cordoned_one_keeps_whom_it_has() -> None:
    world = World(lambda one: Outcome(100.0))
    jobs = [await world.submit(gpus=4), await world.submit(gpus=4)]
    await world.pass_time(1)
    nodes = {node.name: node for node in await world.store.nodes()}
    await world.store.put_node(replace(nodes[N0], wanted=NodeState.DRAINING))
    await world.store.put_node(replace(nodes[N1], wanted=NodeState.CORDONED))
    await world.pass_time(2)
    states = sorted([(await world.get(job)).state for job in jobs])
    assert states == [State.QUEUED, State.RUNNING]
    await world.store.put_node(replace(nodes[N0], wanted=NodeState.OPEN))
    await world.pass_time(2)
    assert {(await world.get(job)).state for job in jobs} == {State.RUNNING}


async def test_a_cancelled_job_that_runs_is_stopped() -> None:
    world = World(lambda one: Outcome(100.0))
    job = await world.submit()
    await world.pass_time(1)
    record = await world.get(job)
    wanted = replace(record, cancel_wanted=True, version=record.version + 1)
    assert await world.store.change_job(Change(wanted))
    await world.pass_time(2)
    assert (await world.get(job)).state is State.CANCELLED
    assert not world.executor.running()


async def test_a_leader_that_was_replaced_does_nothing_more() -> None:
    world = World(lambda one: Outcome(100.0))
    await world.submit()
    old = world.scheduler
    assert await old.tick()
    await world.clock.advance(world.settings.lease_seconds + 1)
    new = world.new_leader()
    assert await new.tick()
    late = await world.submit()
    assert not await old.tick()
    assert (await world.get(late)).state is State.QUEUED
    await new.tick()
    assert (await world.get(late)).state is State.STARTING


async def test_an_old_leaders_late_launch_is_refused_by_the_executor() -> None:
    launches: list[Launch] = []

    def script(launch: Launch) -> Outcome:
        launches.append(launch)
        return Outcome(100.0)

    world = World(script)
    job = await world.submit()
    await world.scheduler.tick()
    [launch] = launches
    other = replace(launch, id=replace(launch.id, attempt=2), epoch=launch.epoch + 1)
    await world.executor.launch(other)
    await world.executor.launch(replace(launch, id=replace(launch.id, attempt=3)))
    assert {one.id.attempt for one in launches} == {1, 2}
    assert (await world.get(job)).attempt == 1


async def test_a_running_gang_grows_into_what_nobody_waits_for() -> None:
    sizes: list[int] = []

    def script(launch: Launch) -> Outcome:
        sizes.append(launch.members)
        return Outcome(10.0 if launch.spec.name == "short" else 100.0)

    world = World(script, nodes=make_nodes(1, 4))
    role = RoleSpec(replicas=1, replicas_max=4, gpus=1)
    other = await world.submit(name="short", gpus=3)
    await world.pass_time(1)
    grows = await world.submit(roles=(role,), grows=True)
    stays = await world.submit(roles=(role,))
    await world.pass_time(2)
    assert (await world.get(grows)).members == 1
    assert (await world.get(stays)).state is State.QUEUED
    await world.pass_time(12)
    # The one that waited had three GPUs at its start, as many as it may use of those left.
    assert (await world.get(other)).state is State.SUCCEEDED
    assert len((await world.get(stays)).seats) == 3
    await world.pass_time(100)
    grown = await world.get(grows)
    assert grown.state is State.SUCCEEDED
    assert max(sizes) == 3


async def test_growth_is_counted_and_ends_at_the_maximum() -> None:
    world = World(lambda one: Outcome(40.0 if one.id.job.endswith("2") else 10.0),
                  nodes=make_nodes(1, 4))  # fmt: skip
    await world.submit(gpus=2)
    await world.pass_time(1)
    grows = await world.submit(
        roles=(RoleSpec(replicas=1, replicas_max=3, gpus=1),), grows=True, time_limit_seconds=200.0
    )
    await world.pass_time(3)
    assert len((await world.get(grows)).seats) == 2
    # Heard of late, as an order that goes a long way: nobody takes them for lost.
    world.executor.loses = lambda: True
    await world.pass_time(9)
    await world.pass_time(1)
    record = await world.get(grows)
    assert [seat.rank for seat in record.seats] == [0, 1, 2]
    assert record.seats[2].turn == record.turns == 1
    world.executor.loses = lambda: False
    await world.pass_time(60)
    done = await world.get(grows)
    assert (done.state, done.members) == (State.SUCCEEDED, 3)
    assert EventKind.MEMBERS_ADDED in await world.kinds(grows)
    launched = next(a for a in await world.store.attempts(grows)).launched_at
    assert done.gpu_seconds < 3 * ((done.ended_at or 0.0) - launched)
