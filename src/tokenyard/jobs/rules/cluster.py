"""Nodes and what is free on them, with trials that can be undone.

Decides whether a seat may be taken: never a GPU beyond its capacity. It does not know jobs, queues
or why somebody sits where. Every change goes through `take` and `give`, is written to a journal
while a trial is open, and is named in `changes`, from which indexes catch up.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping

from tokenyard.jobs.rules.workload import GPU_MILLI, NODE_LEVEL, Amount, Request, Seat, Seats
from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest
from tokenyard.vocabulary.ids import NodeName

# When the list of changes has grown to this many times the nodes, it is cut and indexes rebuild.
CHANGES_PER_NODE_MAX = 64
CHANGES_KEPT_MIN = 4096


class Node:
    """A machine: what it has and what is free on it now."""

    __slots__ = (
        "cpu_free",
        "cpu_milli",
        "ends",
        "gpu_free",
        "gpus",
        "index",
        "labels",
        "memory_free",
        "memory_mib",
        "model",
        "name",
        "open",
        "stamp",
        "whole",
    )

    def __init__(
        self,
        name: NodeName,
        *,
        gpus: int,
        cpu_milli: int,
        memory_mib: int,
        model: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        if min(gpus, cpu_milli, memory_mib) < 0:
            raise InvalidRequest(f"Node {name} cannot have less than nothing.", param="nodes")
        self.name = name
        self.index = -1
        self.model = model
        self.labels = {**(labels or {}), NODE_LEVEL: name}
        self.cpu_milli = self.cpu_free = cpu_milli
        self.memory_mib = self.memory_free = memory_mib
        # Thousandths free of each GPU; the position is the device's index on the node.
        self.gpus = [GPU_MILLI] * gpus
        self.gpu_free = GPU_MILLI * gpus
        # GPUs that nobody uses at all.
        self.whole = gpus
        # When those who sit there should have gone, as far as that was told; ascending.
        self.ends: list[float] = []
        # A cordoned, drained or lost node takes nobody new; who sits there may stay.
        self.open = True
        # Equal stamps mean equal state: a trial that is undone brings the old stamp back.
        self.stamp = 0

    @property
    def gpu_milli(self) -> int:
        """All of the node's GPUs, in thousandths."""
        return GPU_MILLI * len(self.gpus)

    @property
    def until(self) -> float:
        """When the last of those who sit there should have gone; 0 where nothing was told."""
        return self.ends[-1] if self.ends else 0.0

    def matches(self, request: Request) -> bool:
        """Whether model and labels suit, whatever is free."""
        if request.gpu_models and self.model not in request.gpu_models:
            return False
        return all(self.labels.get(key) == value for key, value in request.labels)

    def fits(self, request: Request) -> bool:
        """Whether one member finds room now; neither labels nor cordons are looked at."""
        if self.cpu_free < request.cpu_milli or self.memory_free < request.memory_mib:
            return False
        if not request.gpus:
            return True
        if request.gpu_milli == GPU_MILLI:
            return self.whole >= request.gpus
        return max(self.gpus, default=0) >= request.gpu_milli

    def slots(self, request: Request) -> int:
        """How many such members find room now."""
        count = SLOTS_MAX
        if request.gpus:
            if request.gpu_milli == GPU_MILLI:
                count = self.whole // request.gpus
            else:
                milli = request.gpu_milli
                count = sum([free // milli for free in self.gpus])
        if request.cpu_milli:
            count = min(count, self.cpu_free // request.cpu_milli)
        if request.memory_mib:
            count = min(count, self.memory_free // request.memory_mib)
        return count

    def slots_empty(self, request: Request) -> int:
        """How many such members the node could hold if nobody were there."""
        count = SLOTS_MAX
        if request.gpus:
            shares = GPU_MILLI // request.gpu_milli if request.gpus == 1 else 1
            count = len(self.gpus) * shares // request.gpus
        if request.cpu_milli:
            count = min(count, self.cpu_milli // request.cpu_milli)
        if request.memory_mib:
            count = min(count, self.memory_mib // request.memory_mib)
        return count


# What "any number" means for a request that asks for nothing.
SLOTS_MAX = 1 << 20


class Cluster:
    """All nodes. Mutable; `mark` and `undo` bracket a trial."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = list(nodes)
        self.by_name: dict[NodeName, Node] = {}
        gpu = cpu = memory = 0
        for index, node in enumerate(self.nodes):
            if node.name in self.by_name:
                raise InvalidRequest(f"Two nodes are named {node.name}.", param="nodes")
            node.index = index
            self.by_name[node.name] = node
            gpu, cpu, memory = gpu + node.gpu_milli, cpu + node.cpu_milli, memory + node.memory_mib
        self.capacity = Amount(gpu, cpu, memory)
        self.gpu_free = sum(node.gpu_free for node in self.nodes)
        self.cpu_free = sum(node.cpu_free for node in self.nodes)
        self.memory_free = sum(node.memory_free for node in self.nodes)
        # Indexes of nodes that take nobody new.
        self.closed = {node.index for node in self.nodes if not node.open}
        # Indexes of changed nodes, in order; position p of the whole history is changes[p - cut].
        self.changes: list[int] = []
        self.cut = 0
        # How many changes there have been; an index that has seen so many is up to date.
        self.position = 0
        # Added or not, where, the node's stamp before, and what: a seat, or an expected end.
        self._journal: list[tuple[bool, Node, int, Seat | float]] = []
        self._trials = 0
        self._changes_max = max(CHANGES_KEPT_MIN, CHANGES_PER_NODE_MAX * len(self.nodes))

    def take(self, seat: Seat) -> None:
        """Occupy the seat; InternalFailure, and nothing changed, when a part of it is not free."""
        node = self.nodes[seat.node]
        request = seat.request
        milli = request.gpu_milli
        gpus = node.gpus
        if (
            node.cpu_free < request.cpu_milli
            or node.memory_free < request.memory_mib
            or len(seat.gpus) != request.gpus
            or any(gpus[gpu] < milli for gpu in seat.gpus)
        ):
            raise InternalFailure(f"{node.name} has no room for {seat}")
        if len(set(seat.gpus)) != len(seat.gpus):
            raise InternalFailure(f"{seat} names a GPU twice")
        if self._trials:
            self._journal.append((True, node, node.stamp, seat))
        self._shift(node, seat, -1)

    def give(self, seat: Seat) -> None:
        """Free the seat; InternalFailure when it was not occupied."""
        node = self.nodes[seat.node]
        milli = seat.request.gpu_milli
        if (
            node.cpu_free + seat.request.cpu_milli > node.cpu_milli
            or node.memory_free + seat.request.memory_mib > node.memory_mib
            or any(node.gpus[gpu] + milli > GPU_MILLI for gpu in seat.gpus)
        ):
            raise InternalFailure(f"{seat} on {node.name} was not taken")
        if self._trials:
            self._journal.append((False, node, node.stamp, seat))
        self._shift(node, seat, 1)

    def take_all(self, seats: Seats) -> None:
        """Occupy every seat, or none."""
        for position, seat in enumerate(seats):
            try:
                self.take(seat)
            except InternalFailure:
                self.give_all(seats[:position])
                raise

    def give_all(self, seats: Seats) -> None:
        """Free every seat."""
        for seat in seats:
            self.give(seat)

    def expect(self, seats: Seats, ends_at: float) -> None:
        """Those who sit there should have gone by then; told once for each stay."""
        self._tell(seats, ends_at, True)

    def forget(self, seats: Seats, ends_at: float) -> None:
        """Take back what was told by `expect`."""
        self._tell(seats, ends_at, False)

    def is_free(self, seats: Seats) -> bool:
        """Whether all those seats could be taken together now."""
        mark = self.mark()
        try:
            self.take_all(seats)
        except InternalFailure:
            return False
        finally:
            self.undo(mark)
        return True

    def part_free(self, seat: Seat) -> Seat:
        """What of that seat is free now: the part that can be held for somebody."""
        node = self.nodes[seat.node]
        request = seat.request
        gpus = tuple(gpu for gpu in seat.gpus if node.gpus[gpu] >= request.gpu_milli)
        part = Request(
            gpus=len(gpus),
            gpu_milli=request.gpu_milli if gpus else GPU_MILLI,
            cpu_milli=min(request.cpu_milli, node.cpu_free),
            memory_mib=min(request.memory_mib, node.memory_free),
        )
        return Seat(seat.node, gpus, part, seat.role)

    def set_open(self, name: NodeName, is_open: bool) -> None:
        """Let the node take new members, or not."""
        node = self.by_name[name]
        if node.open != is_open:
            node.open = is_open
            if is_open:
                self.closed.discard(node.index)
            else:
                self.closed.add(node.index)
            self._changed(node.index)

    def free_open(self) -> Amount:
        """What is free on nodes that take new members."""
        free = Amount(self.gpu_free, self.cpu_free, self.memory_free)
        for index in self.closed:
            node = self.nodes[index]
            free = free.minus(Amount(node.gpu_free, node.cpu_free, node.memory_free))
        return free

    def mark(self) -> int:
        """Open a trial; give the answer to `undo`."""
        self._trials += 1
        return len(self._journal)

    def undo(self, mark: int) -> None:
        """Take back everything since the mark, and close that trial."""
        self.rewind(mark)
        self._trials -= 1

    def rewind(self, mark: int) -> None:
        """Take back everything since the mark; the trial goes on."""
        journal = self._journal
        while len(journal) > mark:
            added, node, stamp, what = journal.pop()
            if isinstance(what, Seat):
                self._shift(node, what, 1 if added else -1)
            else:
                self._shift_end(node, what, not added)
            node.stamp = stamp

    def here(self) -> int:
        """The place in the open trial to which `rewind` can go back."""
        return len(self._journal)

    def _shift(self, node: Node, seat: Seat, sign: int) -> None:
        request = seat.request
        cpu, memory = sign * request.cpu_milli, sign * request.memory_mib
        node.cpu_free += cpu
        node.memory_free += memory
        self.cpu_free += cpu
        self.memory_free += memory
        if seat.gpus:
            milli = sign * request.gpu_milli
            gpus = node.gpus
            for gpu in seat.gpus:
                was_whole = gpus[gpu] == GPU_MILLI
                gpus[gpu] += milli
                node.whole += (gpus[gpu] == GPU_MILLI) - was_whole
            change = milli * len(seat.gpus)
            node.gpu_free += change
            self.gpu_free += change
        self._changed(seat.node)

    def _tell(self, seats: Seats, ends_at: float, added: bool) -> None:
        for index in {seat.node for seat in seats}:
            node = self.nodes[index]
            if self._trials:
                self._journal.append((added, node, node.stamp, ends_at))
            self._shift_end(node, ends_at, added)

    def _shift_end(self, node: Node, ends_at: float, added: bool) -> None:
        if added:
            insort(node.ends, ends_at)
        else:
            del node.ends[bisect_left(node.ends, ends_at)]
        self._changed(node.index)

    def _changed(self, index: int) -> None:
        self.position += 1
        self.nodes[index].stamp = self.position
        self.changes.append(index)
        if len(self.changes) > self._changes_max:
            self.cut += len(self.changes)
            self.changes.clear()
