"""Metrics: every name, label and bucket of the platform, declared once.

The engine's names are those that vLLM dashboards know, under our own prefix. Each process makes one
instance of its class and serves it as text in the Prometheus exposition format.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
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


class EngineMetrics:
    """What one model server tells of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make = {"registry": self.registry, "namespace": "tokenyard_engine"}
        self.running = Gauge("num_requests_running", "Sequences in the running batch.", **make)
        self.waiting = Gauge("num_requests_waiting", "Requests waiting to be admitted.", **make)
        self.kv_usage = Gauge("kv_cache_usage_perc", "Used part of the KV cache, 0 to 1.", **make)
        self.preemptions = Counter("num_preemptions", "Sequences preempted by recompute.", **make)
        self.prompt_tokens = Counter("prompt_tokens", "Prompt tokens taken in.", **make)
        self.cached_tokens = Counter(
            "prompt_tokens_cached", "Prompt tokens found in the prefix cache.", **make
        )
        self.generated_tokens = Counter("generation_tokens", "Tokens generated.", **make)
        self.finished = Counter(
            "request_success", "Ended requests by reason.", ["finished_reason"], **make
        )
        self.rejected = Counter(
            "admission_rejections", "Requests refused at the door, by reason.", ["reason"], **make
        )
        self.step_tokens = Histogram(
            "iteration_tokens_total",
            "Tokens computed in one step.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
            **make,
        )
        self.first_token = Histogram(
            "time_to_first_token_seconds", "Arrival to first token.",
            buckets=FIRST_TOKEN_BUCKETS, **make,
        )  # fmt: skip
        self.between_tokens = Histogram(
            "inter_token_latency_seconds", "Token to token.",
            buckets=BETWEEN_TOKENS_BUCKETS, **make,
        )  # fmt: skip
        self.queue = Histogram(
            "request_queue_time_seconds", "Arrival to first scheduling.",
            buckets=REQUEST_BUCKETS, **make,
        )  # fmt: skip
        self.end_to_end = Histogram(
            "e2e_request_latency_seconds", "Arrival to end.", buckets=REQUEST_BUCKETS, **make
        )

    def render(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self.registry)


class GatewayMetrics:
    """What one gateway tells of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make = {"registry": self.registry, "namespace": "tokenyard_gateway"}
        self.requests = Counter("requests", "Answers by route and status.", ["route", "status"], **make)
        self.denials = Counter("denials", "Denied requests by named reason.", ["reason"], **make)
        self.active = Gauge("active_generations", "Answers in progress.", **make)
        self.admission = Histogram(
            "admission_seconds", "Time to admit a request.",
            buckets=(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 1.0), **make,
        )  # fmt: skip
        self.first_token = Histogram(
            "time_to_first_token_seconds", "Request to first event of the answer.",
            ["model"], buckets=FIRST_TOKEN_BUCKETS, **make,
        )  # fmt: skip
        self.tokens = Counter("tokens", "Billed tokens by model and kind.", ["model", "kind"], **make)
        self.cost = Counter("cost_nanos", "Billed cost in nano-units.", ["model"], **make)
        self.upstream_errors = Counter(
            "upstream_errors", "Failed calls to model servers by reason.", ["reason"], **make
        )
        self.upstream_ready = Gauge(
            "upstream_ready", "1 when the model server is ready.", ["upstream"], **make
        )
        self.replica_restarts = Counter(
            "replica_restarts", "Model servers started again after a death.", **make
        )
        self.stream_readers = Gauge("stream_readers", "Connections that read a stream.", **make)

    def render(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self.registry)
