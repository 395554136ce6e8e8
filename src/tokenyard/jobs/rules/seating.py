"""For one kind of request: where it fits now, how often, and where best.

An index over the cluster that catches up with changed nodes only, so that a cycle costs as much as
what changed since the last one. It holds nothing that could not be rebuilt, and every answer is the
same as a scan of all nodes would give (tested so). It does not know jobs, queues or gangs.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from tokenyard.jobs.rules.cluster import Cluster
from tokenyard.jobs.rules.placement import Policy, mix_bits
from tokenyard.jobs.rules.workload import INFINITY, Request, Seat

# A place in the order of nodes: the score, negative; when the node should be empty; its index.
Place = tuple[float, float, int]


class Seating:
    """Feasibility, counts and the best node for one request under one policy."""

    __slots__ = ("_capacity", "_cluster", "_domains", "_matches", "_order", "_places", "_policy",
                 "_seen", "_slots", "_stamps", "request", "total")  # fmt: skip

    def __init__(self, cluster: Cluster, request: Request, policy: Policy) -> None:
        self._cluster = cluster
        self._policy = policy
        self.request = request
        self._matches = [node.matches(request) for node in cluster.nodes]
        # Members that fit on each node, and their sum.
        self._slots = [0] * len(cluster.nodes)
        self._stamps = [-1] * len(cluster.nodes)
        self.total = 0
        # The place of each node that fits, and all of them in order.
        self._places: list[Place | None] = [None] * len(cluster.nodes)
        self._order: list[Place] = []
        # level -> value -> members that fit in that domain.
        self._domains: dict[str, dict[str, int]] = {}
        self._capacity: int | None = None
        self._seen = -1
        self.sync()

    def sync(self) -> None:
        """Catch up with the cluster."""
        cluster = self._cluster
        position = cluster.position
        if self._seen == position:
            return
        if self._seen < cluster.cut:
            self._rebuild()
        else:
            nodes, stamps = cluster.nodes, self._stamps
            for index in set(cluster.changes[self._seen - cluster.cut :]):
                # A trial that was undone has left no trace.
                if nodes[index].stamp != stamps[index]:
                    self._refresh(index)
        self._seen = position

    def slots(self, node: int) -> int:
        """How many such members fit on that node now."""
        return self._slots[node]

    @property
    def capacity(self) -> int:
        """How many would fit on suiting nodes if all were empty and open."""
        if self._capacity is None:
            suiting = (n for n in self._cluster.nodes if self._matches[n.index])
            self._capacity = sum(node.slots_empty(self.request) for node in suiting)
        return self._capacity

    def domains(self, level: str) -> dict[str, int]:
        """Members that fit in each domain of that level; nodes without the label do not count."""
        known = self._domains.get(level)
        if known is None:
            known = self._domains[level] = {}
            for node in self._cluster.nodes:
                value = node.labels.get(level)
                if value is not None:
                    known[value] = known.get(value, 0) + self._slots[node.index]
        return known

    def best(
        self, allowed: Callable[[int], bool] | None = None, ends_at: float = INFINITY
    ) -> int | None:
        """The best node for a member that should have gone at `ends_at`; None when nothing fits.

        The highest score first. Of equals one that is busy until then anyway, for as little longer
        as there is; else one that it keeps busy the least longer; then the lowest index.
        """
        if self._policy.draws is not None:
            return self._draw(self._policy.draws, allowed)
        for index in self._by_preference(ends_at):
            if allowed is None or allowed(index):
                return index
        return None

    def best_among(self, nodes: list[int], ends_at: float = INFINITY) -> int | None:
        """The best of those nodes; for domains, which are small."""
        fitting = [
            (score, until < ends_at, -until if until < ends_at else until, index)
            for score, until, index in filter(None, (self._places[node] for node in nodes))
        ]
        return min(fitting)[-1] if fitting else None

    def _by_preference(self, ends_at: float) -> Iterator[int]:
        order = self._order
        low = 0
        while low < len(order):
            score = order[low][0]
            high = bisect_left(order, (score, INFINITY, len(self._places)), low)
            middle = bisect_left(order, (score, ends_at, 0), low, high)
            for place in order[middle:high]:
                yield place[2]
            while middle > low:
                first = bisect_left(order, (score, order[middle - 1][1], 0), low, middle)
                for place in order[first:middle]:
                    yield place[2]
                middle = first
            low = high

    def seat(self, node: int, role: int = 0) -> Seat:
        """The seat that the policy picks there; the node must have a slot."""
        picked = self._policy.pick(self._cluster.nodes[node], self.request)
        return Seat(node, picked, self.request, role)

    def _draw(self, seed: int, allowed: Callable[[int], bool] | None) -> int | None:
        fitting = [
            index
            for index, slots in enumerate(self._slots)
            if slots and (allowed is None or allowed(index))
        ]
        if not fitting:
            return None
        # Drawn by how much has happened in the cluster too, so that shapes do not draw in step.
        return fitting[mix_bits(seed, self._cluster.position) % len(fitting)]

    def _rebuild(self) -> None:
        for index in range(len(self._slots)):
            self._places[index] = self._look_at(index)
        self._order = sorted(place for place in self._places if place is not None)

    def _refresh(self, index: int) -> None:
        known, place = self._places[index], self._look_at(index)
        if place == known:
            return
        if known is not None:
            del self._order[bisect_left(self._order, known)]
        if place is not None:
            insort(self._order, place)
        self._places[index] = place

    def _look_at(self, index: int) -> Place | None:
        """Count what fits there now; its place when something does."""
        node = self._cluster.nodes[index]
        self._stamps[index] = node.stamp
        slots = node.slots(self.request) if node.open and self._matches[index] else 0
        change = slots - self._slots[index]
        if change:
            self._slots[index] = slots
            self.total += change
            for level, values in self._domains.items():
                value = node.labels.get(level)
                if value is not None:
                    values[value] += change
        return (-self._policy.score(node, self.request), node.until, index) if slots else None
