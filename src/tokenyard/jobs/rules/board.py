"""What the plan looks at: who waits in which line, who sits where, who is leaving.

Decides only in which order alike jobs wait. It is the scheduler's snapshot in a form that takes
deltas, so that a cycle costs what has changed; building it from nothing gives the same plan. It
does not know why anything happens, and nothing here happens by itself: time is an argument.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from heapq import heappop, heappush

from tokenyard.jobs.rules.cluster import Cluster, Node
from tokenyard.jobs.rules.demand import Demand
from tokenyard.jobs.rules.fairness import QueueSpec, QueueTree
from tokenyard.jobs.rules.gangs import Floor, missing
from tokenyard.jobs.rules.placement import LeastFragmentation
from tokenyard.jobs.rules.profile import Order, Profile
from tokenyard.jobs.rules.workload import INFINITY, Amount, Job, Seats, amount_of
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, NotFound
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName

Key = tuple[float, ...]


class Phase(StrEnum):
    """What the plan may do with a job."""

    # For a time or for other jobs; the plan leaves it alone.
    HELD = "held"
    WAITING = "waiting"
    # Waiting for seats that are held for it until their occupants are gone.
    CLAIMING = "claiming"
    RUNNING = "running"
    # Told to go; still on its seats.
    STOPPING = "stopping"


class Entry:
    """One job on the board."""

    __slots__ = ("amount", "attempt", "ends_at", "incomplete_since", "job", "key", "line", "phase",
                 "seats", "seq", "started_at", "unmet")  # fmt: skip

    def __init__(self, job: Job, seq: int, line: "Line", key: Key) -> None:
        self.job = job
        self.seq = seq
        self.line = line
        # Its order among alike jobs; fixed while it waits.
        self.key = key
        self.phase = Phase.WAITING
        # Taken when running or stopping, held when claiming.
        self.seats: Seats = ()
        self.amount = Amount()
        self.started_at = 0.0
        self.ends_at = INFINITY
        # Since when the gang is below its minimum; None while it is whole.
        self.incomplete_since: float | None = None
        self.attempt = 0
        self.unmet: set[JobId] = set()

    def __lt__(self, other: "Entry") -> bool:
        return self.key < other.key


class Line:
    """Waiting jobs of one queue, shape and priority, in order: if the first fits not, none does."""

    __slots__ = ("entries", "number", "queue")

    def __init__(self, number: int, queue: QueueName) -> None:
        self.number = number
        self.queue = queue
        self.entries: list[Entry] = []

    def put(self, entry: Entry) -> None:
        """Into its place; at the end for the common case of a new job."""
        if self.entries and entry < self.entries[-1]:
            insort(self.entries, entry)
        else:
            self.entries.append(entry)

    def drop(self, entry: Entry) -> None:
        """Out of the line."""
        index = bisect_left(self.entries, entry)
        if index == len(self.entries) or self.entries[index] is not entry:
            raise Conflict(f"{entry.job.id} is not in its line.")
        del self.entries[index]


class Board:
    """Every job, queue and node, changed by deltas. Single-threaded."""

    def __init__(
        self,
        nodes: Iterable[Node],
        queues: Iterable[QueueSpec],
        profile: Profile,
        demand: Demand | None = None,
    ) -> None:
        self.profile = profile
        self.cluster = Cluster(nodes)
        self._demand = (demand or Demand()) if profile.learns else None
        mix = None if self._demand is None else self._demand.mix
        self.floor = Floor(
            self.cluster, profile.placement if mix is None else LeastFragmentation(mix)
        )
        self.specs = tuple(queues)
        self.queues = QueueTree(self.specs, self.cluster.capacity)
        self.entries: dict[JobId, Entry] = {}
        self.lines: dict[tuple[object, ...], Line] = {}
        self.running: dict[JobId, Entry] = {}
        self.stopping: dict[JobId, Entry] = {}
        self.claims: dict[JobId, Entry] = {}
        # Running gangs below their minimum, and such as take members while they run.
        self.incomplete: dict[JobId, Entry] = {}
        self.growing: dict[JobId, Entry] = {}
        # (expected end, seq, entry) of all running jobs, soonest first.
        self.ends: list[tuple[float, int, Entry]] = []
        # Raised by every delta; what a decision was made on.
        self.version = 0
        self._held: list[tuple[float, int, JobId]] = []
        self._dependents: dict[JobId, list[JobId]] = {}
        self._seq = 0

    def submit(
        self, job: Job, unmet: Iterable[JobId] | None = None, *, counts: bool = True
    ) -> Entry:
        """A new job. `unmet` names those it waits for; by default who of `after` is still here.

        counts: whether what it asks for is news; it is not when the job was here before.
        """
        if job.id in self.entries:
            raise Conflict(f"Job {job.id} is already here.")
        if job.queue not in self.queues:
            raise InvalidRequest(f"There is no queue {job.queue}.", param="queue")
        mix = self._demand.note(job) if counts and self._demand is not None else None
        if mix is not None:
            self.floor = Floor(self.cluster, LeastFragmentation(mix))
        entry = self._enter(job)
        waits_for = self.entries.keys() & set(job.after) if unmet is None else set(unmet)
        entry.unmet = waits_for - {job.id}
        for other in sorted(entry.unmet):
            self._dependents.setdefault(other, []).append(job.id)
        self._wait(entry)
        self.version += 1
        return entry

    def start(self, job_id: JobId, seats: Seats, now: float) -> Entry:
        """The job sits down there; InternalFailure, and nothing changed, when a seat is taken."""
        entry = self._get(job_id, Phase.WAITING, Phase.CLAIMING)
        self.cluster.take_all(seats)
        if entry.phase is Phase.CLAIMING:
            self._refund(entry)
            del self.claims[job_id]
        else:
            entry.line.drop(entry)
        entry.phase = Phase.RUNNING
        entry.seats = seats
        entry.started_at = now
        entry.attempt += 1
        self._charge(entry)
        self.running[job_id] = entry
        if entry.job.grows:
            self.growing[job_id] = entry
        self._will_end(entry)
        self.version += 1
        return entry

    def claim(self, job_id: JobId, seats: Seats) -> Entry:
        """Hold those seats for a waiting job until their occupants have gone."""
        entry = self._get(job_id, Phase.WAITING)
        entry.line.drop(entry)
        entry.phase = Phase.CLAIMING
        entry.seats = seats
        self.claims[job_id] = entry
        self._charge(entry)
        self.version += 1
        return entry

    def renounce(self, job_id: JobId) -> Entry:
        """Give a claim up; the job waits in its old place."""
        entry = self._get(job_id, Phase.CLAIMING)
        self._refund(entry)
        del self.claims[job_id]
        entry.seats = ()
        self._wait(entry)
        self.version += 1
        return entry

    def stop(self, job_id: JobId) -> Entry:
        """Tell a running job to go: its quota is free at once, its seats when it has gone."""
        entry = self._get(job_id, Phase.RUNNING)
        entry.phase = Phase.STOPPING
        self._refund(entry)
        self._unrun(entry)
        self.stopping[job_id] = entry
        self.version += 1
        return entry

    def requeue(self, job_id: JobId, job: Job) -> Entry:
        """A stopped job has gone and waits again, as `job` (its age kept, its progress noted)."""
        entry = self._get(job_id, Phase.STOPPING, Phase.RUNNING)
        if entry.phase is Phase.RUNNING:
            self.stop(job_id)
        if job.id != job_id:
            raise InvalidRequest("A job keeps its id.", param="job")
        del self.stopping[job_id]
        self.cluster.give_all(entry.seats)
        del self.entries[job_id]
        again = self._enter(job)
        again.attempt = entry.attempt
        self._wait(again)
        self.version += 1
        return again

    def finish(self, job_id: JobId, *, succeeded: bool = True) -> Entry:
        """The job leaves the board, from whatever phase; who waited for its success may go on."""
        entry = self._get(job_id, *Phase)
        if entry.phase is Phase.RUNNING:
            self._refund(entry)
            self._unrun(entry)
            self.cluster.give_all(entry.seats)
        elif entry.phase is Phase.STOPPING:
            del self.stopping[job_id]
            self.cluster.give_all(entry.seats)
        elif entry.phase is Phase.CLAIMING:
            self._refund(entry)
            del self.claims[job_id]
        elif entry.phase is Phase.WAITING:
            entry.line.drop(entry)
        del self.entries[job_id]
        if succeeded:
            for other in self._dependents.pop(job_id, ()):
                waiting = self.entries.get(other)
                if waiting is not None:
                    waiting.unmet.discard(job_id)
                    self._release(waiting, -INFINITY)
        self.version += 1
        return entry

    def lose_node(self, name: NodeName, now: float) -> list[Entry]:
        """The node is gone: nobody new sits there, and its gangs are incomplete. Returns them."""
        self.cluster.set_open(name, False)
        index = self.cluster.by_name[name].index
        hit = [
            entry for entry in self.running.values() if any(s.node == index for s in entry.seats)
        ]
        for entry in hit:
            lost = tuple(seat for seat in entry.seats if seat.node == index)
            self.cluster.give_all(lost)
            self._refund(entry)
            self._unend(entry)
            entry.seats = tuple(seat for seat in entry.seats if seat.node != index)
            self._will_end(entry)
            self._charge(entry)
            if any(missing(entry.job, entry.seats)):
                entry.incomplete_since = now
                self.incomplete[entry.job.id] = entry
        for entry in list(self.claims.values()):
            if any(seat.node == index for seat in entry.seats):
                self.renounce(entry.job.id)
        self.version += 1
        return hit

    def complete(self, job_id: JobId, seats: Seats, now: float) -> Entry:
        """An incomplete gang gets more seats; whole again, it goes on from its last checkpoint."""
        entry = self._get(job_id, Phase.RUNNING)
        self.cluster.take_all(seats)
        self._refund(entry)
        self._unend(entry)
        entry.seats = (*entry.seats, *seats)
        self._charge(entry)
        since = entry.incomplete_since
        if since is not None and not any(missing(entry.job, entry.seats)):
            entry.job = progressed(entry, since)
            entry.incomplete_since = None
            del self.incomplete[job_id]
            entry.started_at = now
        self._will_end(entry)
        self.version += 1
        return entry

    def seat_part(self, job_id: JobId, seats: Seats, now: float) -> Entry:
        """A gang of which only these members could be launched."""
        entry = self.start(job_id, seats, now)
        if any(missing(entry.job, entry.seats)):
            entry.incomplete_since = now
            self.incomplete[job_id] = entry
        return entry

    def set_open(self, name: NodeName, is_open: bool) -> None:
        """Cordon a node, or let it take members again; who sits there stays."""
        if name not in self.cluster.by_name:
            raise NotFound(f"There is no node {name}.")
        self.cluster.set_open(name, is_open)
        self.version += 1

    def wake(self, now: float) -> None:
        """Put jobs whose time has come into their lines."""
        while self._held and self._held[0][0] <= now:
            _, seq, job_id = heappop(self._held)
            entry = self.entries.get(job_id)
            if entry is not None and entry.seq == seq and entry.phase is Phase.HELD:
                self._release(entry, now)

    def next_event(self, now: float) -> float | None:
        """The next time at which a job is expected to end, or a held one may go on; None: never."""
        times = [self.ends[0][0]] if self.ends else []
        times += [when for when, _, _ in self._held[:1] if when > now]
        times = [max(when, now) for when in times if when != INFINITY]
        return min(times, default=None)

    def expect(self, job: Job, seats: Seats, ends_at: float) -> None:
        """Let placement know when who sits there should have gone, if the job tells of it."""
        if self._tells(job):
            self.cluster.expect(seats, ends_at)

    def ripen(self, job_id: JobId) -> None:
        """Put a held job into its line, whatever it waits for."""
        entry = self._get(job_id, Phase.HELD, Phase.WAITING)
        if entry.phase is Phase.HELD:
            entry.unmet.clear()
            self._release(entry, INFINITY)

    def _get(self, job_id: JobId, *phases: Phase) -> Entry:
        entry = self.entries.get(job_id)
        if entry is None:
            raise NotFound(f"There is no job {job_id} on the board.")
        if entry.phase not in phases:
            raise Conflict(f"Job {job_id} is {entry.phase}.")
        return entry

    def _enter(self, job: Job) -> Entry:
        shape = (job.queue, job.priority, job.preemptible, job.shape)
        line = self.lines.get(shape)
        if line is None:
            line = self.lines[shape] = Line(len(self.lines), job.queue)
        self._seq += 1
        entry = Entry(job, self._seq, line, _key_of(self, job, self._seq))
        self.entries[job.id] = entry
        return entry

    def _wait(self, entry: Entry) -> None:
        if entry.unmet or entry.job.not_before > 0:
            entry.phase = Phase.HELD
            heappush(self._held, (entry.job.not_before, entry.seq, entry.job.id))
        else:
            entry.phase = Phase.WAITING
            entry.line.put(entry)

    def _release(self, entry: Entry, now: float) -> None:
        # Who is held for others is put back by the last of them, who for a time by `wake`.
        ready = entry.job.not_before <= max(now, 0.0)
        if entry.phase is Phase.HELD and not entry.unmet and ready:
            entry.phase = Phase.WAITING
            entry.line.put(entry)
        elif entry.phase is Phase.HELD and not entry.unmet:
            heappush(self._held, (entry.job.not_before, entry.seq, entry.job.id))

    def _charge(self, entry: Entry) -> None:
        entry.amount = amount_of(entry.seats)
        self.queues.charge(entry.job.queue, entry.amount, entry.job.priority)

    def _refund(self, entry: Entry) -> None:
        self.queues.refund(entry.job.queue, entry.amount, entry.job.priority)

    def _unrun(self, entry: Entry) -> None:
        del self.running[entry.job.id]
        self.incomplete.pop(entry.job.id, None)
        self.growing.pop(entry.job.id, None)
        self._unend(entry)

    def _will_end(self, entry: Entry) -> None:
        entry.ends_at = entry.started_at + self.profile.seconds_of(entry.job)
        insort(self.ends, (entry.ends_at, entry.seq, entry))
        self.expect(entry.job, entry.seats, entry.ends_at)

    def _tells(self, job: Job) -> bool:
        # A default is good enough for an order, but no place is better for it.
        return self.profile.aligns and job.seconds_expected is not None

    def _unend(self, entry: Entry) -> None:
        del self.ends[bisect_left(self.ends, (entry.ends_at, entry.seq, entry))]
        if self._tells(entry.job):
            self.cluster.forget(entry.seats, entry.ends_at)


def _key_of(board: Board, job: Job, seq: int) -> Key:
    """The order of alike jobs."""
    key: list[float] = []
    ageing = board.profile.ageing_seconds
    for order in board.profile.order:
        if order is Order.PRIORITY:
            # All priorities rise at one rate, so the order of two jobs never changes.
            key.append(-job.priority + (job.submitted_at / ageing if ageing else 0.0))
        elif order is Order.AGE:
            key.append(job.submitted_at)
        elif order is Order.REMAINING:
            key.append(board.profile.seconds_of(job))
        elif order is Order.SERVICE:
            key.append(board.profile.seconds_of(job) * job.amount_min.gpu_milli)
        elif order is Order.STRETCH:
            key.append(board.profile.stretched(job))
    return (*key, job.submitted_at, seq)


def progressed(entry: Entry, now: float, *, preempted: bool = False) -> Job:
    """The job as it waits again: work up to its last checkpoint is kept, the rest is lost."""
    job = entry.job
    ran = max(now - entry.started_at - (job.restart_seconds if job.saved_seconds else 0.0), 0.0)
    saved = job.saved_seconds
    if job.checkpoint_seconds == 0.0:
        saved += ran
    elif job.saved_at is not None:
        saved += min(max(job.saved_at - entry.started_at, 0.0), ran)
    elif job.checkpoint_seconds is not None:
        saved += ran - ran % job.checkpoint_seconds
    return replace(
        job,
        saved_seconds=saved,
        saved_at=None,
        preemptions=job.preemptions + preempted,
        not_before=0.0,
    )


def seconds_lost(entry: Entry, now: float) -> float:
    """What a stop now would throw away: work since the last checkpoint, and the restart."""
    ran = max(now - entry.started_at, 0.0)
    checkpoint, saved_at = entry.job.checkpoint_seconds, entry.job.saved_at
    if checkpoint == 0.0:
        lost = 0.0
    elif saved_at is not None:
        lost = min(max(now - saved_at, 0.0), ran)
    else:
        lost = ran if checkpoint is None else ran % checkpoint
    return lost + entry.job.restart_seconds
