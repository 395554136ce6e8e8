"""The board of the rules, kept equal to the records.

Decides nothing: a record that changed is taken off the board and put back as it is now, so that the
board is always what building it from all records would give. It does not know stores or executors.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenyard.jobs.records import JobRecord, NodeRecord, NodeState
from tokenyard.jobs.rules.board import Board, Phase
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.demand import Demand, asked_by
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.profile import Profile
from tokenyard.jobs.rules.states import State, holds_seats, is_final
from tokenyard.jobs.shape import index_seats, job_of
from tokenyard.vocabulary.errors import InternalFailure
from tokenyard.vocabulary.ids import JobId, NodeName


class Roster:
    """All open jobs as records, and the board that shows them."""

    def __init__(
        self, queues: Iterable[QueueSpec], profile: Profile, past: Iterable[JobRecord] = ()
    ) -> None:
        self._queues = tuple(queues)
        self._profile = profile
        # What jobs ask for, from those that have ended on; it outlives every board.
        self._demand = Demand(asked_by(job_of(record) for record in past))
        self.records: dict[JobId, JobRecord] = {}
        # Jobs by what the scheduler has to look at in every cycle.
        self.seated: dict[JobId, JobRecord] = {}
        self.dormant: dict[JobId, JobRecord] = {}
        self.with_deadline: set[JobId] = set()
        # How many open jobs name each as one that has to succeed first.
        self._awaited: Counter[str] = Counter()
        # Ended jobs of those.
        self.ended: dict[JobId, State] = {}
        # Seated jobs whose seats are not there: a node shrank or vanished.
        self.misfits: set[JobId] = set()
        self.nodes: dict[NodeName, NodeRecord] = {}
        self.names: list[NodeName] = []
        self.board = Board((), self._queues, profile, self._demand)

    def set_nodes(self, nodes: Sequence[NodeRecord], now: float) -> None:
        """What the nodes are now; the board is built anew only when their sizes changed."""
        before = [_size(self.nodes[name]) for name in self.names]
        self.nodes = {node.name: node for node in nodes}
        self.names = sorted(self.nodes)
        if [_size(self.nodes[name]) for name in self.names] != before:
            self._rebuild()
        for name in self.names:
            is_open = self.nodes[name].state(now) is NodeState.OPEN
            if self.board.cluster.by_name[name].open != is_open:
                self.board.set_open(name, is_open)

    def unknown_dependencies(self, records: Iterable[JobRecord]) -> list[JobId]:
        """Jobs that those wait for and of which nothing is known here."""
        wanted = {JobId(job) for record in records for job in record.spec.after}
        return sorted(wanted - self.records.keys() - self.ended.keys())

    def put(self, record: JobRecord) -> None:
        """This is what the job is now."""
        job = record.id
        known = self.records.get(job)
        if known is not None and known.version >= record.version:
            return
        if not is_final(record.state):
            # Before the old record lets go of them.
            self._awaited.update(record.spec.after)
        self._take_off(job)
        self.board_off(job, succeeded=record.state is State.SUCCEEDED)
        if is_final(record.state):
            if self._awaited[job]:
                self.ended[job] = record.state
            return
        self.ended.pop(job, None)
        self.records[job] = record
        if holds_seats(record.state):
            self.seated[job] = record
        elif record.state in {State.HELD, State.BACKING_OFF} or record.cancel_wanted:
            self.dormant[job] = record
        if record.spec.deadline is not None:
            self.with_deadline.add(job)
        self._show(record, counts=known is None)

    def unmet(self, record: JobRecord) -> list[JobId]:
        """Jobs that it still waits for."""
        return [
            JobId(job)
            for job in record.spec.after
            if self.ended.get(JobId(job)) is not State.SUCCEEDED
        ]

    def failed_among(self, jobs: Iterable[JobId]) -> JobId | None:
        """A job of those that will never succeed."""
        failed = {State.FAILED, State.CANCELLED, State.DEAD}
        return next((job for job in jobs if self.ended.get(job) in failed), None)

    def is_awaited(self, job: JobId) -> bool:
        """Whether an open job waits for it."""
        return job in self._awaited

    def board_off(self, job: JobId, *, succeeded: bool) -> None:
        """Off the board; those who waited for its success may go on."""
        if job in self.board.entries:
            self.board.finish(job, succeeded=succeeded)

    def _take_off(self, job: JobId) -> None:
        old = self.records.pop(job, None)
        for other in () if old is None else old.spec.after:
            self._awaited[other] -= 1
            if not self._awaited[other]:
                del self._awaited[other]
                self.ended.pop(JobId(other), None)
        self.seated.pop(job, None)
        self.dormant.pop(job, None)
        self.with_deadline.discard(job)
        self.misfits.discard(job)

    def _rebuild(self) -> None:
        nodes = [
            Node(
                node.name,
                gpus=node.gpus,
                cpu_milli=node.cpu_milli,
                memory_mib=node.memory_mib,
                model=node.gpu_model,
                labels=node.labels,
            )
            for node in (self.nodes[name] for name in self.names)
        ]
        self.board = Board(nodes, self._queues, self._profile, self._demand)
        self.misfits.clear()
        # Those who sit come first, so that nobody else is there.
        for record in sorted(self.records.values(), key=lambda one: not holds_seats(one.state)):
            self._show(record, counts=False)

    def _show(self, record: JobRecord, *, counts: bool) -> None:
        if record.queue not in self.board.queues:
            # Its queue was taken out of the settings; it waits until that is back.
            return
        if holds_seats(record.state):
            self._show_seated(record, counts=counts)
            return
        entry = self.board.submit(job_of(record), self.unmet(record), counts=counts)
        entry.attempt = record.attempt
        if record.held_seats and entry.phase is Phase.WAITING:
            seats = index_seats(record, record.held_seats, self._indexes())
            if seats is not None:
                self.board.claim(record.id, seats)

    def _show_seated(self, record: JobRecord, *, counts: bool) -> None:
        board = self.board
        seats = index_seats(record, record.seats, self._indexes())
        if seats is None:
            self.misfits.add(record.id)
            return
        job = job_of(record)
        entry = board.submit(job, (), counts=counts)
        if entry.phase is Phase.HELD:
            board.wake(job.not_before)
        try:
            entry = board.start(record.id, seats, record.launched_at or 0.0)
        except InternalFailure:
            # The node has fewer GPUs than it had.
            board.finish(record.id, succeeded=False)
            self.misfits.add(record.id)
            return
        entry.attempt = record.attempt
        if record.incomplete_since is not None:
            entry.incomplete_since = record.incomplete_since
            board.incomplete[record.id] = entry
        if record.state is State.STOPPING:
            board.stop(record.id)

    def _indexes(self) -> dict[NodeName, int]:
        return {name: node.index for name, node in self.board.cluster.by_name.items()}


def _size(node: NodeRecord) -> tuple[object, ...]:
    labels = tuple(sorted(node.labels.items()))
    return (node.name, node.gpus, node.cpu_milli, node.memory_mib, node.gpu_model, labels)
