"""Jobs in memory, beside `storage.memory`; keeps `jobs.ports.JobStore`."""

from collections.abc import Sequence
from dataclasses import replace

from tokenyard.jobs.records import (
    Applied,
    Attempt,
    Change,
    Cycle,
    JobEvent,
    JobFilter,
    JobRecord,
    Lease,
    NodeRecord,
    Sample,
)
from tokenyard.jobs.rules.states import State, is_final
from tokenyard.storage.refusals import already_there, unknown_cursor
from tokenyard.vocabulary.ids import JobId, NodeName, ProjectId


class MemoryJobStore:
    """No call gives up control half way, so each is a transaction."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, JobRecord] = {}
        self._revisions: dict[JobId, int] = {}
        self._revision = 0
        # None where a job was dropped: the others keep their numbers.
        self._events: list[JobEvent | None] = []
        self._attempts: dict[JobId, dict[int, Attempt]] = {}
        self._billed: set[tuple[JobId, int]] = set()
        self._nodes: dict[NodeName, NodeRecord] = {}
        self._lease: Lease | None = None
        self._applied = (0, 0)
        self._samples: list[Sample] = []

    async def add_jobs(self, changes: Sequence[Change], *, open_max: int) -> bool:
        """Store new jobs of one project; False, and nothing written, when it has too many open."""
        if any(change.record.id in self._jobs for change in changes):
            raise already_there("job")
        project = changes[0].record.project
        held = sum(
            job.project == project and not is_final(job.state) for job in self._jobs.values()
        )
        if held + len(changes) > open_max:
            return False
        for change in changes:
            self._write(change)
        return True

    async def find_job(self, job: JobId, project: ProjectId | None) -> JobRecord | None:
        """None when there is none, or when it belongs to another project; None asks for any."""
        held = self._jobs.get(job)
        return held if held is not None and project in {None, held.project} else None

    async def list_jobs(
        self, project: ProjectId, wanted: JobFilter, *, limit: int, after: JobId | None
    ) -> list[JobRecord]:
        """Newest first; raises InvalidRequest when `after` is no job of the project."""
        mine = [job for job in self._jobs.values() if job.project == project]
        mine.sort(key=lambda job: (job.submitted_at, job.id), reverse=True)
        if after is not None:
            places = [place for place, job in enumerate(mine) if job.id == after]
            if not places:
                raise unknown_cursor()
            mine = mine[places[0] + 1 :]
        return [job for job in mine if _matches(job, wanted)][:limit]

    async def change_job(self, change: Change) -> bool:
        """What its owner changes; False, and nothing written, when it is no longer as it was."""
        if not self._follows(change):
            return False
        self._write(change)
        return True

    async def open_jobs(self) -> tuple[list[JobRecord], int]:
        """All that have not ended, and the revision up to which this is true."""
        return [job for job in self._jobs.values() if not is_final(job.state)], self._revision

    async def changed_jobs(self, revision: int) -> tuple[list[JobRecord], int]:
        """Jobs that changed after that revision, in order, and the newest revision."""
        changed = [job for job, at in self._revisions.items() if at > revision]
        changed.sort(key=lambda job: self._revisions[job])
        return [self._jobs[job] for job in changed], self._revision

    async def states_of(self, jobs: Sequence[JobId]) -> dict[JobId, str]:
        """The states of those that exist."""
        return {job: self._jobs[job].state.value for job in jobs if job in self._jobs}

    async def events(self, job: JobId, *, after: int, limit: int) -> list[tuple[int, JobEvent]]:
        """Events with a greater number, oldest first."""
        numbered = enumerate(self._events, 1)
        found = [
            (number, one)
            for number, one in numbered
            if one is not None and one.job == job and number > after
        ]
        return found[:limit]

    async def attempts(self, job: JobId) -> list[Attempt]:
        """All attempts, the first one first."""
        held = self._attempts.get(job, {})
        return [held[number] for number in sorted(held)]

    async def unbilled(self, *, limit: int) -> list[tuple[JobRecord, Attempt]]:
        """Attempts that have ended and are not billed yet, with their jobs."""
        found = [
            (self._jobs[job], one)
            for job, held in self._attempts.items()
            for one in held.values()
            if one.ended_at is not None and (job, one.number) not in self._billed
        ]
        return found[:limit]

    async def mark_billed(self, attempt: Attempt) -> None:
        """The attempt is in the ledger, at the cost that it names."""
        if attempt.number in self._attempts.get(attempt.job, {}):
            self._billed.add((attempt.job, attempt.number))
            self._attempts[attempt.job][attempt.number] = attempt

    async def past_jobs(self, *, limit: int) -> list[JobRecord]:
        """Jobs that have ended, the latest first."""
        ended = [job for job in self._jobs.values() if job.ended_at is not None]
        return sorted(ended, key=lambda job: job.ended_at or 0.0, reverse=True)[:limit]

    async def ended_jobs(self, *, before: float, dead_before: float, limit: int) -> list[JobId]:
        """Billed jobs that ended before then, the oldest first; dead ones by their own time."""
        unbilled = {job.id for job, _ in await self.unbilled(limit=len(self._jobs) + 1)}
        found = [
            (job.ended_at, job.id)
            for job in self._jobs.values()
            if is_final(job.state) and job.ended_at is not None and job.id not in unbilled
            and job.ended_at < (dead_before if job.state is State.DEAD else before)
        ]  # fmt: skip
        return [job for _, job in sorted(found)[:limit]]

    async def drop_jobs(self, jobs: Sequence[JobId]) -> None:
        """Forget them, with their attempts and events."""
        gone = set(jobs)
        for job in gone:
            self._jobs.pop(job, None)
            self._revisions.pop(job, None)
            self._attempts.pop(job, None)
        self._events = [
            None if event is not None and event.job in gone else event for event in self._events
        ]

    async def drop_nodes(self, names: Sequence[NodeName]) -> None:
        """Forget nodes that will not be heard of again."""
        for name in names:
            self._nodes.pop(name, None)

    async def nodes(self) -> list[NodeRecord]:
        """Every node that was ever seen, by name."""
        return [self._nodes[name] for name in sorted(self._nodes)]

    async def put_node(self, node: NodeRecord) -> None:
        """Store a node anew: what the operator wants of it."""
        self._nodes[node.name] = node

    async def take_lease(self, holder: str, now: float, seconds: float) -> Lease | None:
        """The lease, taken or prolonged; None while somebody else holds it."""
        held = self._lease
        if held is not None and held.holder != holder and now < held.until:
            return None
        kept = held is not None and held.holder == holder and now < held.until
        epoch = 0 if held is None else held.epoch
        self._lease = Lease(holder, epoch if kept else epoch + 1, now + seconds)
        return self._lease

    async def drop_lease(self, lease: Lease, now: float) -> None:
        """Give the lease back, if it is still this one."""
        held = self._lease
        if held is not None and (held.holder, held.epoch) == (lease.holder, lease.epoch):
            self._lease = replace(held, until=now)

    async def apply(self, cycle: Cycle) -> Applied:
        """Write all of a cycle, or nothing and why."""
        if self._lease is None or self._lease.epoch != cycle.epoch:
            return Applied.FENCED
        if (cycle.epoch, cycle.sequence) <= self._applied:
            return Applied.ALREADY
        if not all(self._follows(change) for change in cycle.changes):
            return Applied.STALE
        for change in cycle.changes:
            self._write(change)
        for node in cycle.nodes:
            known = self._nodes.get(node.name)
            # What the operator wants is not the leader's to change.
            self._nodes[node.name] = node if known is None else replace(node, wanted=known.wanted)
        self._applied = (cycle.epoch, cycle.sequence)
        return Applied.DONE

    async def add_sample(self, sample: Sample, *, drop_before: float) -> None:
        """Add a point of the history and forget the oldest."""
        self._samples = [one for one in self._samples if one.at >= drop_before]
        self._samples.append(sample)

    async def samples(self, *, since: float, until: float, limit: int) -> list[Sample]:
        """The newest points of that time, the oldest first."""
        return [one for one in self._samples if since <= one.at < until][-limit:]

    def _follows(self, change: Change) -> bool:
        held = self._jobs.get(change.record.id)
        return held is not None and held.version == change.record.version - 1

    def _write(self, change: Change) -> None:
        self._revision += 1
        self._jobs[change.record.id] = change.record
        self._revisions[change.record.id] = self._revision
        self._events.extend(change.events)
        if change.attempt is not None:
            held = self._attempts.setdefault(change.record.id, {})
            held[change.attempt.number] = change.attempt


def _matches(job: JobRecord, wanted: JobFilter) -> bool:
    return (
        (wanted.states is None or job.state in wanted.states)
        and wanted.queue in {None, job.queue}
        and wanted.type in {None, job.spec.type}
        and wanted.name in {None, job.spec.name}
        and _contains(job, wanted.search)
    )


def _contains(job: JobRecord, part: str | None) -> bool:
    return part is None or part.lower() in job.spec.name.lower() or part.lower() in job.id.lower()
