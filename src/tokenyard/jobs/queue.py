"""What people may do with jobs: submit, see, explain, cancel, try again, change priority.

Decides who may, and what a valid job is on this platform. When it runs is the scheduler's; what is
changed here is changed with the version that was seen, beside a leader that may change it too.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenyard.jobs.draft import Draft
from tokenyard.jobs.insight import Insight
from tokenyard.jobs.observation import Observer
from tokenyard.jobs.ports import Executor, JobStore, LogText, MemberId
from tokenyard.jobs.queues import leaf_names, priority_value, queue_specs
from tokenyard.jobs.records import (
    Attempt,
    Change,
    EventKind,
    JobEvent,
    JobFilter,
    JobRecord,
    NodeRecord,
    NodeState,
    Sample,
)
from tokenyard.jobs.rules.explain import Explanation
from tokenyard.jobs.rules.states import State, advance, holds_seats, is_final
from tokenyard.jobs.samples import sample_jobs
from tokenyard.jobs.scheduler import Scheduler
from tokenyard.jobs.shape import job_of, seconds_at
from tokenyard.jobs.spec import read_job_file
from tokenyard.jobs.waits import cancel
from tokenyard.protocol.jobs import JobSample, JobSpec
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    LimitReached,
    NotFound,
)
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import IdPrefix, JobId, NodeName
from tokenyard.vocabulary.reasons import Reason

# A change that the leader overtakes is tried again this often.
_CHANGES_MAX = 8
EVENTS_MAX = 1_000
LOG_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogRead:
    """A piece of a member's log, and whether more may come."""

    member: MemberId
    piece: LogText
    ended: bool


class JobQueue:
    """The scheduler as callers see it. Other tenants' jobs are not there."""

    def __init__(
        self,
        store: JobStore,
        scheduler: Scheduler,
        executors: Sequence[Executor],
        observer: Observer,
        settings: JobSettings,
        *,
        on_loopback: bool,
        clock: Clock,
        randomness: Randomness,
        log: Log,
    ) -> None:
        self._store = store
        self.scheduler = scheduler
        self._executors = {executor.name: executor for executor in executors}
        self.observer = observer
        self.insight = Insight(scheduler, clock)
        self._settings = settings
        self._leaves = frozenset(leaf_names(queue_specs(settings)))
        self._on_loopback = on_loopback
        self._clock = clock
        self._randomness = randomness
        self._log = log

    async def submit(self, caller: Principal, spec: JobSpec) -> list[JobRecord]:
        """A new job, or all elements of an array; raises what says why not."""
        self._check_may_run(caller)
        self._check(spec)
        await self._check_dependencies(caller, spec)
        now = self._clock.now()
        not_before = seconds_at(spec.not_before) or 0.0
        waits = bool(spec.after) or not_before > now
        records = [
            JobRecord(
                id=JobId(mint(IdPrefix.JOB, self._randomness)),
                project=caller.project,
                user=caller.user,
                key=caller.key,
                organisation=caller.organisation,
                spec=spec,
                queue=next(name for name in self._leaves if name == spec.queue),
                priority=priority_value(self._settings, spec.priority),
                # So that elements keep their order.
                submitted_at=now + index * 1e-6,
                array_index=None if spec.array is None else index,
                state=State.HELD if waits else State.QUEUED,
                not_before=not_before if waits else 0.0,
            )
            for index in range(spec.array or 1)
        ]
        job_of(records[0])
        changes = [
            Change(record, (JobEvent(record.id, now, EventKind.SUBMITTED, by=caller.user),))
            for record in records
        ]
        limit = self._settings.open_jobs_max
        if not await self._store.add_jobs(changes, open_max=limit):
            raise LimitReached(
                f"A project has at most {limit} jobs that have not ended.",
                reason=Reason.QUEUED_JOBS_LIMIT,
            )
        self._log.info(Event.JOBS_SUBMITTED, job=records[0].id, count=len(records))
        self.scheduler.poke()
        return records

    async def check_file(self, text: str, name: str) -> JobSpec:
        """What the file says, if it may be submitted; raises InvalidRequest, with the line."""
        limit = self._settings.checked_file_bytes_max
        if len(text.encode()) > limit:
            raise InvalidRequest(f"A job file is checked up to {limit} bytes.", param="text")
        # Reading YAML is slow, and others wait for this loop.
        spec = await asyncio.to_thread(read_job_file, text, name)
        self._check(spec)
        return spec

    def samples(self) -> list[JobSample]:
        """Job files to begin with."""
        largest = max((len(node.gpus) for node in self.scheduler.roster.board.cluster.nodes),
                      default=0)  # fmt: skip
        return sample_jobs(min(self._leaves), largest)

    async def get(self, caller: Principal, job: JobId) -> JobRecord:
        """One job; raises NotFound, also for those of other tenants."""
        record = await self._store.find_job(job, caller.project)
        if record is None:
            raise NotFound("There is no such job.", param="job_id")
        return record

    async def page(
        self, caller: Principal, wanted: JobFilter, *, limit: int, after: JobId | None
    ) -> tuple[list[JobRecord], bool]:
        """Jobs, newest first, and whether there are more."""
        found = await self._store.list_jobs(caller.project, wanted, limit=limit + 1, after=after)
        return found[:limit], len(found) > limit

    async def cancel(self, caller: Principal, job: JobId) -> JobRecord:
        """Stop it, or take it out of its queue; Conflict when it has ended."""
        for _ in range(_CHANGES_MAX):
            record = await self.get(caller, job)
            if is_final(record.state):
                raise Conflict(
                    f"The job is {record.state} already.", reason=Reason.JOB_ENDED, param="job_id"
                )
            if record.cancel_wanted:
                return record
            draft = Draft(record, self._clock.now())
            if holds_seats(record.state):
                draft.record = replace(record, cancel_wanted=True)
                draft.note(EventKind.CANCEL_WANTED, by=caller.user)
            else:
                cancel(draft, by=caller.user)
            if (changed := await self._change(draft)) is not None:
                return changed
        raise _overtaken()

    async def retry(self, caller: Principal, job: JobId) -> JobRecord:
        """Put a failed or dead job back in its queue, with all its retries; Conflict otherwise."""
        self._check_may_run(caller)
        for _ in range(_CHANGES_MAX):
            record = await self.get(caller, job)
            if record.state not in {State.FAILED, State.DEAD}:
                raise Conflict(
                    f"Only a job that failed is tried again; this one is {record.state}.",
                    reason=Reason.JOB_ENDED if is_final(record.state) else Reason.JOB_CHANGED,
                    param="job_id",
                )
            draft = Draft(record, self._clock.now())
            draft.move(
                State.QUEUED,
                EventKind.RETRIED,
                by=caller.user,
                failures={},
                not_before=0.0,
                ended_at=None,
            )
            if record.spec.after:
                # Those it waits for may not have succeeded.
                draft.record = replace(draft.record, state=advance(State.QUEUED, State.HELD))
            if (changed := await self._change(draft)) is not None:
                return changed
        raise _overtaken()

    async def set_priority(self, caller: Principal, job: JobId, name: str) -> JobRecord:
        """Another class; Conflict when the job has ended."""
        value = priority_value(self._settings, name)
        for _ in range(_CHANGES_MAX):
            record = await self.get(caller, job)
            if is_final(record.state):
                raise Conflict("The job has ended.", reason=Reason.JOB_ENDED, param="job_id")
            draft = Draft(record, self._clock.now())
            draft.record = replace(record, priority=value)
            draft.note(EventKind.PRIORITY_CHANGED, detail=name, by=caller.user)
            if (changed := await self._change(draft)) is not None:
                return changed
        raise _overtaken()

    async def timeline(
        self, caller: Principal, job: JobId
    ) -> tuple[list[tuple[int, JobEvent]], list[Attempt]]:
        """What happened to it, and its attempts."""
        await self.get(caller, job)
        events = await self._store.events(job, after=0, limit=EVENTS_MAX)
        return events, await self._store.attempts(job)

    async def explain(self, caller: Principal, job: JobId) -> tuple[JobRecord, Explanation | None]:
        """Why it waits; None when it runs, has ended, or starts in the next cycle."""
        record = await self.get(caller, job)
        return record, self.insight.explain(record)

    async def read_log(
        self,
        caller: Principal,
        job: JobId,
        *,
        attempt: int | None,
        rank: int,
        offset: int,
        limit: int = LOG_BYTES_MAX,
    ) -> LogRead:
        """A piece of a member's log; by default of the attempt that was last launched.

        offset: negative counts from the end.
        """
        record = await self.get(caller, job)
        number = record.attempt if attempt is None else attempt
        tries = [one for one in await self._store.attempts(job) if one.number == number]
        seats = [s for one in tries for s in one.seats if s.rank == rank]
        if number == record.attempt:
            seats = [seat for seat in record.seats if seat.rank == rank] or seats
        if not seats:
            # It has no such member, or none yet.
            member = MemberId(job, number, rank)
            return LogRead(member, LogText("", offset, offset), is_final(record.state))
        member = MemberId(job, number, rank, seats[-1].turn)
        nodes = {node.name: node for node in await self._store.nodes()}
        node = nodes.get(seats[-1].node)
        executor = None if node is None else self._executors.get(node.executor)
        if executor is None:
            raise NotFound("The node that holds this log is not reached from here.")
        piece = await executor.read_log(member, seats[-1].node, offset=offset, limit=limit)
        ended = number < record.attempt or not holds_seats(record.state)
        return LogRead(member, piece, ended)

    async def nodes(self) -> list[NodeRecord]:
        """All nodes, by name."""
        return await self._store.nodes()

    async def set_node(self, name: NodeName, wanted: NodeState) -> NodeRecord:
        """Open, cordon or drain a node; raises NotFound."""
        for node in await self._store.nodes():
            if node.name == name:
                changed = replace(node, wanted=wanted)
                await self._store.put_node(changed)
                self.scheduler.poke()
                return changed
        raise NotFound("There is no such node.", param="node")

    async def history(self, *, since: float, until: float, limit: int) -> list[Sample]:
        """Points of the history of queues and nodes."""
        return await self._store.samples(since=since, until=until, limit=limit)

    async def _change(self, draft: Draft) -> JobRecord | None:
        change = draft.change()
        if change is None:
            return draft.record
        if not await self._store.change_job(change):
            return None
        self.scheduler.poke()
        return change.record

    def _check_may_run(self, caller: Principal) -> None:
        """Commands run on this machine as us: not for everybody who may chat."""
        allowed = self._settings.local_execution
        ours = caller.operator and (caller.key is None or self._on_loopback)
        if allowed == "all" or (allowed == "owner" and ours):
            return
        raise Forbidden(
            "Jobs run commands on the server's machine, and the setting jobs.local_execution "
            f"({allowed}) does not allow you that.",
            reason=Reason.LOCAL_EXECUTION_OFF,
        )

    def _check(self, spec: JobSpec) -> None:
        if bool(spec.command) == (spec.python is not None) and not spec.python:
            raise InvalidRequest("A job needs a 'command' or a 'python' entry.", param="command")
        if spec.command and not spec.command[0] and spec.python is None:
            raise InvalidRequest("The program has no name.", param="command")
        if spec.queue not in self._leaves:
            known = ", ".join(sorted(self._leaves))
            raise InvalidRequest(
                f"There is no queue {spec.queue!r} that takes jobs; there are {known}.",
                param="queue",
            )
        priority_value(self._settings, spec.priority)
        members = sum(role.replicas_max or role.replicas for role in spec.roles)
        for value, limit, name in (
            (members, self._settings.members_max, "roles"),
            (spec.array or 1, self._settings.array_max, "array"),
            (
                spec.checkpoint.grace_seconds,
                self._settings.grace_seconds_max,
                "checkpoint.grace_seconds",
            ),
        ):
            if value > limit:
                raise InvalidRequest(f"'{name}' is {value:g}; at most {limit:g}.", param=name)
        names = [role.name for role in spec.roles]
        if len(set(names)) < len(names):
            raise InvalidRequest("Two roles have one name.", param="roles")

    async def _check_dependencies(self, caller: Principal, spec: JobSpec) -> None:
        for job in spec.after:
            if await self._store.find_job(JobId(job), caller.project) is None:
                raise InvalidRequest(f"There is no job {job}.", param="after")


def _overtaken() -> Conflict:
    return Conflict("The job changes too fast; try again.", reason=Reason.JOB_CHANGED)
