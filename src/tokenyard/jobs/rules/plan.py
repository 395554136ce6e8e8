"""One cycle: from the board and the time to decisions, with one dominant reason for who waits.

    claims → half gangs → waiting jobs in the profile's order
                            ├─ fits: start
                            ├─ displaces somebody: preempt and claim
                            └─ waits: a reservation, or only a reason
           → gangs that grow, when nobody waits for room

A pure function: the board is worked on as a trial and is afterwards what it was. It does not know
executors, storage or clocks; the simulator and production call it alike.
"""

from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import assert_never

from tokenyard.jobs.rules.backfill import Leaving, Reservation, reserve
from tokenyard.jobs.rules.board import Board, Entry, Line, Phase
from tokenyard.jobs.rules.claims import all_open, in_order, is_coming
from tokenyard.jobs.rules.decisions import (
    Blocked,
    Claim,
    Complete,
    Decision,
    Plan,
    Preempt,
    Release,
    Renounce,
    Start,
)
from tokenyard.jobs.rules.elastic import members_allowed
from tokenyard.jobs.rules.gangs import Release as LetGo
from tokenyard.jobs.rules.gangs import (
    Shortfall,
    Wait,
    diagnose,
    near,
    rest_of,
    seat_gang,
    seated_by_role,
    settle,
)
from tokenyard.jobs.rules.growth import grow
from tokenyard.jobs.rules.ordering import Ordering, Source
from tokenyard.jobs.rules.preemption import Search
from tokenyard.jobs.rules.profile import Passing, Taking
from tokenyard.jobs.rules.replacement import above_share, less_urgent, reason_for
from tokenyard.jobs.rules.workload import Job, Request, Seats, amount_of
from tokenyard.vocabulary.errors import Conflict
from tokenyard.vocabulary.ids import JobId, QueueName
from tokenyard.vocabulary.reasons import Reason

# Reasons that time alone cures: a reservation makes sense.
_PASSING_REASONS = {Reason.INSUFFICIENT_RESOURCES, Reason.FRAGMENTED, Reason.TOPOLOGY}


def plan(board: Board, now: float) -> Plan:
    """What to do now. The board is unchanged but for waking jobs whose time has come."""
    board.wake(now)
    mark = board.cluster.mark()
    charged = board.queues.here()
    was_kept, board.queues.keeps_journal = board.queues.keeps_journal, True
    try:
        cycle = Cycle(board, now)
        cycle.honour_claims()
        cycle.settle_gangs()
        cycle.admit()
        if board.profile.taking is Taking.REPLACE:
            # Afterwards the trial is that of the last try, which need not be the best: no growth.
            if cycle.blocked:
                cycle = _replaced(board, now, mark, charged) or cycle
            return cycle.result()
        waits = any(one.reason in _PASSING_REASONS for one in cycle.blocked.values())
        if board.growing and not waits and not cycle.search.spent:
            cycle.decisions += grow(board)
        return cycle.result()
    finally:
        board.cluster.undo(mark)
        board.queues.rewind(charged)
        board.queues.keeps_journal = was_kept


def _replaced(board: Board, now: float, mark: int, charged: int) -> "Cycle | None":
    """The cycle again with running jobs lifted; None when nobody who waits would gain.

    First only jobs of queues above their share are lifted, then the less urgent ones too, and last,
    where jobs may be moved, everyone lifted is seated anew: who need not be disturbed is not.
    """
    lifted: dict[JobId, Entry] = {}
    best: Cycle | None = None
    stages: list[tuple[list[Entry], bool]] = [
        (above_share(board, now), True),
        (less_urgent(board, now), True),
    ]
    if board.profile.moves:
        stages.append(([], False))
    for more, stays in stages:
        found = {entry.job.id: entry for entry in more if entry.job.id not in lifted}
        lifted |= found
        if not lifted or (stays and not found):
            continue
        cycle = _lift_and_admit(board, now, (mark, charged), list(lifted.values()), stays=stays)
        if cycle.gained > (best.gained if best is not None else 0):
            best = cycle
        if not any(blocked.reason in _PASSING_REASONS for blocked in cycle.blocked.values()):
            break
    return best


def _lift_and_admit(
    board: Board, now: float, start: tuple[int, int], entries: list[Entry], *, stays: bool
) -> "Cycle":
    """One try. Where jobs may not be moved, it is first found out who would lose at all.

    Otherwise a newcomer could take the seat of somebody who has a right to stay. In the first pass
    everyone may sit anywhere; in the second only its losers are lifted.
    """

    def attempt(lifted: list[Entry], *, shifts: bool) -> Cycle:
        board.cluster.rewind(start[0])
        board.queues.rewind(start[1])
        cycle = Cycle(board, now)
        cycle.honour_claims()
        cycle.settle_gangs()
        cycle.lift(lifted, stays=stays, shifts=shifts)
        cycle.admit()
        return cycle

    if board.profile.moves:
        return attempt(entries, shifts=True)
    trial = attempt(entries, shifts=True)
    if trial.displaced:
        exact = attempt(trial.displaced, shifts=False)
        if exact.gained >= trial.gained:
            return exact
    return attempt(entries, shifts=False)


class Cycle:
    """The working state of one cycle."""

    def __init__(self, board: Board, now: float) -> None:
        self.board = board
        self.now = now
        self.profile = board.profile
        self.decisions: list[Decision] = []
        # Why the first job that is left in a line waits; those behind it wait for the same.
        self.blocked: dict[int, Blocked] = {}
        # Why one job waits, where that is not its line's reason.
        self.single: dict[JobId, Blocked] = {}
        self.reservations: list[Reservation] = []
        self.search = Search(board, now)
        self._searches = 0
        self._strict: dict[QueueName, JobId] = {}
        self._started: list[Leaving] = []
        self._lifted: dict[JobId, Entry] = {}
        self._stays = self._shifts = True
        # Lifted jobs that found no seat again.
        self.displaced: list[Entry] = []
        # Jobs that a reservation has kept waiting, by line and in all.
        self._passed: dict[int, int] = {}
        self._held_back_count = 0
        # The fewest members of a request that found no seats beside those reservations.
        self._crowded: dict[tuple[Request, tuple[int, ...]], int] = {}
        # How many who waited get seats.
        self.gained = 0

    def result(self) -> Plan:
        """The plan, its decisions in the order in which they must be applied."""
        return Plan(
            self.now,
            self.board.version,
            in_order(self.decisions, self._lifted),
            self.blocked,
            self.single,
            tuple(self.reservations),
        )

    def honour_claims(self) -> None:
        """Start who can now sit on what was held for it; hold the free part for the others."""
        cluster = self.board.cluster
        for entry in list(self.board.claims.values()):
            job = entry.job
            if cluster.is_free(entry.seats) and all_open(self.board, entry.seats):
                cluster.take_all(entry.seats)
                self.decisions.append(Start(job.id, entry.seats, Reason.SEATS_WERE_HELD))
                self._note_start(entry.seats, job)
            elif not all_open(self.board, entry.seats) or not is_coming(self.board, entry.seats):
                self.decisions.append(Renounce(job.id))
            else:
                for seat in entry.seats:
                    cluster.take(cluster.part_free(seat))
                self.single[job.id] = Blocked(Reason.VICTIMS_STOPPING, job.id)

    def settle_gangs(self) -> None:
        """Complete gangs that lost members, or release what they hold when patience is over."""
        for entry in list(self.board.incomplete.values()):
            since = entry.incomplete_since
            assert since is not None
            rest = rest_of(entry.job, entry.seats)
            allowed = near(self.board.cluster, entry.job, entry.seats)
            seats = seat_gang(self.board.floor, rest, None, allowed, ends_at=entry.ends_at)
            if not isinstance(seats, Shortfall):
                self.decisions.append(Complete(entry.job.id, seats))
                self.board.queues.charge(entry.job.queue, amount_of(seats), entry.job.priority)
                continue
            self.single[entry.job.id] = Blocked(Reason.GANG_INCOMPLETE, entry.job.id, seats)
            settlement = settle(
                seated_by_role=seated_by_role(entry.job, entry.seats),
                roles=entry.job.roles,
                incomplete_since=since,
                now=self.now,
                patience_seconds=self.profile.patience_seconds,
                attempt=entry.attempt,
                back_off_seconds=self.profile.back_off_seconds,
                back_off_seconds_max=self.profile.back_off_seconds_max,
            )
            if isinstance(settlement, LetGo):
                self.decisions.append(Release(entry.job.id, settlement.not_before))
            elif isinstance(settlement, Wait):
                self._displaces_for(entry, rest)
                self.single[entry.job.id] = Blocked(
                    Reason.GANG_INCOMPLETE, entry.job.id, seats, until=settlement.until
                )

    def lift(self, entries: list[Entry], *, stays: bool, shifts: bool) -> None:
        """Take running jobs off their seats, to be tried again in order with those who wait.

        With `stays` a job sits down where it was if it can; with `shifts` elsewhere if it cannot.
        """
        self._stays, self._shifts = stays, shifts
        for entry in entries:
            self.board.cluster.give_all(entry.seats)
            self.board.queues.refund(entry.job.queue, entry.amount, entry.job.priority)
            self._lifted[entry.job.id] = entry

    def admit(self) -> None:
        """Try jobs in the profile's order until nobody else can start."""
        ordering = Ordering(self.board, self.now)
        sources = ordering.sources(list(self._lifted.values()))
        heap = [(ordering.key(source), source.number, source) for source in sources]
        heapify(heap)
        while heap:
            known, number, source = heappop(heap)
            key = ordering.key(source)
            if key > known:
                # Shares have grown since; somebody else may come first now.
                heappush(heap, (key, number, source))
                continue
            entry = source.entries[source.cursor]
            if source.lifted:
                self._reseat(entry)
            elif not self._try(entry, source):
                continue
            source.cursor += 1
            if source.cursor < len(source.entries):
                heappush(heap, (ordering.key(source), number, source))

    def _reseat(self, entry: Entry) -> None:
        """A lifted job sits down again where it was, or elsewhere, or is displaced."""
        board, job = self.board, entry.job
        if self._stays and board.cluster.is_free(entry.seats):
            board.cluster.take_all(entry.seats)
            board.queues.charge(job.queue, entry.amount, job.priority)
            return
        seats = seat_gang(board.floor, job) if self._shifts else None
        if isinstance(seats, tuple):
            board.queues.charge(job.queue, amount_of(seats), job.priority)
            if seats == entry.seats or not self.profile.moves:
                return
            self.decisions.append(Claim(job.id, seats))
        else:
            self.displaced.append(entry)
        self.decisions.append(Preempt(job.id, None, reason_for(self.board, self.decisions, job)))
        self.search.spent.add(job.id)

    def _try(self, entry: Entry, source: Source) -> bool:
        """Start the job, or note why not. True when the next of the line may be tried."""
        job, line = entry.job, source.line
        ahead = self._strict.get(job.queue)
        if ahead is not None:
            self.blocked[line.number] = Blocked(Reason.BEHIND_IN_QUEUE, ahead)
            return False
        refused = self.board.queues.refuse(job.queue, job.amount_min, job.priority)
        shortfall: Shortfall | None = None
        if refused is None:
            ends_at = self.now + self.profile.seconds_of(job)
            found = self._seat(job, ends_at)
            if found is None:
                return self._held_back(source, ends_at)
            if not isinstance(found, Shortfall):
                self._start(entry, found, ends_at)
                return True
            refused, shortfall = found.reason, found
        if self._preempt_for(entry):
            return True
        return self._wait(entry, line, Blocked(refused, job.id, shortfall))

    def _seat(self, job: Job, ends_at: float) -> Seats | Shortfall | None:
        """Seats that delay no reservation; None when there are seats, but only such as would."""
        board, floor = self.board, self.board.floor
        limits = members_allowed(board.queues, job)
        limiting = [r for r in self.reservations if ends_at > r.start]
        if not limiting:
            return seat_gang(floor, job, limits, ends_at=ends_at)
        # Room only shrinks within a cycle, so what has failed for so many members fails again; a
        # long queue would otherwise look at every node for every job.
        plain = len(job.roles) == 1 and job.topology is None and not job.avoid_nodes
        crowd = (job.roles[0].request, tuple(id(r) for r in limiting)) if plain else None
        if crowd is not None and job.members_min >= self._crowded.get(crowd, job.members_min + 1):
            short = floor.index(job.roles[0].request).total < job.members_min
            return diagnose(floor, job) if short else None
        here = board.cluster.here()
        requests = {role.request for role in job.roles}

        def allowed(node: int) -> bool:
            return all(r.lets_pass(node, q, ends_at) for r in limiting for q in requests)

        seats = seat_gang(floor, job, limits, allowed, ends_at=ends_at)
        if not isinstance(seats, Shortfall):
            if all(reservation.lets_all_pass(seats, ends_at) for reservation in limiting):
                return seats
            board.cluster.rewind(here)
            return None
        if crowd is not None:
            self._crowded[crowd] = job.members_min
        otherwise = seat_gang(floor, job, limits)
        board.cluster.rewind(here)
        return otherwise if isinstance(otherwise, Shortfall) else None

    def _start(self, entry: Entry, seats: Seats, ends_at: float) -> None:
        job = entry.job
        self.board.queues.charge(job.queue, amount_of(seats), job.priority)
        for reservation in self.reservations:
            reservation.note(seats, ends_at)
        self.gained += 1
        how = Reason.BACKFILLED if self.reservations else Reason.IN_ORDER
        self.decisions.append(Start(job.id, seats, how))
        self._note_start(seats, job)

    def _note_start(self, seats: Seats, job: Job) -> None:
        ends_at = self.now + self.profile.seconds_of(job)
        self._started.append((ends_at, seats))
        self.board.expect(job, seats, ends_at)

    def _preempt_for(self, entry: Entry) -> bool:
        job = entry.job
        if self.profile.taking not in {Taking.VICTIMS, Taking.FAIR_VICTIMS}:
            return False
        if self._searches >= self.profile.preemptors_max or not self.board.running:
            return False
        if not self.search.may_find(job):
            return False
        self._searches += 1
        found = self.search.find(job)
        if found is None:
            return False
        board = self.board
        for victim, reason in found.victims:
            self.decisions.append(Preempt(victim.job.id, job.id, reason))
            self.search.spent.add(victim.job.id)
            board.queues.refund(victim.job.queue, victim.amount, victim.job.priority)
        board.queues.charge(job.queue, amount_of(found.seats), job.priority)
        for seat in found.seats:
            board.cluster.take(board.cluster.part_free(seat))
        self.decisions.append(Claim(job.id, found.seats))
        self.gained += 1
        return True

    def _wait(self, entry: Entry, line: Line, blocked: Blocked) -> bool:
        """Note the reason, and plan a start if one may be; True to go on with the line."""
        job = entry.job
        self.blocked[line.number] = blocked
        if self.profile.passing is Passing.STRICT:
            self._strict[job.queue] = job.id
            return False
        if len(self.reservations) >= self.profile.reserves:
            return False
        if blocked.reason not in _PASSING_REASONS:
            return False
        reservation = reserve(
            self.board.floor,
            job,
            self.profile.seconds_of(job),
            self.now,
            leaving(self) + self._started,
            earlier=self.reservations,
        )
        if reservation is None:
            return False
        self.reservations.append(reservation)
        self.single[job.id] = replace(blocked, planned_start=reservation.start)
        # Each of the next ones may have a planned start too.
        return len(self.reservations) < self.profile.reserves

    def _held_back(self, source: Source, ends_at: float) -> bool:
        """It would delay a reservation; a shorter job of the same line may not.

        Those behind it that would stay past the last planned start too are passed over at once:
        they ask for the same room, and it only shrinks within a cycle.
        """
        number, entries = source.line.number, source.entries
        blocked = Blocked(Reason.RESERVED_FOR_OTHERS, self.reservations[0].job.id)
        last = max(reservation.start for reservation in self.reservations)
        while True:
            self.single[entries[source.cursor].job.id] = blocked
            tried = self._passed[number] = self._passed.get(number, 0) + 1
            self._held_back_count += 1
            many = self._held_back_count >= self.profile.passing_tries_max
            if many or tried >= self.profile.passing_jobs_max:
                self.blocked[number] = blocked
                return False
            following = source.cursor + 1
            if ends_at <= last or following == len(entries):
                return True
            if self.now + self.profile.seconds_of(entries[following].job) <= last:
                return True
            source.cursor = following

    def _displaces_for(self, entry: Entry, rest: Job) -> None:
        """Make room for the rest of a gang; it sits down in the next cycle, before all others."""
        if self.profile.taking not in {Taking.VICTIMS, Taking.FAIR_VICTIMS}:
            return
        if self.board.stopping or self._searches >= self.profile.preemptors_max:
            return
        self._searches += 1
        found = self.search.find(rest)
        if found is None:
            return
        for victim, reason in found.victims:
            self.decisions.append(Preempt(victim.job.id, entry.job.id, reason))
            self.search.spent.add(victim.job.id)
        for seat in found.seats:
            self.board.cluster.take(self.board.cluster.part_free(seat))


def leaving(cycle: Cycle) -> list[Leaving]:
    """Who sits on the cluster now, by expected end; who outlived that goes on a while."""
    late = cycle.now + cycle.profile.overrun_seconds
    return [
        (end if end > cycle.now else late, entry.seats)
        for end, _, entry in cycle.board.ends
        if entry.job.id not in cycle.search.spent and entry.seats
    ]


def carry_out(board: Board, decided: Plan) -> None:
    """Apply a plan to the board that it was made for; Conflict, and nothing done, on any other.

    So a plan that is applied twice, or after something has changed, does no harm.
    """
    if board.version != decided.version:
        raise Conflict(f"The plan is for version {decided.version}; this is {board.version}.")
    apply(board, decided.decisions, decided.now)


def apply(board: Board, decisions: tuple[Decision, ...], now: float) -> None:
    """Carry decisions out on the board. Whoever is preempted is stopping until it has gone."""
    for decision in decisions:
        match decision:
            case Start(job, seats):
                board.start(job, seats, now)
            case Claim(job, seats):
                # A job that is moved can claim only once it has gone.
                if board.entries[job].phase is Phase.WAITING:
                    board.claim(job, seats)
            case Preempt(job, _, _):
                board.stop(job)
            case Release(job, not_before):
                entry = board.entries[job]
                board.requeue(job, replace(entry.job, not_before=not_before))
            case Renounce(job):
                board.renounce(job)
            case Complete(job, seats):
                board.complete(job, seats, now)
            case _:
                assert_never(decision)
