"""What the scheduler tells of itself: waits, failures, use of GPUs, now and as a history.

Decides nothing. Counts since the process started; the history in the store outlives it.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tokenyard.jobs.ports import JobStore
from tokenyard.jobs.records import (
    Change,
    EventKind,
    JobEvent,
    JobRecord,
    NodeRecord,
    NodeState,
    Sample,
)
from tokenyard.jobs.roster import Roster
from tokenyard.jobs.rules.board import Phase
from tokenyard.jobs.rules.decisions import Plan
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.shape import gpus_of
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.telemetry.metrics import JobMetrics
from tokenyard.vocabulary.ids import NodeName

# Waits that are remembered for each queue and class.
WAITS_KEPT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Waits:
    """Waiting times of those who lately started; seconds, None when there were none."""

    count: int
    p50: float | None
    p95: float | None
    max: float | None


def measure(seconds: Iterable[float]) -> Waits:
    """The quantiles by nearest rank."""
    ordered = sorted(seconds)
    if not ordered:
        return Waits(0, None, None, None)

    def at(part: float) -> float:
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)]

    return Waits(len(ordered), at(0.5), at(0.95), ordered[-1])


class Observer:
    """Listens to the leader's cycles."""

    def __init__(self, store: JobStore, settings: JobSettings, metrics: JobMetrics) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._stored_nodes: dict[NodeName, NodeRecord] = {}
        self._sampled_at = 0.0
        values = sorted((one.value, one.name) for one in settings.priorities)
        self._class_values = [value for value, _ in values]
        self._class_names = [name for _, name in values]
        self.waits: dict[tuple[str, str], deque[float]] = {}
        self.failures: Counter[tuple[str, str]] = Counter()
        self.succeeded: Counter[str] = Counter()
        # Starts by how they came about: in order, in a gap, on held seats.
        self.admissions: Counter[str] = Counter()
        self.preemptions = 0
        self.lost_gpu_seconds = 0.0
        self.cycle_seconds = 0.0

    def class_of(self, priority: int) -> str:
        """The name of the class, or of the one below."""
        place = bisect_left(self._class_values, priority)
        if place < len(self._class_values) and self._class_values[place] == priority:
            return self._class_names[place]
        return self._class_names[max(place - 1, 0)] if self._class_names else str(priority)

    def note_cycle(self, seconds: float) -> None:
        """A cycle took that long."""
        self.cycle_seconds = seconds
        self._metrics.cycle.observe(seconds)

    def note(self, change: Change) -> None:
        """A job was changed by the leader."""
        record = change.record
        for event in change.events:
            if event.kind is EventKind.LAUNCHED:
                self._note_start(record, event)
            elif event.kind is EventKind.FAILED and event.reason is not None:
                self.failures[record.spec.type, event.reason.value] += 1
                self._metrics.failures.labels(record.spec.type, event.reason.value).inc()
            elif event.kind is EventKind.REQUEUED and event.reason is not None:
                self.preemptions += 1
                self._metrics.preemptions.labels(event.reason.value).inc()
            elif event.kind is EventKind.SUCCEEDED:
                self.succeeded[record.spec.type] += 1
                self._metrics.succeeded.labels(record.spec.type).inc()
        attempt = change.attempt
        if attempt is not None and attempt.ended_at is not None:
            self.lost_gpu_seconds += attempt.lost_gpu_seconds
            self._metrics.lost_gpu_seconds.inc(attempt.lost_gpu_seconds)

    def nodes_to_store(self, nodes: Iterable[NodeRecord]) -> tuple[NodeRecord, ...]:
        """Those that differ from what is stored by more than when they were last heard of."""
        changed = []
        for node in nodes:
            known = self._stored_nodes.get(node.name)
            if known is None or _lasting(known) != _lasting(node):
                changed.append(node)
        return tuple(changed)

    def forget_node(self, name: NodeName) -> None:
        """It is not in the store any more."""
        self._stored_nodes.pop(name, None)

    def stored(self, nodes: Iterable[NodeRecord]) -> None:
        """Those are in the store now."""
        self._stored_nodes |= {node.name: node for node in nodes}

    def wants_sample(self, now: float) -> bool:
        """Whether it is time for a point of the history."""
        if now - self._sampled_at < self._settings.sample_seconds:
            return False
        self._sampled_at = now
        return True

    def resume(self, sample: Sample | None) -> None:
        """Count on from where the last leader was."""
        if sample is None:
            return
        values = sample.values
        self.preemptions = int(values.get("cluster/preemptions", 0))
        self.lost_gpu_seconds = values.get("cluster/lost_gpu_seconds", 0.0)
        self.cycle_seconds = values.get("cluster/cycle_seconds", 0.0)
        self.failures.clear()
        self.succeeded.clear()
        self.admissions.clear()
        for name, value in values.items():
            match name.split("/"):
                case ["failures", kind, reason]:
                    self.failures[kind, reason] = int(value)
                case ["succeeded", kind]:
                    self.succeeded[kind] = int(value)
                case ["admissions", reason]:
                    self.admissions[reason] = int(value)
                case _:
                    continue

    async def sample(self, roster: Roster, decided: Plan | None, now: float) -> None:
        """Set the gauges, and add a point to the history when it is time."""
        if not self.wants_sample(now):
            return
        values = self.values(roster, now) | _reasons(roster, decided)
        self._metrics.set_values(values)
        kept_since = now - self._settings.samples_kept_seconds
        await self._store.add_sample(Sample(now, values), drop_before=kept_since)

    def values(self, roster: Roster, now: float) -> dict[str, float]:
        """What holds now, by name; a name's parts are divided by slashes."""
        values: defaultdict[str, float] = defaultdict(float)
        for record in roster.records.values():
            values[f"queue/{record.queue}/{_group(record.state)}"] += 1
            if record.state is State.QUEUED:
                oldest = f"queue/{record.queue}/oldest_wait_seconds"
                values[oldest] = max(values[oldest], now - record.submitted_at)
        for record in roster.seated.values():
            for seat in record.seats:
                values[f"node/{seat.node}/gpus_used"] += gpus_of(record, [seat])
                load = roster.nodes[seat.node].gpu_load if seat.node in roster.nodes else ()
                if load:
                    busy = sum(load[gpu] for gpu in seat.gpus if gpu < len(load)) / 100
                    values[f"node/{seat.node}/gpus_busy"] += busy
                    values[f"job/{record.id}/gpus_busy"] += busy
            values[f"job/{record.id}/gpus"] += gpus_of(record)
        held = sum(gpus_of(r, r.held_seats) for r in roster.records.values() if r.held_seats)
        cluster = roster.board.cluster
        for node in cluster.nodes:
            values[f"node/{node.name}/gpus"] = len(node.gpus)
        found: dict[str, float] = dict(values)
        found["cluster/gpus"] = cluster.capacity.gpu_milli / 1000
        found["cluster/gpus_free"] = cluster.gpu_free / 1000
        found["cluster/gpus_fragmented"] = fragmented(roster)
        found["cluster/gpus_held"] = held
        found["cluster/preemptions"] = self.preemptions
        found["cluster/lost_gpu_seconds"] = self.lost_gpu_seconds
        found["cluster/cycle_seconds"] = self.cycle_seconds
        for (queue, name), waits in self.waits.items():
            told = measure(waits)
            for part, value in (("p50", told.p50), ("p95", told.p95), ("max", told.max)):
                found[f"wait/{queue}/{name}/{part}"] = value or 0.0
        for (kind, reason), count in self.failures.items():
            found[f"failures/{kind}/{reason}"] = count
        found |= {f"succeeded/{kind}": float(count) for kind, count in self.succeeded.items()}
        found |= {f"admissions/{how}": float(count) for how, count in self.admissions.items()}
        return found

    def waits_of(self, queue: str) -> Mapping[str, Waits]:
        """Waits of a queue by class."""
        return {name: measure(waits) for (one, name), waits in self.waits.items() if one == queue}

    def _note_start(self, record: JobRecord, event: JobEvent) -> None:
        if event.reason is not None:
            self.admissions[event.reason.value] += 1
            self._metrics.admissions.labels(event.reason.value).inc()
        if record.attempt > 1:
            return
        seconds = max(event.at - record.submitted_at, 0.0)
        name = self.class_of(record.priority)
        key = (str(record.queue), name)
        self.waits.setdefault(key, deque(maxlen=WAITS_KEPT_MAX)).append(seconds)
        self._metrics.wait.labels(*key).observe(seconds)


def _lasting(node: NodeRecord) -> NodeRecord:
    """What of a node is worth a write when it changes."""
    return replace(node, seen_at=0.0, wanted=NodeState.OPEN, gpu_load=())


def fragmented(roster: Roster) -> float:
    """Free GPUs on nodes that are partly used: what a job that needs whole nodes cannot have."""
    nodes = roster.board.cluster.nodes
    return sum(node.gpu_free for node in nodes if 0 < node.gpu_free < node.gpu_milli) / 1000


def _reasons(roster: Roster, decided: Plan | None) -> dict[str, float]:
    """How many jobs wait for each dominant reason."""
    if decided is None:
        return {}
    # The plan knows jobs that have started since as waiting; they are on the board as running.
    waiting = [e for e in roster.board.entries.values() if e.phase in {Phase.WAITING, Phase.HELD}]
    found = Counter(f"reason/{b.reason.value}" for e in waiting if (b := decided.why(e)))
    return {name: float(count) for name, count in found.items()}


def _group(state: State) -> str:
    match state:
        case State.STARTING | State.RUNNING | State.STOPPING:
            return "running"
        case State.QUEUED:
            return "waiting"
        case _:
            return "held"
