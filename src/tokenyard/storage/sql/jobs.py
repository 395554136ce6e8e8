"""Keeps `jobs.ports.JobStore` in SQL: records as JSON, beside the columns by which they are found.

A cycle of the leader is one transaction that first checks the leader's epoch and then the version
of every job it changes; where one is not as expected, nothing of the cycle is written.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

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
    NodeState,
    Sample,
)
from tokenyard.jobs.rules.states import State, is_final
from tokenyard.storage.refusals import unknown_cursor
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_ignore, insert_or_update
from tokenyard.storage.sql.schema import (
    job_attempts,
    job_events,
    job_lease,
    job_nodes,
    job_samples,
    jobs,
)
from tokenyard.storage.sql.writer import GroupWriter
from tokenyard.vocabulary.errors import Conflict
from tokenyard.vocabulary.ids import JobId, NodeName, ProjectId

_JOB, _ATTEMPT, _EVENT = jobs.c, job_attempts.c, job_events.c
_NODE, _LEASE, _SAMPLE = job_nodes.c, job_lease.c, job_samples.c

_ID = bindparam("j_id", type_=String)
_PROJECT = bindparam("j_project", type_=String)
_AFTER = bindparam("j_after", type_=String)
_LIMIT = bindparam("j_limit", type_=Integer)
_NUMBER = bindparam("j_number", type_=Integer)
_REVISION = bindparam("j_revision", type_=BigInteger)
_SINCE = bindparam("j_since", type_=Double)
_UNTIL = bindparam("j_until", type_=Double)

_FINAL = sorted(state.value for state in State if is_final(state))
_ENDED_STATES = [state for state in _FINAL if state != State.DEAD.value]
_IS_OPEN = _JOB.state.not_in(_FINAL)

_NEWEST = select(func.coalesce(func.max(_JOB.revision), 0))
_ADD = insert(jobs)
_COUNT_OPEN = select(func.count()).select_from(jobs).where(_JOB.project_id == _PROJECT, _IS_OPEN)
_CHANGE = update(jobs).where(
    _JOB.id == _ID, _JOB.version == bindparam("j_version", type_=BigInteger)
)
_FIND = select(_JOB.body).where(_JOB.id == _ID)
_FIND_OWN = _FIND.where(_JOB.project_id == _PROJECT)
_LIST = (
    select(_JOB.body)
    .where(_JOB.project_id == _PROJECT)
    .order_by(_JOB.submitted_at.desc(), _JOB.id.desc())
    .limit(_LIMIT)
)
_CURSOR = select(_JOB.submitted_at).where(_JOB.id == _AFTER, _JOB.project_id == _PROJECT)
_LIST_AFTER = _LIST.where(
    tuple_(_JOB.submitted_at, _JOB.id) < tuple_(_CURSOR.scalar_subquery(), _AFTER)
)
_OPEN = select(_JOB.body).where(_IS_OPEN).order_by(_JOB.revision)
_CHANGED = select(_JOB.body, _JOB.revision).where(_JOB.revision > _REVISION).order_by(_JOB.revision)
_ADD_EVENT = insert(job_events)
_EVENTS = (
    select(_EVENT.number, _EVENT.body)
    .where(_EVENT.job_id == _ID, _EVENT.number > _NUMBER)
    .order_by(_EVENT.number)
    .limit(_LIMIT)
)
_PUT_ATTEMPT = insert_or_update(
    job_attempts, [_ATTEMPT.job_id, _ATTEMPT.number], [_ATTEMPT.body, _ATTEMPT.unbilled]
)
_UNBILLED = (
    select(_JOB.body.label("job"), _ATTEMPT.body)
    .join(job_attempts, _ATTEMPT.job_id == _JOB.id)
    .where(_ATTEMPT.unbilled)
    .limit(_LIMIT)
)
_MARK_BILLED = (
    update(job_attempts)
    .where(_ATTEMPT.job_id == _ID, _ATTEMPT.number == _NUMBER)
    .values(unbilled=False, body=bindparam("j_body", type_=Text))
)
_PAST = (
    select(_JOB.body).where(_JOB.ended_at.is_not(None)).order_by(_JOB.ended_at.desc()).limit(_LIMIT)
)
_ENDED = (
    select(_JOB.id)
    .where(
        or_(
            and_(_JOB.state.in_(_ENDED_STATES), _JOB.ended_at < _UNTIL),
            and_(_JOB.state == State.DEAD.value, _JOB.ended_at < _SINCE),
        ),
        ~exists().where(_ATTEMPT.job_id == _JOB.id, _ATTEMPT.unbilled),
    )
    .order_by(_JOB.ended_at)
    .limit(_LIMIT)
)
_IDS = bindparam("j_ids", expanding=True, type_=String)
# The newest revision stays: it is what the next one is counted from.
_DROP_JOBS = delete(jobs).where(
    _JOB.id.in_(_IDS), _JOB.revision < select(func.max(_JOB.revision)).scalar_subquery()
)
_DROP_NODES = delete(job_nodes).where(_NODE.name.in_(_IDS))
_ATTEMPTS = select(_ATTEMPT.body).where(_ATTEMPT.job_id == _ID).order_by(_ATTEMPT.number)
_NODES = select(_NODE.body, _NODE.wanted).order_by(_NODE.name)
# What the operator wants is not the leader's to change.
_SEE_NODE = insert_or_update(job_nodes, [_NODE.name], [_NODE.body])
_PUT_NODE = insert_or_update(job_nodes, [_NODE.name], [_NODE.body, _NODE.wanted])
_FIND_LEASE = select(job_lease)
_ADD_LEASE = insert(job_lease)
_SET_LEASE = update(job_lease)
_DROP_LEASE = update(job_lease).where(
    _LEASE.holder == bindparam("j_holder", type_=String),
    _LEASE.epoch == bindparam("j_epoch", type_=BigInteger),
)
_PUT_SAMPLE = insert_or_ignore(job_samples, _SAMPLE.at)
_DROP_SAMPLES = delete(job_samples).where(_SAMPLE.at < _SINCE)
_SAMPLES = (
    select(_SAMPLE.body)
    .where(_SAMPLE.at >= _SINCE, _SAMPLE.at < _UNTIL)
    .order_by(_SAMPLE.at.desc())
    .limit(_LIMIT)
)


class SqlJobStore:
    """Jobs and all that the scheduler keeps; every write is one transaction."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_jobs(self, changes: Sequence[Change], *, open_max: int) -> bool:
        """Store new jobs of one project; False, and nothing written, when it has too many open."""
        project = changes[0].record.project
        # Made here, so that the one thread that writes is not held up by a large array.
        rows = [{"id": one.record.id, **_row(one.record)} for one in changes]
        events = [
            {"job_id": one.record.id, "body": _encode(event)}
            for one in changes
            for event in one.events
        ]

        def change(connection: Connection) -> bool:
            held = connection.execute(_COUNT_OPEN, {"j_project": project}).scalar_one()
            if int(held) + len(changes) > open_max:
                return False
            revision = _newest(connection)
            for number, row in enumerate(rows, 1):
                row["revision"] = revision + number
            connection.execute(_ADD, rows)
            connection.execute(_ADD_EVENT, events)
            return True

        return await self._writer.write(change)

    async def find_job(self, job: JobId, project: ProjectId | None) -> JobRecord | None:
        """None when there is none, or when it belongs to another project; None asks for any."""
        if project is None:
            row = await self._readers.first(_FIND, j_id=job)
        else:
            row = await self._readers.first(_FIND_OWN, j_id=job, j_project=project)
        return None if row is None else _read_job(row.body)

    async def list_jobs(
        self, project: ProjectId, wanted: JobFilter, *, limit: int, after: JobId | None
    ) -> list[JobRecord]:
        """Newest first; raises InvalidRequest when `after` is no job of the project."""
        query = _LIST if after is None else _LIST_AFTER
        if wanted.states is not None:
            query = query.where(_JOB.state.in_(sorted(state.value for state in wanted.states)))
        for column, word in (
            (_JOB.queue, wanted.queue),
            (_JOB.type, wanted.type),
            (_JOB.name, wanted.name),
        ):
            if word is not None:
                query = query.where(column == word)
        if wanted.search is not None:
            in_name = _JOB.name.icontains(wanted.search, autoescape=True)
            query = query.where(or_(in_name, _JOB.id.icontains(wanted.search, autoescape=True)))
        values = {"j_project": project, "j_limit": limit, "j_after": after}

        def turn(connection: Connection) -> list[JobRecord]:
            if after is not None and connection.execute(_CURSOR, values).first() is None:
                raise unknown_cursor()
            return [_read_job(row.body) for row in connection.execute(query, values)]

        return await self._readers.read(turn)

    async def change_job(self, change: Change) -> bool:
        """What its owner changes; False, and nothing written, when it is no longer as it was."""
        return await self._writer.write(
            lambda connection: _write(connection, change, _newest(connection) + 1)
        )

    async def open_jobs(self) -> tuple[list[JobRecord], int]:
        """All that have not ended, and the revision up to which this is true."""

        def turn(connection: Connection) -> tuple[list[JobRecord], int]:
            found = [_read_job(row.body) for row in connection.execute(_OPEN)]
            return found, _newest(connection)

        return await self._readers.read(turn)

    async def changed_jobs(self, revision: int) -> tuple[list[JobRecord], int]:
        """Jobs that changed after that revision, in order, and the newest revision."""
        rows = await self._readers.all(_CHANGED, j_revision=revision)
        newest = int(rows[-1].revision) if rows else revision
        return [_read_job(row.body) for row in rows], newest

    async def states_of(self, jobs_asked: Sequence[JobId]) -> dict[JobId, str]:
        """The states of those that exist."""
        query = select(_JOB.id, _JOB.state).where(_JOB.id.in_(list(jobs_asked)))
        return {JobId(row.id): row.state for row in await self._readers.all(query)}

    async def events(self, job: JobId, *, after: int, limit: int) -> list[tuple[int, JobEvent]]:
        """Events with a greater number, oldest first."""
        rows = await self._readers.all(_EVENTS, j_id=job, j_number=after, j_limit=limit)
        return [(row.number, msgspec.json.decode(row.body, type=JobEvent)) for row in rows]

    async def attempts(self, job: JobId) -> list[Attempt]:
        """All attempts, the first one first."""
        rows = await self._readers.all(_ATTEMPTS, j_id=job)
        return [msgspec.json.decode(row.body, type=Attempt) for row in rows]

    async def unbilled(self, *, limit: int) -> list[tuple[JobRecord, Attempt]]:
        """Attempts that have ended and are not billed yet, with their jobs."""
        rows = await self._readers.all(_UNBILLED, j_limit=limit)
        return [(_read_job(row.job), msgspec.json.decode(row.body, type=Attempt)) for row in rows]

    async def mark_billed(self, attempt: Attempt) -> None:
        """The attempt is in the ledger, at the cost that it names."""
        values = {"j_id": attempt.job, "j_number": attempt.number, "j_body": _encode(attempt)}
        await self._writer.write(
            lambda connection: connection.execute(_MARK_BILLED, values).rowcount
        )

    async def past_jobs(self, *, limit: int) -> list[JobRecord]:
        """Jobs that have ended, the latest first."""
        rows = await self._readers.all(_PAST, j_limit=limit)
        return [_read_job(row.body) for row in rows]

    async def ended_jobs(self, *, before: float, dead_before: float, limit: int) -> list[JobId]:
        """Billed jobs that ended before then, the oldest first; dead ones by their own time."""
        rows = await self._readers.all(_ENDED, j_until=before, j_since=dead_before, j_limit=limit)
        return [JobId(row.id) for row in rows]

    async def drop_jobs(self, jobs_gone: Sequence[JobId]) -> None:
        """Forget them, with their attempts and events."""
        values = {"j_ids": list(jobs_gone)}
        await self._writer.write(lambda connection: connection.execute(_DROP_JOBS, values).rowcount)

    async def drop_nodes(self, names: Sequence[NodeName]) -> None:
        """Forget nodes that will not be heard of again."""
        values = {"j_ids": list(names)}
        await self._writer.write(
            lambda connection: connection.execute(_DROP_NODES, values).rowcount
        )

    async def nodes(self) -> list[NodeRecord]:
        """Every node that was ever seen, by name."""
        rows = await self._readers.all(_NODES)
        return [_read_node(row.body, row.wanted) for row in rows]

    async def put_node(self, node: NodeRecord) -> None:
        """Store a node anew: what the operator wants of it."""
        row = _node_row(node)
        await self._writer.write(lambda connection: connection.execute(_PUT_NODE, row).rowcount)

    async def take_lease(self, holder: str, now: float, seconds: float) -> Lease | None:
        """The lease, taken or prolonged; None while somebody else holds it."""

        def change(connection: Connection) -> Lease | None:
            held = connection.execute(_FIND_LEASE).first()
            if held is None:
                row = {"id": 1, "holder": holder, "epoch": 1, "until": now + seconds}
                connection.execute(_ADD_LEASE, {**row, "applied_epoch": 0, "applied_sequence": 0})
                return Lease(holder, 1, now + seconds)
            if held.holder != holder and now < held.until:
                return None
            kept = held.holder == holder and now < held.until
            lease = Lease(holder, held.epoch if kept else held.epoch + 1, now + seconds)
            row = {"holder": holder, "epoch": lease.epoch, "until": lease.until}
            connection.execute(_SET_LEASE, row)
            return lease

        return await self._writer.write(change)

    async def drop_lease(self, lease: Lease, now: float) -> None:
        """Give the lease back, if it is still this one."""
        values = {"j_holder": lease.holder, "j_epoch": lease.epoch, "until": now}
        await self._writer.write(
            lambda connection: connection.execute(_DROP_LEASE, values).rowcount
        )

    async def apply(self, cycle: Cycle) -> Applied:
        """Write all of a cycle, or nothing and why."""
        try:
            return await self._writer.write(lambda connection: _apply(connection, cycle))
        except _Stale:
            return Applied.STALE

    async def add_sample(self, sample: Sample, *, drop_before: float) -> None:
        """Add a point of the history and forget the oldest."""
        row = {"at": sample.at, "body": _encode(sample)}

        def change(connection: Connection) -> None:
            connection.execute(_PUT_SAMPLE, row)
            connection.execute(_DROP_SAMPLES, {"j_since": drop_before})

        await self._writer.write(change)

    async def samples(self, *, since: float, until: float, limit: int) -> list[Sample]:
        """The newest points of that time, the oldest first."""
        rows = await self._readers.all(_SAMPLES, j_since=since, j_until=until, j_limit=limit)
        return [msgspec.json.decode(row.body, type=Sample) for row in reversed(rows)]


class _Stale(Conflict):
    """Takes the transaction back."""


def _apply(connection: Connection, cycle: Cycle) -> Applied:
    lease = connection.execute(_FIND_LEASE).first()
    if lease is None or lease.epoch != cycle.epoch:
        return Applied.FENCED
    if (cycle.epoch, cycle.sequence) <= (lease.applied_epoch, lease.applied_sequence):
        return Applied.ALREADY
    revision = _newest(connection)
    for number, change in enumerate(cycle.changes, 1):
        if not _write(connection, change, revision + number):
            raise _Stale("A job is no longer as the cycle saw it.")
    for node in cycle.nodes:
        connection.execute(_SEE_NODE, _node_row(node))
    done = {"applied_epoch": cycle.epoch, "applied_sequence": cycle.sequence}
    connection.execute(_SET_LEASE, done)
    return Applied.DONE


def _write(connection: Connection, change: Change, revision: int) -> bool:
    record = change.record
    values: dict[str, Any] = {"j_id": record.id, "j_version": record.version - 1}
    values |= {**_row(record), "revision": revision}
    if connection.execute(_CHANGE, values).rowcount != 1:
        return False
    _write_rest(connection, change)
    return True


def _write_rest(connection: Connection, change: Change) -> None:
    job = change.record.id
    if change.events:
        rows = [{"job_id": job, "body": _encode(event)} for event in change.events]
        connection.execute(_ADD_EVENT, rows)
    attempt = change.attempt
    if attempt is not None:
        row = {
            "job_id": job,
            "number": attempt.number,
            "body": _encode(attempt),
            # An ended attempt is written once.
            "unbilled": attempt.ended_at is not None,
        }
        connection.execute(_PUT_ATTEMPT, row)


def _newest(connection: Connection) -> int:
    return int(connection.execute(_NEWEST).scalar_one())


def _row(record: JobRecord) -> dict[str, Any]:
    return {
        "project_id": record.project,
        "queue": record.queue,
        "type": record.spec.type,
        "name": record.spec.name,
        "state": record.state.value,
        "submitted_at": record.submitted_at,
        "ended_at": record.ended_at,
        "version": record.version,
        "body": _encode(record),
    }


def _node_row(node: NodeRecord) -> dict[str, Any]:
    return {"name": node.name, "wanted": node.wanted.value, "body": _encode(node)}


def _read_node(body: str, wanted: str) -> NodeRecord:
    node = msgspec.json.decode(body, type=NodeRecord)
    return replace(node, wanted=NodeState(wanted))


def _read_job(body: str) -> JobRecord:
    return msgspec.json.decode(body, type=JobRecord)


def _encode(record: object) -> str:
    return msgspec.json.encode(record).decode()
