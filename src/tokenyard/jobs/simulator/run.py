"""A workload played through plan() in virtual time, event by event.

Decides only when things happen: arrivals, ends, notice periods, faults. What to do about them is
plan()'s, the very one of production. The scheduler sees estimates; how long a job really runs is
known here alone. Nothing is random: faults come as a list, drawn by the caller.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from heapq import heappop, heappush
from typing import assert_never

from tokenyard.jobs.rules.board import Board, Entry, Phase, progressed, seconds_lost
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
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.states import State, advance
from tokenyard.jobs.simulator.workload import Arrival
from tokenyard.vocabulary.errors import InternalFailure
from tokenyard.vocabulary.ids import JobId, NodeName

# Cycles at one moment before the policy is taken to run in circles.
CYCLES_PER_MOMENT_MAX = 1_000


class _Kind(IntEnum):
    """Events of one moment happen in this order: room is made before it is asked for."""

    END = 0
    GONE = 1
    NODE_BACK = 2
    NODE_LOST = 3
    ARRIVAL = 4
    WAKE = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """A node is lost at that time and comes back later."""

    at: float
    node: NodeName
    seconds: float


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a job's work if nothing happens to the run that began at that time."""

    entry: Entry
    started_at: float


@dataclass(slots=True)
class Record:
    """What became of one job. Times are of the simulation; -1 means not yet."""

    submitted_at: float
    run_seconds: float
    gpu_milli: int
    queue: str
    state: State = State.QUEUED
    first_start: float = -1.0
    finished_at: float = -1.0
    preemptions: int = 0
    releases: int = 0

    @property
    def waited_seconds(self) -> float:
        """All the time in which it did not run: completion time less run time."""
        return self.finished_at - self.submitted_at - self.run_seconds

    @property
    def completion_seconds(self) -> float:
        """From its submission to its end (JCT)."""
        return self.finished_at - self.submitted_at


@dataclass(slots=True)
class Outcome:
    """What a run has measured."""

    gpu_milli_capacity: int
    records: dict[JobId, Record] = field(default_factory=dict)
    # Integrals over time, in thousandths of a GPU times seconds.
    gpu_milli_seconds_busy: float = 0.0
    gpu_milli_seconds_held: float = 0.0
    # The same as busy, but only until the last job has arrived: afterwards the cluster runs empty,
    # for as long as the longest job takes, whatever the policy.
    gpu_milli_seconds_busy_arriving: float = 0.0
    last_arrival_at: float = 0.0
    # While somebody waited: how long, GPUs in use, and free GPUs on partly used nodes.
    seconds_waited_for: float = 0.0
    gpu_milli_seconds_busy_waiting: float = 0.0
    gpu_milli_seconds_fragmented: float = 0.0
    gpu_seconds_lost: float = 0.0
    cycles: int = 0
    decisions: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    # (time, thousandths of GPU in use) whenever a cycle changed it; empty unless asked for.
    curve: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rules:
    """How the simulated world behaves."""

    # From being told to go until the seats are free.
    grace_seconds: float = 0.0
    # A job that does not start in the cycle of its arrival is dropped: the fill experiments.
    drops_blocked: bool = False
    keeps_curve: bool = False
    # Stop after this time, whatever is left; None: when everything is done.
    until: float | None = None


class Simulation:
    """One run over a board; `watch` is called after every cycle, for invariants and displays."""

    def __init__(
        self,
        board: Board,
        arrivals: Iterable[Arrival],
        *,
        rules: Rules | None = None,
        faults: Iterable[Fault] = (),
        watch: Callable[[Board, Plan], None] | None = None,
    ) -> None:
        self.board = board
        self.rules = rules or Rules()
        self.outcome = Outcome(board.cluster.capacity.gpu_milli)
        self.now = 0.0
        self._watch = watch
        self._events: list[tuple[float, int, int, object]] = []
        self._count = 0
        self._run_seconds: dict[JobId, float] = {}
        self._dirty = False
        for arrival in arrivals:
            self._at(arrival.job.submitted_at, _Kind.ARRIVAL, arrival)
            last = max(self.outcome.last_arrival_at, arrival.job.submitted_at)
            self.outcome.last_arrival_at = last
        for fault in faults:
            self._at(fault.at, _Kind.NODE_LOST, fault.node)
            self._at(fault.at + fault.seconds, _Kind.NODE_BACK, fault.node)

    def run(self) -> Outcome:
        """Play to the end."""
        if self._events:
            self.now = self.outcome.started_at = self._events[0][0]
        until = self.rules.until
        while self._events and (until is None or self._events[0][0] <= until):
            self._pass_time(self._events[0][0])
            while self._events and self._events[0][0] == self.now:
                _, kind, _, subject = heappop(self._events)
                self._happen(_Kind(kind), subject)
            if self._dirty:
                self._decide()
        self.outcome.ended_at = self.now
        return self.outcome

    def _at(self, when: float, kind: _Kind, subject: object) -> None:
        self._count += 1
        heappush(self._events, (when, kind, self._count, subject))

    def _pass_time(self, now: float) -> None:
        seconds = now - self.now
        cluster = self.board.cluster
        if seconds > 0:
            used = cluster.capacity.gpu_milli - cluster.gpu_free
            held = sum(entry.amount.gpu_milli for entry in self.board.claims.values())
            self.outcome.gpu_milli_seconds_busy += used * seconds
            if now <= self.outcome.last_arrival_at:
                self.outcome.gpu_milli_seconds_busy_arriving += used * seconds
            if self._keeps_someone_waiting():
                self.outcome.seconds_waited_for += seconds
                self.outcome.gpu_milli_seconds_busy_waiting += used * seconds
                pieces = sum(n.gpu_free for n in cluster.nodes if 0 < n.gpu_free < n.gpu_milli)
                self.outcome.gpu_milli_seconds_fragmented += pieces * seconds
            self.outcome.gpu_milli_seconds_held += held * seconds
        self.now = now

    def _keeps_someone_waiting(self) -> bool:
        return any(line.entries for line in self.board.lines.values())

    def _happen(self, kind: _Kind, subject: object) -> None:
        match kind, subject:
            case _Kind.ARRIVAL, Arrival() as arrival:
                self._arrive(arrival)
            case _Kind.END, _End() as end:
                self._end(end)
            case _Kind.GONE, Entry() as entry:
                if entry.phase is Phase.STOPPING and self._is_current(entry):
                    self._vacate(entry)
            case _Kind.NODE_LOST, str() as name:
                self._lose(NodeName(name))
            case _Kind.NODE_BACK, str() as name:
                self.board.set_open(NodeName(name), True)
                self._dirty = True
            case _:
                self._dirty = True

    def _arrive(self, arrival: Arrival) -> None:
        job = arrival.job
        self.board.submit(job)
        self._run_seconds[job.id] = arrival.run_seconds
        self.outcome.records[job.id] = Record(
            self.now, arrival.run_seconds, job.amount_min.gpu_milli, job.queue
        )
        if job.not_before > self.now:
            self._at(job.not_before, _Kind.WAKE, None)
        self._dirty = True

    def _is_current(self, entry: Entry) -> bool:
        return self.board.entries.get(entry.job.id) is entry

    def _end(self, end: _End) -> None:
        """The job's work is done, unless it was stopped or stood still in the meantime."""
        entry = end.entry
        if not self._is_current(entry) or entry.phase not in {Phase.RUNNING, Phase.STOPPING}:
            return
        if entry.incomplete_since is not None or entry.started_at != end.started_at:
            return
        self.board.finish(entry.job.id)
        record = self.outcome.records[entry.job.id]
        record.finished_at = self.now
        self._move(entry.job.id, State.SUCCEEDED)
        self._dirty = True

    def _lose(self, name: NodeName) -> None:
        board = self.board
        index = board.cluster.by_name[name].index
        for entry in list(board.stopping.values()):
            if any(seat.node == index for seat in entry.seats):
                self._vacate(entry)
        board.lose_node(name, self.now)
        if board.incomplete:
            self._at(self.now + board.profile.patience_seconds, _Kind.WAKE, None)
        self._dirty = True

    def _decide(self) -> None:
        """Cycles until nothing more is decided at this moment."""
        self._dirty = False
        for _ in range(CYCLES_PER_MOMENT_MAX):
            decided = plan(self.board, self.now)
            self.outcome.cycles += 1
            stopping = self._apply(decided)
            if self._watch is not None:
                self._watch(self.board, decided)
            if not (stopping and self.rules.grace_seconds == 0):
                break
        else:
            raise InternalFailure("The policy displaces jobs in circles.")
        if self.rules.drops_blocked:
            for line in self.board.lines.values():
                for entry in list(line.entries):
                    self.board.finish(entry.job.id, succeeded=False)
        if self.rules.keeps_curve:
            cluster = self.board.cluster
            used = cluster.capacity.gpu_milli - cluster.gpu_free
            self.outcome.curve.append((self.now, used))

    def _apply(self, decided: Plan) -> bool:
        """Carry out the plan; True when somebody has gone and the room must be given out again."""
        before = {d.job: self.board.entries[d.job] for d in decided.decisions}
        broken = {job for job, entry in before.items() if entry.incomplete_since is not None}
        if self.rules.grace_seconds == 0:
            self._apply_at_once(decided.decisions)
        else:
            apply(self.board, decided.decisions, self.now)
        again = False
        for decision in decided.decisions:
            self.outcome.decisions += 1
            entry = before[decision.job]
            match decision:
                case Start():
                    self._started(entry)
                case Preempt():
                    self._preempted(entry)
                    again = True
                case Release():
                    self._released(entry, decision.not_before)
                    again = True
                case Complete():
                    if decision.job in broken and entry.incomplete_since is None:
                        self._work(entry, again=True)
                case Claim() | Renounce():
                    again = again or isinstance(decision, Renounce)
                case _:
                    assert_never(decision)
        return again

    def _apply_at_once(self, decisions: tuple[Decision, ...]) -> None:
        """Without notice periods a preempted job has gone before the next decision."""
        for decision in decisions:
            apply(self.board, (decision,), self.now)
            if isinstance(decision, Preempt):
                self._vacate(self.board.entries[decision.job])

    def _started(self, entry: Entry) -> None:
        job = entry.job
        record = self.outcome.records[job.id]
        if record.first_start < 0:
            record.first_start = self.now
        self._work(entry, again=entry.attempt > 1)
        self._move(job.id, State.STARTING)
        self._move(job.id, State.RUNNING)

    def _work(self, entry: Entry, *, again: bool) -> None:
        """From now on the gang works on what is left."""
        job = entry.job
        restart = job.restart_seconds if again else 0.0
        left = max(self._run_seconds[job.id] - job.saved_seconds, 0.0) + restart
        self._at(self.now + left, _Kind.END, _End(entry, entry.started_at))

    def _preempted(self, entry: Entry) -> None:
        record = self.outcome.records[entry.job.id]
        record.preemptions += 1
        gpus = entry.amount.gpu_milli / 1000
        self.outcome.gpu_seconds_lost += seconds_lost(entry, self.now) * gpus
        self._move(entry.job.id, State.STOPPING)
        if self.rules.grace_seconds:
            self._at(self.now + self.rules.grace_seconds, _Kind.GONE, entry)
        else:
            self._move(entry.job.id, State.QUEUED)

    def _vacate(self, entry: Entry) -> None:
        job_id = entry.job.id
        self.board.requeue(job_id, progressed(entry, self.now, preempted=True))
        if self.rules.grace_seconds:
            self._move(job_id, State.QUEUED)
        self._dirty = True

    def _released(self, entry: Entry, not_before: float) -> None:
        self.outcome.records[entry.job.id].releases += 1
        self._move(entry.job.id, State.BACKING_OFF)
        self._move(entry.job.id, State.QUEUED)
        self._at(not_before, _Kind.WAKE, None)

    def _move(self, job_id: JobId, state: State) -> None:
        record = self.outcome.records[job_id]
        record.state = advance(record.state, state)


def with_estimates(arrivals: Iterable[Arrival], factor: Callable[[], float]) -> list[Arrival]:
    """The same jobs, each estimate off by the next factor."""
    wrong = []
    for arrival in arrivals:
        job = replace(arrival.job, estimate_seconds=arrival.run_seconds * factor())
        wrong.append(replace(arrival, job=job))
    return wrong
