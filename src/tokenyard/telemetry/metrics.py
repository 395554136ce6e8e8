"""Metrics: every name, label and bucket of the platform, declared once.

The engine's names are those that vLLM dashboards know, under our own prefix. Each process makes one
instance of its class and serves it as text in the Prometheus exposition format.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
BETWEEN_TOKENS_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
ADMISSION_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 1.0)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
STEP_TOKENS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class _Counter(Counter):
    """Finds what it has counted by labels before without a lock and without spelling them."""

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], Self]:
        return {}

    def labels(self, *values: Any, **named: Any) -> Self:
        if named:
            return super().labels(*values, **named)
        found = self._known.get(values)
        if found is None:
            found = self._known[values] = super().labels(*values)
        return found

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        # Without the library's checks of each call: it is one of ours, and nobody has exemplars.
        self._value.inc(amount)


class _Histogram(Histogram):
    """The same."""

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], Self]:
        return {}

    def labels(self, *values: Any, **named: Any) -> Self:
        if named:
            return super().labels(*values, **named)
        found = self._known.get(values)
        if found is None:
            found = self._known[values] = super().labels(*values)
        return found

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        self._sum.inc(amount)
        # The last bound is infinite.
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)


class _Metrics:
    """A registry of its own, so that two instances in one process never share a number."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.registry = CollectorRegistry()

    def render(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> "_Counter":
        return _Counter(name, meaning, labels, namespace=self._namespace, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, namespace=self._namespace, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: Sequence[float], *labels: str
    ) -> Histogram:
        return _Histogram(
            name,
            meaning,
            labels,
            buckets=buckets,
            namespace=self._namespace,
            registry=self.registry,
        )


class EngineMetrics(_Metrics):
    """What one model server tells of itself."""

    def __init__(self) -> None:
        super().__init__("tokenyard_engine")
        self.running = self._gauge("num_requests_running", "Sequences in the running batch.")
        self.waiting = self._gauge("num_requests_waiting", "Requests waiting to be admitted.")
        self.kv_usage = self._gauge("kv_cache_usage_perc", "Used part of the KV cache, 0 to 1.")
        self.preemptions = self._counter("num_preemptions", "Sequences preempted by recompute.")
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens taken in.")
        self.cached_tokens = self._counter(
            "prompt_tokens_cached", "Prompt tokens found in the prefix cache."
        )
        self.generated_tokens = self._counter("generation_tokens", "Tokens generated.")
        self.finished = self._counter(
            "request_success", "Ended requests by reason.", "finished_reason"
        )
        self.rejected = self._counter(
            "admission_rejections", "Requests refused at the door, by reason.", "reason"
        )
        self.draft_tokens = self._counter(
            "spec_decode_num_draft_tokens", "Tokens guessed ahead from repetitions."
        )
        self.accepted_tokens = self._counter(
            "spec_decode_num_accepted_tokens", "Guessed tokens that were right."
        )
        self.step_tokens = self._histogram(
            "iteration_tokens_total", "Tokens computed in one step.", STEP_TOKENS_BUCKETS
        )
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "Arrival to first token.", FIRST_TOKEN_BUCKETS
        )
        self.between_tokens = self._histogram(
            "inter_token_latency_seconds", "Token to token.", BETWEEN_TOKENS_BUCKETS
        )
        self.queue = self._histogram(
            "request_queue_time_seconds", "Arrival to first scheduling.", REQUEST_BUCKETS
        )
        self.end_to_end = self._histogram(
            "e2e_request_latency_seconds", "Arrival to end.", REQUEST_BUCKETS
        )

    def render_for(self, model: str) -> bytes:
        """All of it, and once more by the names and labels that vLLM's dashboards ask for."""
        text = self.render().decode()
        return (text + _as_vllm(text, self._namespace, model)).encode()


def _as_vllm(text: str, namespace: str, model: str) -> str:
    """The lines of an exposition under `vllm:`, labelled with the model."""
    quoted = model.replace("\\", "\\\\").replace('"', '\\"')
    labels = f'model_name="{quoted}",engine="0"'
    lines = []
    for line in text.splitlines():
        if line.startswith("#"):
            mark, kind, name, rest = line.split(" ", 3)
            lines += [f"{mark} {kind} {alias} {rest}" for alias in _aliases(name, namespace)]
            continue
        name, _, value = line.rpartition(" ")
        name, _, own = name.partition("{")
        own = f",{own}" if own else "}"
        lines += [f"{alias}{{{labels}{own} {value}" for alias in _aliases(name, namespace)]
    return "".join(f"{line}\n" for line in lines)


def _aliases(name: str, namespace: str) -> list[str]:
    """vLLM's names for one of ours; it has two for what the prefix cache was asked and gave."""
    bare = name.removeprefix(f"{namespace}_")
    return [
        f"vllm:{bare.replace(ours, theirs, 1)}"
        for ours, theirs in (
            ("", ""),
            ("prompt_tokens_cached", "prefix_cache_hits"),
            ("prompt_tokens", "prefix_cache_queries"),
        )
        if not ours or bare.removesuffix("_total").removesuffix("_created") == ours
    ]


class GatewayMetrics(_Metrics):
    """What one gateway tells of itself."""

    def __init__(self) -> None:
        super().__init__("tokenyard_gateway")
        self.requests = self._counter("requests", "Answers by route and status.", "route", "status")
        self.denials = self._counter("denials", "Denied requests by named reason.", "reason")
        self.limit_denials = self._counter(
            "limit_denials", "Requests that a limit denied, by its name.", "limit"
        )
        self.limit_store_up = self._gauge(
            "limit_store_up", "1 when the shared counts of limits can be reached."
        )
        self.limit_store_decisions = self._counter(
            "limit_store_decisions",
            "Requests decided while the shared counts were away: open or closed.",
            "rule",
        )
        self.active = self._gauge("active_generations", "Answers in progress.")
        self.admission = self._histogram(
            "admission_seconds", "Time to admit a request.", ADMISSION_BUCKETS
        )
        self.first_token = self._histogram(
            "time_to_first_token_seconds",
            "Request to first event of the answer.",
            FIRST_TOKEN_BUCKETS,
            "model",
        )
        self.tokens = self._counter("tokens", "Billed tokens by model and kind.", "model", "kind")
        self.cost = self._counter("cost_nanos", "Billed cost in nano-units.", "model")
        self.ledger_lag = self._histogram(
            "ledger_lag_seconds", "From a bill to its commit.", LAG_BUCKETS
        )
        self.ledger_unentered = self._counter(
            "ledger_unentered", "Reservations and releases that the journal could not take."
        )
        self._measure_upstreams()
        self.replica_restarts = self._counter(
            "replica_restarts", "Model servers started again after a death."
        )
        self._measure_streams()
        self.batches = self._gauge("batches", "Batches that have not ended, by status.", "status")
        self.batch_lines = self._counter(
            "batch_lines", "Lines of batches that came to an end, by outcome.", "outcome"
        )
        self.batch_lines_running = self._gauge(
            "batch_lines_running", "Lines of batches that a model server works on."
        )
        self.batch_lines_allowed = self._gauge(
            "batch_lines_allowed", "Lines of batches that may run beside what else runs now."
        )
        self.batch_yields = self._counter(
            "batch_yields", "Lines stopped to make way, or sent back by a model server.", "reason"
        )
        self.batch_queue_age = self._gauge(
            "batch_queue_age_seconds", "Age of the oldest batch that has not ended."
        )
        self.file_bytes = self._counter(
            "file_bytes", "Bytes of files taken in and given out.", "way"
        )

    def _measure_streams(self) -> None:
        self.stream_readers = self._gauge("stream_readers", "Connections that read a stream.")
        self.sockets = self._gauge("sockets", "Open WebSockets.")
        self.stream_events = self._counter("stream_events", "Events that came into logs.")
        self.merged_deltas = self._counter(
            "merged_deltas", "Pieces of text that became part of the event before them."
        )
        self.merge_window = self._gauge(
            "merge_window_seconds", "How long pieces of text are gathered now."
        )
        self.readers_closed = self._counter(
            "readers_closed", "Connections that the server closed, by reason.", "reason"
        )
        self.takeovers = self._counter(
            "takeovers", "Answers that were continued after a death, by whose it was.", "of"
        )

    def _measure_upstreams(self) -> None:
        self.upstream_errors = self._counter(
            "upstream_errors", "Failed calls to model servers by reason.", "reason"
        )
        self.upstream_retries = self._counter(
            "upstream_retries", "Calls that went on to another model server.", "upstream"
        )
        self.upstream_hedges = self._counter(
            "upstream_hedges",
            "Answers for which two model servers were asked, by which spoke first.",
            "winner",
        )
        self.upstream_breaker_open = self._gauge(
            "upstream_breaker_open", "1 when a model server is not asked any more.", "upstream"
        )
        self.moderations = self._counter(
            "moderations",
            "Requests by what moderation said of them.",
            "outcome",
        )
        self.between_tokens = self._histogram(
            "inter_token_latency_seconds",
            "Event to event of a streamed answer.",
            BETWEEN_TOKENS_BUCKETS,
            "model",
        )
        self.upstream_ready = self._gauge(
            "upstream_ready", "1 when the model server is ready.", "upstream"
        )


class JobMetrics(_Metrics):
    """What one scheduler tells of itself."""

    def __init__(self) -> None:
        super().__init__("tokenyard_jobs")
        self.cycle = self._histogram("cycle_seconds", "Time of one cycle.", ADMISSION_BUCKETS)
        self.wait = self._histogram(
            "wait_seconds", "Submission to first start.", REQUEST_BUCKETS, "queue", "priority"
        )
        self.failures = self._counter(
            "failures", "Failed attempts by type of job and reason.", "type", "reason"
        )
        self.succeeded = self._counter("succeeded", "Jobs that succeeded, by type.", "type")
        self.preemptions = self._counter("preemptions", "Preempted attempts by reason.", "reason")
        self.admissions = self._counter(
            "admissions", "Attempts started: in order, in a gap, on held seats.", "reason"
        )
        self.oldest_wait = self._gauge(
            "oldest_wait_seconds", "How long the job that waits longest has waited.", "queue"
        )
        self.node_gpus_busy = self._gauge(
            "node_gpus_busy", "GPUs of jobs, weighed by how busy they are, by node.", "node"
        )
        self.lost_gpu_seconds = self._counter(
            "lost_gpu_seconds", "GPU-seconds of attempts whose work was lost."
        )
        self.queued = self._gauge("queue_depth", "Jobs by queue and what they do.", "queue", "what")
        self.node_gpus_used = self._gauge("node_gpus_used", "GPUs in use, by node.", "node")
        self.waiting = self._gauge(
            "waiting", "Jobs that wait, by the one dominant reason.", "reason"
        )
        self.cluster = self._gauge(
            "cluster", "GPUs of the cluster: all, free, fragmented, held.", "what"
        )

    def set_values(self, values: Mapping[str, float]) -> None:
        """Take the gauges from values by name, as the history keeps them."""
        # Queues and nodes that are no longer there must not keep their last value.
        self.queued.clear()
        self.waiting.clear()
        self.node_gpus_used.clear()
        self.node_gpus_busy.clear()
        self.oldest_wait.clear()
        for name, value in values.items():
            match name.split("/"):
                case ["queue", queue, "oldest_wait_seconds"]:
                    self.oldest_wait.labels(queue).set(value)
                case ["queue", queue, what]:
                    self.queued.labels(queue, what).set(value)
                case ["reason", reason]:
                    self.waiting.labels(reason).set(value)
                case ["node", node, "gpus_busy"]:
                    self.node_gpus_busy.labels(node).set(value)
                case ["node", node, "gpus_used"]:
                    self.node_gpus_used.labels(node).set(value)
                case ["cluster", what] if what.startswith("gpus"):
                    self.cluster.labels(what).set(value)
                case _:
                    continue
