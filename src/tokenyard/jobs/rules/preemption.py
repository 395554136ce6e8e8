"""Whom to displace so that a blocked job can start: whole jobs, no more than needed, the cheapest.

Victims are gathered greedily in order of preference until the job fits, then every one that turns
out not to be needed is spared, the most costly first: the set is minimal. The search runs once over
all candidates and, for a job of one member, once for each node; the cheapest result counts.
A job can only displace lower priorities, newer equals, borrowers of what its queue has lent, or
queues whose share stays larger: each of these orders is strict, so two jobs cannot displace each
other in turn. Works inside an open trial, and leaves it as it was.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tokenyard.jobs.rules.board import Board, Entry, seconds_lost
from tokenyard.jobs.rules.fairness import Reclaim, Within
from tokenyard.jobs.rules.gangs import Shortfall, seat_gang
from tokenyard.jobs.rules.profile import Taking
from tokenyard.jobs.rules.workload import NOTHING, Amount, Job, Seats
from tokenyard.vocabulary.ids import JobId, QueueName
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Displacement:
    """Who goes, why, and where the preemptor will sit."""

    victims: tuple[tuple[Entry, Reason], ...]
    seats: Seats
    # GPU-seconds of work that is thrown away (member-seconds for jobs without GPUs).
    cost: float


def cost_of(entry: Entry, now: float) -> float:
    """What displacing the job throws away, in GPU-seconds."""
    return seconds_lost(entry, now) * max(entry.amount.gpu_milli / 1000, 1.0)


class Search:
    """One cycle's searches for victims; `spent` are jobs that are leaving already."""

    def __init__(self, board: Board, now: float) -> None:
        self.board = board
        self.now = now
        self.spent: set[JobId] = set()

    def may_find(self, job: Job) -> bool:
        """Whether the rules of its queue let the job displace anybody at all."""
        if self.board.profile.taking is Taking.FAIR_VICTIMS:
            return True
        spec = self.board.queues.spec(job.queue)
        return spec.within is not Within.NEVER or spec.reclaim is not Reclaim.NEVER

    def find(self, job: Job) -> Displacement | None:
        """The cheapest minimal displacement that lets the job start now, or None."""
        best: Displacement | None = None
        for candidates, may_borrow in self._pools(job):
            if not candidates:
                continue
            attempt = _Attempt(self, job, may_borrow)
            best = attempt.run(candidates)
            if best is not None:
                return self._cheaper_by_node(attempt, candidates, best)
        return best

    def _cheaper_by_node(
        self, attempt: "_Attempt", candidates: list[Entry], best: Displacement
    ) -> Displacement:
        job = attempt.job
        if job.members_max > 1 or len(best.victims) == 0:
            return best
        by_node: dict[int, list[Entry]] = {}
        for entry in candidates:
            for node in {seat.node for seat in entry.seats}:
                by_node.setdefault(node, []).append(entry)
        nodes = sorted(by_node, key=lambda node: sum(map(self.cost, by_node[node])))
        for node in nodes[: self.board.profile.preemption_nodes_max]:
            # Others elsewhere may be needed for quota, so they stay at the end of the list.
            local = set(map(id, by_node[node]))
            ordered = [*by_node[node], *(e for e in candidates if id(e) not in local)]
            found = attempt.run(ordered)
            if found is not None and self.rank(found) < self.rank(best):
                best = found
        return best

    def cost(self, entry: Entry) -> float:
        """GPU-seconds that displacing it throws away."""
        return cost_of(entry, self.now)

    @staticmethod
    def rank(found: Displacement) -> tuple[int, float, int]:
        """Lower is better: the highest priority among the victims, the cost, their number."""
        return (max(e.job.priority for e, _ in found.victims), found.cost, len(found.victims))

    def _pools(self, job: Job) -> Iterator[tuple[list[Entry], bool]]:
        """Candidates, best victims first, and whether the job may borrow with them gone."""
        board = self.board
        spec = board.queues.spec(job.queue)
        own = [e for e in self._displaceable() if self._loses_at_home(e, job, spec.within)]
        if board.profile.taking is Taking.FAIR_VICTIMS:
            others = [e for e in self._others(job) if self._may_lose(e, job)]
            yield self._ordered(job, own + others), True
            return
        reclaimable = [e for e in self._others(job) if self._reclaims(e, job, spec.reclaim)]
        if reclaimable:
            # Other queues give back only what the job's own queue owns.
            yield self._ordered(job, own + reclaimable), False
            limit = spec.borrow_victim_priority_max
            if limit is not None:
                lowly = [
                    e for e in reclaimable if e.job.priority < job.priority
                    and e.job.priority <= limit
                ]  # fmt: skip
                yield self._ordered(job, own + lowly), True
        yield self._ordered(job, own), True

    def _ordered(self, job: Job, entries: list[Entry]) -> list[Entry]:
        return sorted(
            entries,
            key=lambda e: (
                e.job.queue == job.queue,
                e.job.priority,
                self.cost(e),
                -e.started_at,
                -e.seq,
            ),
        )

    def _displaceable(self) -> Iterable[Entry]:
        profile = self.board.profile
        for entry in self.board.running.values():
            if (
                entry.job.preemptible
                # Half gangs are settled by their own rules, in bounded time.
                and entry.incomplete_since is None
                and entry.job.id not in self.spent
                and self.now - entry.started_at >= profile.protected_seconds(entry.job.preemptions)
            ):
                yield entry

    def _others(self, job: Job) -> list[Entry]:
        """Candidates in other queues of the same tree that use more than is theirs."""
        queues = self.board.queues
        root = queues.root(job.queue)
        borrows: dict[QueueName, bool] = {}
        found = []
        for entry in self._displaceable():
            name = entry.job.queue
            if name == job.queue or queues.root(name) != root:
                continue
            if name not in borrows:
                borrows[name] = queues.borrows(name)
            if borrows[name] and self._may_lose(entry, job):
                found.append(entry)
        return found

    def _may_lose(self, entry: Entry, job: Job) -> bool:
        """Nobody is displaced for ever by jobs that are no more urgent."""
        if entry.job.priority < job.priority:
            return True
        return entry.job.preemptions < self.board.profile.preemptions_max

    def _loses_at_home(self, entry: Entry, job: Job, within: Within) -> bool:
        if entry.job.queue != job.queue:
            return False
        match within:
            case Within.NEVER:
                return False
            case Within.LOWER_PRIORITY:
                return entry.job.priority < job.priority
            case Within.LOWER_OR_NEWER_EQUAL:
                if entry.job.priority != job.priority:
                    return entry.job.priority < job.priority
                return entry.job.submitted_at > job.submitted_at and self._may_lose(entry, job)

    def _reclaims(self, entry: Entry, job: Job, reclaim: Reclaim) -> bool:
        match reclaim:
            case Reclaim.NEVER:
                return False
            case Reclaim.LOWER_PRIORITY:
                return entry.job.priority < job.priority
            case Reclaim.ANY:
                return True


class _Attempt:
    """One search with fixed rules; tries candidates in the given order."""

    def __init__(self, search: Search, job: Job, may_borrow: bool) -> None:
        self.search = search
        self.job = job
        self.may_borrow = may_borrow
        board = search.board
        self.cluster = board.cluster
        self.queues = board.queues
        self.floor = board.floor
        self.fair = board.profile.taking is Taking.FAIR_VICTIMS
        self.kind = board.profile.share

    def run(self, candidates: list[Entry]) -> Displacement | None:
        """A minimal displacement from those candidates, or None; the trial is as before."""
        here, charged = self.cluster.here(), self.queues.here()
        try:
            chosen = self._gather(candidates)
            if chosen is None:
                return None
            kept = self._spare(chosen)
            seats = self._sit()
            if seats is None:
                return None
            cost = sum(self.search.cost(entry) for entry in kept)
            return Displacement(tuple((e, self._reason(e)) for e in kept), seats, cost)
        finally:
            self.cluster.rewind(here)
            self.queues.rewind(charged)

    def _gather(self, candidates: list[Entry]) -> list[Entry] | None:
        rules: list[Callable[[Entry], bool]] = [lambda entry: True]
        if self.fair:
            rules = [self._stays_larger, self._was_larger]
        left = list(candidates)
        chosen: list[Entry] = []
        for rule in rules:
            while left:
                entry = next((e for e in self._by_share(left) if rule(e)), None)
                if entry is None:
                    break
                left.remove(entry)
                chosen.append(entry)
                self._displace(entry)
                if self._fits():
                    return chosen
        return None

    def _by_share(self, entries: list[Entry]) -> list[Entry]:
        """Under fair shares the queue with the largest share loses first; otherwise as given."""
        if not self.fair:
            return entries[:1]
        order: dict[QueueName, float] = {}
        for entry in entries:
            name = entry.job.queue
            if name != self.job.queue and name not in order:
                _, theirs = self.queues.shares_apart(self.job.queue, name, NOTHING, self.kind)
                order[name] = -theirs
        return sorted(entries, key=lambda entry: order.get(entry.job.queue, 1.0))

    def _stays_larger(self, entry: Entry) -> bool:
        """Even without this job its queue's share is no smaller than the preemptor's will be."""
        if entry.job.queue == self.job.queue:
            return True
        mine, theirs = self._shares_after(entry, entry.amount)
        return mine <= theirs

    def _was_larger(self, entry: Entry) -> bool:
        """Its queue's share was larger than the preemptor's will be."""
        if entry.job.queue == self.job.queue:
            return True
        mine, theirs = self._shares_after(entry, NOTHING)
        return mine < theirs

    def _shares_after(self, entry: Entry, minus: Amount) -> tuple[float, float]:
        plus, name = self.job.amount_min, entry.job.queue
        mine, _ = self.queues.shares_apart(self.job.queue, name, plus, self.kind)
        _, theirs = self.queues.shares_apart(self.job.queue, name, minus.times(-1), self.kind)
        return mine, theirs

    def _spare(self, chosen: list[Entry]) -> list[Entry]:
        """Put back whoever is not needed, the most costly first."""
        kept = list(chosen)
        for entry in sorted(chosen, key=lambda e: (-e.job.priority, -self.search.cost(e), e.seq)):
            if len(kept) == 1:
                break
            self._restore(entry)
            if self._fits():
                kept.remove(entry)
            else:
                self._displace(entry)
        return kept

    def _displace(self, entry: Entry) -> None:
        self.cluster.give_all(entry.seats)
        self.queues.refund(entry.job.queue, entry.amount, entry.job.priority)

    def _restore(self, entry: Entry) -> None:
        self.cluster.take_all(entry.seats)
        self.queues.charge(entry.job.queue, entry.amount, entry.job.priority)

    def _fits(self) -> bool:
        job = self.job
        refused = self.queues.refuse(
            job.queue, job.amount_min, job.priority, may_borrow=self.may_borrow
        )
        if refused is not None:
            return False
        here = self.cluster.here()
        seats = seat_gang(self.floor, job, tuple(role.members_min for role in job.roles))
        self.cluster.rewind(here)
        return not isinstance(seats, Shortfall)

    def _sit(self) -> Seats | None:
        """The seats to claim: the smallest gang, for which the victims were chosen."""
        here = self.cluster.here()
        seats = seat_gang(self.floor, self.job, tuple(r.members_min for r in self.job.roles))
        self.cluster.rewind(here)
        return None if isinstance(seats, Shortfall) else seats

    def _reason(self, entry: Entry) -> Reason:
        if entry.job.queue == self.job.queue or entry.job.priority < self.job.priority:
            return Reason.PREEMPTED_BY_PRIORITY
        return Reason.PREEMPTED_FOR_FAIR_SHARE if self.fair else Reason.QUOTA_RECLAIMED
