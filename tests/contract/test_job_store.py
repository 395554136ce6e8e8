"""What every job store keeps: whole cycles, versions, fencing, and what others may see."""

import asyncio
from dataclasses import replace

import pytest

from contract.conftest import SqliteOpener, Store
from support.job_records import make_job, make_spec, submitted
from tokenyard.jobs.ports import JobStore
from tokenyard.jobs.records import (
    Applied,
    Attempt,
    Change,
    Cycle,
    EventKind,
    JobEvent,
    JobFilter,
    JobRecord,
    MemberSeat,
    NodeRecord,
    NodeState,
    Sample,
)
from tokenyard.jobs.rules.retries import FailureKind
from tokenyard.jobs.rules.states import State
from tokenyard.protocol.jobs import CheckpointSpec, RetrySpec, RoleSpec
from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest
from tokenyard.vocabulary.ids import JobId, NodeName, ProjectId, QueueName
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason

A, B = ProjectId("proj_a"), ProjectId("proj_b")
ALL = JobFilter()


@pytest.fixture
def jobs(store: Store) -> JobStore:
    return store.jobs


def moved(job: JobRecord, state: State, *kinds: EventKind) -> Change:
    after = replace(job, state=state, version=job.version + 1)
    return Change(after, tuple(JobEvent(job.id, 5.0, kind) for kind in kinds))


async def add(jobs: JobStore, *records: JobRecord) -> None:
    assert await jobs.add_jobs([submitted(record) for record in records], open_max=100)


async def test_a_job_comes_back_as_it_was(jobs: JobStore) -> None:
    spec = make_spec(
        roles=(RoleSpec(name="ps", gpus=2, gpu_models=("a", "b"), node_labels={"rack": "r"}),),
        environment={"X": "1"},
        files={"a/b.py": "print()"},
        retries=RetrySpec(user_error=2),
        checkpoint=CheckpointSpec(signal="USR1"),
        labels={"team": "x"},
        not_before=12.5,
    )
    job = make_job(
        spec=spec,
        state=State.STOPPING,
        reason=Reason.NODE_LOST,
        seats=(MemberSeat(0, 0, NodeName("n"), (1, 3)),),
        failures={FailureKind.NODE_LOST: 2},
        incomplete_since=3.5,
        avoid_nodes=(NodeName("bad"),),
    )
    await add(jobs, job)
    assert await jobs.find_job(job.id, A) == job
    assert await jobs.find_job(job.id, None) == job


async def test_jobs_of_other_projects_are_not_there(jobs: JobStore) -> None:
    job = make_job()
    await add(jobs, job)
    assert await jobs.find_job(job.id, B) is None
    assert await jobs.list_jobs(B, ALL, limit=5, after=None) == []
    with pytest.raises(InvalidRequest):
        await jobs.list_jobs(B, ALL, limit=5, after=job.id)


async def test_lists_are_newest_first_filtered_and_paged(jobs: JobStore) -> None:
    made = [make_job(number) for number in range(1, 6)]
    made[2] = replace(made[2], queue=QueueName("other"), spec=make_spec("x", type="training"))
    made[3] = replace(made[3], state=State.DEAD)
    await add(jobs, *made)

    async def ids(wanted: JobFilter, after: JobId | None = None) -> list[int]:
        found = await jobs.list_jobs(A, wanted, limit=3, after=after)
        return [int(job.id[-1]) for job in found]

    assert await ids(ALL) == [5, 4, 3]
    assert await ids(ALL, made[2].id) == [2, 1]
    assert await ids(JobFilter(queue="other")) == [3]
    assert await ids(JobFilter(type="training")) == [3]
    assert await ids(JobFilter(name="x")) == [3]
    assert await ids(JobFilter(states=frozenset({State.DEAD}))) == [4]


async def test_too_many_open_jobs_are_refused_as_a_whole(jobs: JobStore) -> None:
    done = make_job(1, state=State.SUCCEEDED)
    changes = [submitted(make_job(number)) for number in (2, 3, 4)]
    await add(jobs, done)
    assert not await jobs.add_jobs(changes, open_max=2)
    assert await jobs.find_job(JobId("job_0002"), A) is None
    assert await jobs.add_jobs(changes, open_max=3)


async def test_an_id_is_stored_once(jobs: JobStore) -> None:
    await add(jobs, make_job())
    with pytest.raises(InternalFailure):
        await add(jobs, make_job())


async def test_a_change_needs_the_version_that_it_saw(jobs: JobStore) -> None:
    job = make_job()
    await add(jobs, job)
    assert await jobs.change_job(moved(job, State.CANCELLED, EventKind.CANCELLED))
    assert not await jobs.change_job(moved(job, State.STARTING, EventKind.LAUNCHED))
    found = await jobs.find_job(job.id, A)
    assert found is not None
    assert found.state is State.CANCELLED
    kinds = [event.kind for _, event in await jobs.events(job.id, after=0, limit=9)]
    assert kinds == [EventKind.SUBMITTED, EventKind.CANCELLED]


async def test_of_many_changes_at_once_one_is_made(jobs: JobStore) -> None:
    job = make_job()
    await add(jobs, job)
    change = moved(job, State.CANCELLED)
    done = await asyncio.gather(*(jobs.change_job(change) for _ in range(8)))
    assert sorted(done) == [False] * 7 + [True]


async def test_who_follows_the_revisions_misses_nothing(jobs: JobStore) -> None:
    one, two = make_job(1), make_job(2)
    await add(jobs, one, two)
    found, revision = await jobs.open_jobs()
    assert {job.id for job in found} == {one.id, two.id}
    assert await jobs.changed_jobs(revision) == ([], revision)
    assert await jobs.change_job(moved(two, State.SUCCEEDED))
    changed, newest = await jobs.changed_jobs(revision)
    assert [job.id for job in changed] == [two.id]
    assert newest > revision
    assert [job.id for job in (await jobs.open_jobs())[0]] == [one.id]
    states = await jobs.states_of([one.id, two.id, JobId("job_none")])
    assert states == {one.id: "queued", two.id: "succeeded"}


async def test_a_cycle_is_written_whole_and_once(jobs: JobStore) -> None:
    one, two = make_job(1), make_job(2)
    await add(jobs, one, two)
    lease = await jobs.take_lease("a", 0.0, 10.0)
    assert lease is not None
    seats = (MemberSeat(0, 0, NodeName("n")),)
    start = Change(
        replace(one, state=State.STARTING, seats=seats, attempt=1, version=2),
        (JobEvent(one.id, 5.0, EventKind.LAUNCHED, attempt=1),),
        Attempt(one.id, 1, 5.0, seats),
    )
    cycle = Cycle(lease.epoch, 1, (start, moved(two, State.HELD)))
    assert await jobs.apply(cycle) is Applied.DONE
    assert await jobs.apply(cycle) is Applied.ALREADY
    assert await jobs.attempts(one.id) == [Attempt(one.id, 1, 5.0, seats)]
    assert len(await jobs.events(one.id, after=0, limit=9)) == 2
    over = replace(start, attempt=Attempt(one.id, 1, 5.0, seats, ended_at=9.0), events=())
    over = replace(over, record=replace(start.record, version=3))
    assert await jobs.apply(Cycle(lease.epoch, 2, (over,))) is Applied.DONE
    assert [attempt.ended_at for attempt in await jobs.attempts(one.id)] == [9.0]


async def test_a_stale_cycle_leaves_nothing(jobs: JobStore) -> None:
    one, two = make_job(1), make_job(2)
    await add(jobs, one, two)
    lease = await jobs.take_lease("a", 0.0, 10.0)
    assert lease is not None
    # The owner cancels the second one while the leader plans.
    assert await jobs.change_job(moved(two, State.CANCELLED))
    cycle = Cycle(lease.epoch, 1, (moved(one, State.STARTING), moved(two, State.STARTING)))
    assert await jobs.apply(cycle) is Applied.STALE
    assert await jobs.find_job(one.id, A) == one
    again = Cycle(lease.epoch, 1, (moved(one, State.STARTING),))
    assert await jobs.apply(again) is Applied.DONE


async def test_a_leader_that_wakes_too_late_writes_nothing(jobs: JobStore) -> None:
    job = make_job()
    await add(jobs, job)
    old = await jobs.take_lease("old", 0.0, 10.0)
    assert old is not None
    assert await jobs.take_lease("new", 9.0, 10.0) is None
    new = await jobs.take_lease("new", 10.0, 10.0)
    assert new is not None
    assert new.epoch == old.epoch + 1
    late = Cycle(old.epoch, 7, (moved(job, State.STARTING),))
    assert await jobs.apply(late) is Applied.FENCED
    assert await jobs.find_job(job.id, A) == job
    assert await jobs.take_lease("old", 15.0, 10.0) is None


async def test_a_lease_is_prolonged_lost_and_given_back(jobs: JobStore) -> None:
    first = await jobs.take_lease("a", 0.0, 10.0)
    longer = await jobs.take_lease("a", 5.0, 10.0)
    assert first is not None
    assert longer is not None
    assert (longer.epoch, longer.until) == (first.epoch, 15.0)
    # Who slept past its end holds a new one, even if nobody else came.
    again = await jobs.take_lease("a", 20.0, 10.0)
    assert again is not None
    assert again.epoch == first.epoch + 1
    await jobs.drop_lease(first, 21.0)
    assert await jobs.take_lease("b", 22.0, 10.0) is None
    await jobs.drop_lease(again, 22.0)
    assert await jobs.take_lease("b", 22.0, 10.0) is not None


async def test_the_leader_does_not_overrule_the_operator(jobs: JobStore) -> None:
    node = NodeRecord(NodeName("n"), "local", 8, 4000, 1024, "h200", {"rack": "r"})
    lease = await jobs.take_lease("a", 0.0, 10.0)
    assert lease is not None
    assert await jobs.apply(Cycle(lease.epoch, 1, (), (node,))) is Applied.DONE
    await jobs.put_node(replace(node, wanted=NodeState.DRAINING))
    seen = replace(node, seen_at=7.0)
    assert await jobs.apply(Cycle(lease.epoch, 2, (), (seen,))) is Applied.DONE
    assert await jobs.nodes() == [replace(seen, wanted=NodeState.DRAINING)]


async def test_the_history_forgets_the_oldest(jobs: JobStore) -> None:
    for at in (1.0, 2.0, 3.0):
        await jobs.add_sample(Sample(at, {"x": at}), drop_before=at - 1.5)
    found = await jobs.samples(since=0.0, until=9.0, limit=9)
    assert [sample.at for sample in found] == [2.0, 3.0]
    assert [one.at for one in await jobs.samples(since=0.0, until=9.0, limit=1)] == [3.0]


async def test_jobs_survive_the_process(sqlite: SqliteOpener) -> None:
    job = make_job()
    async with sqlite.open() as store:
        await add(store.jobs, job)
        lease = await store.jobs.take_lease("a", 0.0, 10.0)
    async with sqlite.open() as store:
        assert await store.jobs.find_job(job.id, A) == job
        assert lease is not None
        applied = await store.jobs.apply(Cycle(lease.epoch, 1, (moved(job, State.HELD),)))
        assert applied is Applied.DONE


def ended(job: JobRecord, at: float, state: State = State.SUCCEEDED) -> Change:
    seat = MemberSeat(0, 0, NodeName("n0"), (0,))
    after = replace(
        job, state=state, version=job.version + 1, attempt=1, ended_at=at, gpu_seconds=3.0
    )
    attempt = Attempt(job.id, 1, at - 3, (seat,), ended_at=at, gpu_seconds=3.0)
    return Change(after, (JobEvent(job.id, at, EventKind.SUCCEEDED),), attempt)


async def test_ended_attempts_wait_to_be_billed(jobs: JobStore) -> None:
    one, two = make_job(1, project=A), make_job(2, project=A)
    await add(jobs, one, two)
    assert await jobs.unbilled(limit=10) == []
    assert await jobs.change_job(ended(one, 50.0))
    ((job, attempt),) = await jobs.unbilled(limit=10)
    assert (job.id, attempt.number, attempt.gpu_seconds) == (one.id, 1, 3.0)
    await jobs.mark_billed(replace(attempt, cost=Money(7)))
    assert await jobs.unbilled(limit=10) == []
    assert [one.cost for one in await jobs.attempts(one.id)] == [Money(7)]


async def test_what_has_ended_long_ago_is_forgotten(jobs: JobStore) -> None:
    records = [make_job(number, project=A) for number in range(5)]
    await add(jobs, *records)
    for record, at, state in zip(
        records,
        (10.0, 20.0, 30.0, 15.0),
        (State.SUCCEEDED, State.CANCELLED, State.FAILED, State.DEAD),
        strict=False,
    ):
        assert await jobs.change_job(ended(record, at, state))
    assert await jobs.ended_jobs(before=100.0, dead_before=100.0, limit=10) == []
    for record in records[:4]:
        (attempt,) = await jobs.attempts(record.id)
        await jobs.mark_billed(attempt)
    found = await jobs.ended_jobs(before=25.0, dead_before=12.0, limit=10)
    assert found == [records[0].id, records[1].id]
    assert await jobs.ended_jobs(before=25.0, dead_before=100.0, limit=1) == [records[0].id]
    _, before = await jobs.changed_jobs(0)
    await jobs.drop_jobs([record.id for record in records[:4]])
    assert await jobs.find_job(records[0].id, A) is None
    assert await jobs.events(records[0].id, after=0, limit=10) == []
    assert await jobs.attempts(records[0].id) == []
    # Who has read up to there must hear of whatever comes next.
    assert await jobs.change_job(moved(records[4], State.CANCELLED, EventKind.CANCELLED))
    changed, _ = await jobs.changed_jobs(before)
    assert [job.id for job in changed] == [records[4].id]


async def test_the_past_is_told_latest_first(jobs: JobStore) -> None:
    for number, ended in ((1, 20.0), (2, None), (3, 30.0), (4, 10.0)):
        record = make_job(number, state=State.QUEUED if ended is None else State.SUCCEEDED)
        assert await jobs.add_jobs([submitted(replace(record, ended_at=ended))], open_max=100)
    told = await jobs.past_jobs(limit=2)
    assert [job.ended_at for job in told] == [30.0, 20.0]


async def test_nodes_are_forgotten(jobs: JobStore) -> None:
    for name in ("n0", "n1"):
        await jobs.put_node(NodeRecord(NodeName(name), "fake", 1, 1, 1))
    await jobs.drop_nodes([NodeName("n1"), NodeName("n2")])
    assert [node.name for node in await jobs.nodes()] == ["n0"]
