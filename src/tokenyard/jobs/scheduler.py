"""The leader's cycle: read, settle, plan, write, and only then tell the executors.

    lease → jobs that changed → what members do → settle → write
                                                → plan   → write → executors

What is to run is in the store before any executor hears of it, and executors are told again in
every cycle until what they report is what is stored; so a crash between any two steps loses nothing
and starts nothing twice. Decides none of it: who starts is `rules.plan`, what becomes of a job is
`moves`.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, assert_never

from tokenyard.jobs.crew import Crew
from tokenyard.jobs.draft import Draft
from tokenyard.jobs.mirror import Mirror
from tokenyard.jobs.moves import Patience, settle
from tokenyard.jobs.observation import Observer
from tokenyard.jobs.ports import Executor, JobStore, MemberId, MemberPhase, MemberReport
from tokenyard.jobs.records import (
    Applied,
    Change,
    Cycle,
    EventKind,
    JobRecord,
    Lease,
    NodeRecord,
    NodeState,
    Sample,
)
from tokenyard.jobs.roster import Roster
from tokenyard.jobs.rules.decisions import (
    Claim,
    Complete,
    Decision,
    Plan,
    Preempt,
    Release,
    Renounce,
    Start,
)
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.plan import plan
from tokenyard.jobs.rules.profile import Profile
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.shape import member_of, name_seats
from tokenyard.jobs.waits import drain, pass_deadline, wake
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import JobId, NodeName
from tokenyard.vocabulary.reasons import Reason

# A cycle that was overtaken is tried again at once, this often.
_STALE_CYCLES_MAX = 5
# The lease is prolonged when less than this part of it is left.
_LEASE_PART = 2 / 3


class Scheduler:
    """One candidate for leadership; `tick` does one cycle if it leads."""

    def __init__(
        self,
        holder: str,
        *,
        store: JobStore,
        executors: Sequence[Executor],
        queues: Iterable[QueueSpec],
        profile: Profile,
        settings: JobSettings,
        clock: Clock,
        log: Log,
        observer: Observer,
    ) -> None:
        self._holder = holder
        self._store = store
        self._crew = Crew(executors, clock)
        self._settings = settings
        self._clock = clock
        self._log = log
        self._observer = observer
        self._patience = Patience(
            self._settings.launch_seconds,
            self._settings.back_off_seconds,
            self._settings.back_off_seconds_max,
            self._settings.step_seconds,
        )
        self._lease: Lease | None = None
        self._sequence = 0
        self._poked = asyncio.Event()
        self._nodes: dict[NodeName, NodeRecord] = {}
        # When it last looked at the nodes, and since when it has done so without being held up.
        self._looked_at = self._awake_since = 0.0
        self._decided: Plan | None = None
        self._mirror = Mirror(store, queues, profile, clock)

    @property
    def roster(self) -> Roster:
        """All open jobs as this one knows them, leading or not."""
        return self._mirror.roster

    @property
    def leads(self) -> bool:
        """Whether this one held the lease when it last looked."""
        return self._lease is not None and self._clock.now() < self._lease.until

    @property
    def decided(self) -> Plan | None:
        """The plan of its last cycle; None for one that does not lead."""
        return self._decided

    def forget_nodes(self, names: Iterable[NodeName]) -> None:
        """They are not in the store any more."""
        for name in names:
            self._nodes.pop(name, None)
            self._observer.forget_node(name)

    def poke(self) -> None:
        """Something changed: do not wait for the next cycle's time."""
        self._poked.set()

    async def run(self, tasks: TaskSupervisor) -> None:
        """Cycle until cancelled; a cycle that fails is told and tried again."""
        try:
            while True:
                self._poked.clear()
                try:
                    await self.tick()
                except TokenyardError as error:
                    self._log.error(Event.JOBS_CYCLE_FAILED, error, reason=error.reason.value)
                    self._forget_all()
                await self._rest(tasks)
        finally:
            lease = self._lease
            if lease is not None:
                with suppress(TokenyardError):
                    await self._store.drop_lease(lease, self._clock.now())

    async def watch(self, tasks: TaskSupervisor) -> None:
        """Know what the leader does, until cancelled, and never lead."""
        while True:
            self._poked.clear()
            try:
                await self._follow()
            except TokenyardError as error:
                self._log.error(Event.JOBS_CYCLE_FAILED, error, reason=error.reason.value)
                self._mirror.forget()
            await self._rest(tasks)

    async def tick(self) -> bool:
        """One cycle; False when somebody else leads."""
        if not await self._lead():
            return False
        began = self._clock.monotonic()
        for _ in range(_STALE_CYCLES_MAX):
            await self._mirror.sync()
            reports = await self._look()
            if not await self._write(self._settle(reports)):
                continue
            if await self._write((self._plan(), ())):
                await self._tell(reports)
                break
            if self._lease is None:
                return False
        self._observer.note_cycle(self._clock.monotonic() - began)
        await self._observer.sample(self.roster, self._decided, self._clock.now())
        return self._lease is not None

    async def _rest(self, tasks: TaskSupervisor) -> None:
        sleep = self._clock.sleep(self._settings.tick_seconds)
        sleeping = tasks.spawn("jobs.rest", sleep)
        poked = tasks.spawn("jobs.poked", self._poked.wait())
        both: set[asyncio.Task[Any]] = {sleeping, poked}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)

    async def _lead(self) -> bool:
        """Hold the lease; a new epoch begins with everything read anew."""
        now, seconds = self._clock.now(), self._settings.lease_seconds
        held = self._lease
        if held is not None and held.until - now > seconds * _LEASE_PART:
            return True
        self._lease = await self._store.take_lease(self._holder, now, seconds)
        if self._lease is None:
            if held is not None:
                self._forget_all()
            await self._follow()
            return False
        if held is None or held.epoch != self._lease.epoch:
            lease = self._lease
            self._forget_all()
            self._lease = lease
            self._nodes = {node.name: node for node in await self._store.nodes()}
            await self._mirror.load(list(self._nodes.values()))
            self._observer.resume(await self._newest_sample())
        return True

    def _forget_all(self) -> None:
        self._lease = None
        self._sequence = 0
        self._mirror.forget()
        self._nodes = {}
        self._decided = None

    async def _follow(self) -> None:
        """Somebody else leads; know what he knows, to be able to say it."""
        await self._mirror.follow()
        if self._observer.wants_sample(self._clock.now()):
            self._observer.resume(await self._newest_sample())

    async def _newest_sample(self) -> Sample | None:
        found = await self._store.samples(since=0.0, until=self._clock.now() + 1, limit=1)
        return found[-1] if found else None

    async def _look(self) -> dict[MemberId, MemberReport]:
        """Which nodes there are and what members do."""
        now, silence = self._clock.now(), self._settings.node_silence_seconds
        if now - self._looked_at >= silence / 2:
            # It was held up itself; what nodes said meanwhile may not have been heard yet.
            self._awake_since = now
        self._looked_at = now
        wanted = {node.name: node.wanted for node in await self._store.nodes()}
        seen, reports = await self._crew.look()
        for name, node in {**self._nodes, **seen}.items():
            known = self._nodes.get(name, node)
            # What it says of itself, what the operator says, and what we hold against it.
            self._nodes[name] = replace(
                node,
                wanted=wanted.get(name, NodeState.OPEN),
                launch_failures=known.launch_failures,
                quarantined_until=known.quarantined_until,
                # A node that was lost before stays so until it is heard.
                lost=now - node.seen_at >= silence
                and (known.lost or now - self._awake_since >= silence),
            )
        self.roster.set_nodes(list(self._nodes.values()), now)
        return reports

    def _settle(
        self, reports: Mapping[MemberId, MemberReport]
    ) -> tuple[list[Change], tuple[NodeRecord, ...]]:
        """Bring every job up to date with the world, before anything new is decided."""
        roster, now = self.roster, self._clock.now()
        lost = {name: node.seen_at for name, node in self._nodes.items() if node.lost}
        drafts: dict[JobId, Draft] = {}
        for record in roster.dormant.values():
            draft = drafts[record.id] = Draft(record, now)
            unmet = roster.unmet(record)
            wake(draft, unmet, self.roster.failed_among(unmet))
        for record in roster.seated.values():
            draft = drafts[record.id] = Draft(record, now)
            self._judge_nodes(record, reports)
            misfits = record.seats if record.id in roster.misfits else ()
            gone = {**dict.fromkeys((seat.node for seat in misfits), now), **lost}
            settle(draft, reports, gone, self._patience)
            drain(draft, self._nodes)
        for job in sorted(roster.with_deadline):
            draft = drafts.setdefault(job, Draft(roster.records[job], now))
            pass_deadline(draft)
        changes = [change for draft in drafts.values() if (change := draft.change())]
        # Being heard of again is not worth a write.
        return changes, self._observer.nodes_to_store(self._nodes.values())

    def _judge_nodes(self, record: JobRecord, reports: Mapping[MemberId, MemberReport]) -> None:
        """Count failures to launch against the node; too many in a row close it for a while."""
        if record.state is not State.STARTING:
            return
        for seat in record.seats:
            node = self._nodes.get(seat.node)
            report = reports.get(member_of(record, seat))
            if node is None or report is None:
                continue
            if report.phase is MemberPhase.LAUNCH_FAILED:
                failures = node.launch_failures + 1
                until = node.quarantined_until
                if failures >= self._settings.quarantine_failures:
                    failures = 0
                    until = self._clock.now() + self._settings.quarantine_seconds
                    self._log.warning(Event.NODE_QUARANTINED, node=node.name)
                node = replace(node, launch_failures=failures, quarantined_until=until)
            elif report.phase is MemberPhase.RUNNING and node.launch_failures:
                node = replace(node, launch_failures=0)
            self._nodes[seat.node] = node

    def _plan(self) -> list[Change]:
        now = self._clock.now()
        self.roster.set_nodes(list(self._nodes.values()), now)
        self._decided = decided = plan(self.roster.board, now)
        drafts: dict[JobId, Draft] = {}
        for decision in decided.decisions:
            record = self.roster.records[decision.job]
            draft = drafts.setdefault(decision.job, Draft(record, now))
            self._draft(draft, decision)
        return [change for draft in drafts.values() if (change := draft.change())]

    def _draft(self, draft: Draft, decision: Decision) -> None:
        names = [node.name for node in self.roster.board.cluster.nodes]
        record = draft.record
        match decision:
            case Start(_, seats, reason):
                if record.state in {State.HELD, State.BACKING_OFF}:
                    draft.move(State.QUEUED, EventKind.RELEASED)
                draft.start(name_seats(seats, names), reason)
            case Claim(_, seats):
                # A job that is moved can claim only once it has gone.
                if record.state is State.QUEUED:
                    draft.record = replace(record, held_seats=name_seats(seats, names))
                    draft.note(EventKind.SEATS_HELD)
            case Renounce():
                draft.record = replace(record, held_seats=())
                draft.note(EventKind.SEATS_GIVEN_UP)
            case Preempt(_, by, reason):
                draft.stop(reason, by=by)
            case Release(_, not_before):
                draft.stop(Reason.GANG_INCOMPLETE, not_before=not_before)
            case Complete(_, seats):
                turns = record.turns + 1
                more = name_seats(seats, names, (seat.rank for seat in record.seats), turns)
                # Those who grow have more members now; who came back takes a place that was free.
                members = max(record.members, *(seat.rank + 1 for seat in more))
                together = (*record.seats, *more)
                draft.reseat(together, turns=turns, members=members, incomplete_since=None)
                draft.note(EventKind.MEMBERS_ADDED, detail=f"{len(more)} members")
            case _:
                assert_never(decision)

    async def _write(self, work: tuple[Sequence[Change], tuple[NodeRecord, ...]]) -> bool:
        """Store it; True when it is stored and the roster shows it."""
        changes, nodes = work
        if not changes and not nodes:
            return True
        lease = self._lease
        if lease is None:
            return False
        self._sequence += 1
        cycle = Cycle(lease.epoch, self._sequence, tuple(changes), nodes)
        applied = await self._store.apply(cycle)
        if applied is Applied.FENCED:
            self._log.warning(Event.JOBS_FENCED, epoch=lease.epoch)
            self._forget_all()
            return False
        if applied is not Applied.DONE:
            return False
        for change in changes:
            self.roster.put(change.record)
            self._observer.note(change)
        self._observer.stored(nodes)
        return True

    async def _tell(self, reports: Mapping[MemberId, MemberReport]) -> None:
        """Make executors do what is stored."""
        if self._lease is not None:
            seated = list(self.roster.seated.values())
            await self._crew.tell(seated, self._nodes, reports, self._lease)
