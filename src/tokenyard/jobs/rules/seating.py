"""For one kind of request: where it fits now, how often, and where best.

An index over the cluster that catches up with changed nodes only, so that a cycle costs as much as
what changed since the last one. It holds nothing that could not be rebuilt, and every answer is the
same as a scan of all nodes would give (tested so). It does not know jobs, queues or gangs.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from tokenyard.jobs.rules.cluster import Cluster
from tokenyard.jobs.rules.placement import Policy, mix_bits
from tokenyard.jobs.rules.workload import Request, Seat

# Stale entries that the heap may hold for each node before it is rebuilt.
HEAP_ENTRIES_PER_NODE_MAX = 4


class Seating:
    """Feasibility, counts and the best node for one request under one policy."""

    __slots__ = ("_best", "_capacity", "_cluster", "_domains", "_heap", "_matches", "_policy",
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
        # The current score of each node that fits; heap entries that differ from it are stale.
        self._best: list[float | None] = [None] * len(cluster.nodes)
        self._heap: list[tuple[float, int]] = []
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
            if len(self._heap) > HEAP_ENTRIES_PER_NODE_MAX * len(self._slots) + 64:
                self._heap = [(-s, i) for i, s in enumerate(self._best) if s is not None]
                heapify(self._heap)
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

    def best(self, allowed: Callable[[int], bool] | None = None) -> int | None:
        """The node with the highest score, the lowest index of equals; None when nothing fits."""
        if self._policy.draws is not None:
            return self._draw(self._policy.draws, allowed)
        heap, current = self._heap, self._best
        aside: list[tuple[float, int]] = []
        found: int | None = None
        while heap:
            score, index = heap[0]
            if current[index] != -score:
                heappop(heap)
            elif allowed is not None and not allowed(index):
                aside.append(heappop(heap))
            else:
                found = index
                break
        for entry in aside:
            heappush(heap, entry)
        return found

    def best_among(self, nodes: list[int]) -> int | None:
        """The best of those nodes; for domains, which are small."""
        fitting = [(-score, index) for index in nodes if (score := self._best[index]) is not None]
        return min(fitting)[1] if fitting else None

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
        self._heap = []
        # Forgotten too, or scores that have not changed would never come back into the heap.
        self._best = [None] * len(self._slots)
        for index in range(len(self._slots)):
            self._refresh(index)
        heapify(self._heap)

    def _refresh(self, index: int) -> None:
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
        if not slots:
            self._best[index] = None
            return
        score = self._policy.score(node, self.request)
        if score != self._best[index]:
            self._best[index] = score
            heappush(self._heap, (-score, index))
