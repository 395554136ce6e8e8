"""Queues in a tree: who may use how much, who borrows, and whose share is largest.

Quota follows the cohort model of Kueue: a queue owns a nominal amount, lends what it does not use
up to a limit, and borrows from its ancestors up to a limit. Shares follow weighted
dominant-resource fairness (Ghodsi et al., NSDI 2011), level by level from the root. It knows
neither jobs nor nodes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tokenyard.jobs.rules.workload import NOTHING, UNLIMITED, Amount
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.ids import QueueName
from tokenyard.vocabulary.reasons import Reason


class Within(StrEnum):
    """Whom a waiting job may displace in its own queue."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    LOWER_OR_NEWER_EQUAL = "lower_or_newer_equal"


class Reclaim(StrEnum):
    """Whom it may displace in other queues, to get back what its own queue has lent."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    ANY = "any"


class Share(StrEnum):
    """What a queue's share is measured on."""

    # Everything that it uses, against the cluster.
    DOMINANT = "dominant"
    # Only what it uses beyond its nominal quota, against what its cohort can lend.
    BORROWED = "borrowed"


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue, or one inner node of the tree (which then has no jobs of its own)."""

    name: QueueName
    parent: QueueName | None = None
    # None: not governed by quota.
    nominal: Amount | None = None
    # None: no limit of its own.
    borrow_max: Amount | None = None
    lend_max: Amount | None = None
    cap: Amount | None = None
    weight: float = 1.0
    within: Within = Within.NEVER
    reclaim: Reclaim = Reclaim.NEVER
    # While it would borrow, it may displace others up to this priority; None: nobody.
    borrow_victim_priority_max: int | None = None
    # The most that jobs of one priority may use in this queue.
    priority_caps: tuple[tuple[int, Amount], ...] = ()

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise InvalidRequest(f"Queue {self.name}: a weight cannot be negative.", param="weight")


class _Node:
    __slots__ = ("borrow", "by_priority", "children", "depth", "lend", "local", "parent", "path",
                 "pooled", "quota", "spec", "used")  # fmt: skip

    def __init__(self, spec: QueueSpec) -> None:
        self.spec = spec
        self.parent: _Node | None = None
        self.children: list[_Node] = []
        self.path: list[_Node] = []
        # Quota of the subtree, the part of it that is never lent, and the limits, per resource.
        self.quota = [0, 0, 0]
        self.local = [0, 0, 0]
        self.lend = list(spec.lend_max or UNLIMITED)
        self.borrow = list(spec.borrow_max or UNLIMITED)
        # What jobs below really use; and the part of it charged here after local quotas.
        self.used = [0, 0, 0]
        self.pooled = [0, 0, 0]
        self.by_priority: dict[int, list[int]] = {}


class QueueTree:
    """Usage and quota of every queue. Mutable; `here` and `rewind` bracket a trial."""

    def __init__(self, specs: Iterable[QueueSpec], capacity: Amount) -> None:
        self.capacity = capacity
        self._nodes: dict[QueueName, _Node] = {}
        for spec in specs:
            if spec.name in self._nodes:
                raise InvalidRequest(f"Two queues are named {spec.name}.", param="queues")
            self._nodes[spec.name] = _Node(spec)
        self._link()
        self._roots = sum(node.parent is None for node in self._nodes.values())
        self._journal: list[tuple[QueueName, Amount, int]] = []
        self.keeps_journal = False

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def names(self) -> list[QueueName]:
        """Every queue and inner node, in the order given."""
        return list(self._nodes)

    def spec(self, queue: QueueName) -> QueueSpec:
        """The queue as configured."""
        return self._nodes[queue].spec

    def used(self, queue: QueueName) -> Amount:
        """What jobs in and below the queue use."""
        return Amount(*self._nodes[queue].used)

    def root(self, queue: QueueName) -> QueueName:
        """The topmost ancestor: queues with the same one share quota."""
        return self._nodes[queue].path[0].spec.name

    def charge(self, queue: QueueName, amount: Amount, priority: int = 0) -> None:
        """Count a job's use, whether or not it is within limits; negative amounts give back."""
        node = self._nodes[queue]
        if self.keeps_journal:
            self._journal.append((queue, amount, priority))
        self._charge(node, amount, priority)

    def refund(self, queue: QueueName, amount: Amount, priority: int = 0) -> None:
        """Give a job's use back."""
        self.charge(queue, Amount(-amount[0], -amount[1], -amount[2]), priority)

    def here(self) -> int:
        """The place to which `rewind` can go back."""
        return len(self._journal)

    def rewind(self, mark: int) -> None:
        """Take back everything charged since the mark."""
        while len(self._journal) > mark:
            queue, amount, priority = self._journal.pop()
            self._charge(self._nodes[queue], Amount(-amount[0], -amount[1], -amount[2]), priority)

    def refuse(
        self, queue: QueueName, amount: Amount, priority: int = 0, *, may_borrow: bool = True
    ) -> Reason | None:
        """Why that much more may not be used there now; None when it may."""
        node = self._nodes[queue]
        for ancestor in node.path:
            cap = ancestor.spec.cap
            if cap is not None and not _within(ancestor.used, amount, cap):
                return Reason.QUEUE_CAP
        for capped, cap in node.spec.priority_caps:
            used = node.by_priority.get(priority, [0, 0, 0])
            if capped == priority and not _within(used, amount, cap):
                return Reason.PRIORITY_CAP
        for resource in range(3):
            wanted = amount[resource]
            if not wanted:
                continue
            own = node.quota[resource] - node.used[resource]
            if wanted > own and not may_borrow:
                return Reason.QUEUE_QUOTA
            if wanted > _available(node, resource):
                # Would it fit if the queue's own borrowing limit were lifted?
                limited = node.parent is not None and wanted > own + node.borrow[resource]
                return Reason.BORROW_LIMIT if limited else Reason.QUEUE_QUOTA
        return None

    def available(self, queue: QueueName) -> Amount:
        """How much more the queue may use by quota, borrowing included; below zero after a cut."""
        node = self._nodes[queue]
        return Amount(*(_available(node, resource) for resource in range(3)))

    def borrows(self, queue: QueueName, plus: Amount = NOTHING) -> bool:
        """Whether the queue uses, or with that much more would use, beyond its nominal quota."""
        node = self._nodes[queue]
        return any(
            node.used[r] + plus[r] > node.quota[r] for r in range(3) if node.used[r] or plus[r]
        )

    def share(self, queue: QueueName, plus: Amount, kind: Share) -> tuple[float, ...]:
        """The weighted share at each level from the root down, with that much more (or less)."""
        path = self._nodes[queue].path
        # An only root is the same for all (and the keys of a whole cycle would change with every
        # start); and nobody lends to a root, so nothing of it is borrowed.
        skips = kind is Share.BORROWED or (self._roots == 1 and len(path) > 1)
        measured = path[1:] if skips else path
        return tuple([self._portion(node, plus, kind) for node in measured])

    def shares_apart(
        self, queue: QueueName, other: QueueName, plus: Amount, kind: Share
    ) -> tuple[float, float]:
        """The shares of two queues where their branches of the tree part, each with `plus`."""
        one, two = self._nodes[queue].path, self._nodes[other].path
        depth = next((d for d, (a, b) in enumerate(zip(one, two, strict=False)) if a is not b), 0)
        depth = min(depth, len(one) - 1, len(two) - 1)
        return self._portion(one[depth], plus, kind), self._portion(two[depth], plus, kind)

    def _portion(self, node: _Node, plus: Amount, kind: Share) -> float:
        if kind is Share.DOMINANT:
            used, against = node.used, self.capacity
            portion = max((used[r] + plus[r]) / against[r] if against[r] else 0.0 for r in range(3))
        else:
            portion = _borrowed_portion(node, plus)
        weight = node.spec.weight
        return portion / weight if weight else (float("inf") if portion else 0.0)

    def _link(self) -> None:
        for node in self._nodes.values():
            parent = node.spec.parent
            if parent is None:
                continue
            if parent not in self._nodes:
                message = f"Queue {node.spec.name} names an unknown parent {parent}."
                raise InvalidRequest(message, param="queues")
            node.parent = self._nodes[parent]
            node.parent.children.append(node)
        for node in self._nodes.values():
            walk: _Node | None = node
            while walk is not None:
                if walk in node.path:
                    raise InvalidRequest(
                        f"Queue {node.spec.name} is its own ancestor.", param="queues"
                    )
                node.path.append(walk)
                walk = walk.parent
            node.path.reverse()
        for node in sorted(self._nodes.values(), key=lambda node: -len(node.path)):
            # An inner node without quota of its own pools what its children lend.
            own = node.spec.nominal
            if own is None:
                own = Amount() if node.children else UNLIMITED
            for resource in range(3):
                lent = sum(child.quota[resource] - child.local[resource] for child in node.children)
                node.quota[resource] = own[resource] + lent
                node.local[resource] = max(0, node.quota[resource] - node.lend[resource])

    def _charge(self, node: _Node, amount: Amount, priority: int) -> None:
        if node.spec.priority_caps:
            used = node.by_priority.setdefault(priority, [0, 0, 0])
            for resource in range(3):
                used[resource] += amount[resource]
        for ancestor in node.path:
            used = ancestor.used
            used[0] += amount[0]
            used[1] += amount[1]
            used[2] += amount[2]
        for resource in range(3):
            change = amount[resource]
            walk: _Node | None = node
            while change and walk is not None:
                before = max(0, walk.pooled[resource] - walk.local[resource])
                walk.pooled[resource] += change
                change = max(0, walk.pooled[resource] - walk.local[resource]) - before
                walk = walk.parent


def _within(used: list[int], more: Amount, limit: Amount) -> bool:
    return all(used[r] + more[r] <= limit[r] for r in range(3) if more[r] > 0)


def _available(node: _Node, resource: int) -> int:
    quota, used = node.quota[resource], node.pooled[resource]
    if node.parent is None:
        return quota - used
    local = node.local[resource]
    own = max(0, local - used)
    stored = quota - local
    used_above = max(0, used - local)
    from_above = min(stored - used_above + node.borrow[resource], _available(node.parent, resource))
    return own + from_above


def _borrowed_portion(node: _Node, plus: Amount) -> float:
    portion = 0.0
    if node.parent is None:
        return portion
    for resource in range(3):
        beyond = node.used[resource] + plus[resource] - node.quota[resource]
        lendable = node.parent.quota[resource]
        if beyond > 0 and lendable > 0:
            portion = max(portion, beyond / lendable)
    return portion
