"""Spans through OpenTelemetry's own library, sent in batches by a thread of that library."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from tokenyard import __version__
from tokenyard.runtime.telemetry_settings import TelemetrySettings

_SYSTEM = "tokenyard"
_TRACES_PATH = "/v1/traces"
_SERVER_FAULT = 500
_OPERATIONS = {
    "/chat/completions": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/messages": "chat",
}
# The words of the API, and those of the conventions.
_PARAMETERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "n": "gen_ai.request.choice.count",
}
_TELLING = (b'"usage"', b'"finish_reason"')


class OtlpTracing:
    """Keeps `telemetry.tracing.Tracing`."""

    def __init__(self, settings: TelemetrySettings) -> None:
        self._prompts = settings.prompts
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            resource=Resource.create({"service.name": _SYSTEM, "service.version": __version__}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(settings.otlp_url.rstrip("/") + _TRACES_PATH)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=settings.spans_queued_max)
        )
        self._tracer = self._provider.get_tracer(_SYSTEM, __version__)

    @contextmanager
    def request(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> Iterator["_Request"]:
        """A span below the caller's, if the caller traces."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        with self._tracer.start_as_current_span(
            method,
            context=extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.path": path},
            record_exception=False,
        ) as span:
            yield _Request(method, span)

    def generation(self, url: str, path: str, body: bytes) -> "_Generation":
        """A span below the current one."""
        asked = _read(body)
        operation = _OPERATIONS.get(path, "chat")
        model = str(asked.get("model", ""))
        server = urlsplit(url)
        span = self._tracer.start_span(
            f"{operation} {model}",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": _SYSTEM,
                "gen_ai.request.model": model,
                "server.address": server.hostname or "",
                "server.port": server.port or 0,
                **_parameters(asked),
            },
        )
        if self._prompts and span.is_recording():
            said = asked.get("messages", asked.get("prompt", asked.get("input")))
            span.set_attribute("gen_ai.input.messages", msgspec.json.encode(said).decode())
        return _Generation(span, keeps_text=self._prompts)

    def close(self) -> None:
        """Send what waits, for as long as the library's own limits allow."""
        self._provider.shutdown()


class _Request:
    def __init__(self, method: str, span: Span) -> None:
        self._method = method
        self._span = span

    def answered(self, route: str, status: int, reason: str | None) -> None:
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if reason is not None:
            self._span.set_attribute("error.type", reason)
        if status >= _SERVER_FAULT:
            self._span.set_status(Status(StatusCode.ERROR))


class _Generation:
    def __init__(self, span: Span, *, keeps_text: bool) -> None:
        self._span = span
        self._keeps_text = keeps_text
        self._text: list[str] = []
        self._finishes: list[str] = []

    @property
    def headers(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        inject(carrier, trace.set_span_in_context(self._span))
        return carrier

    def see(self, data: bytes) -> None:
        if not self._span.is_recording():
            return
        # Most events are a piece of text, which need not be read.
        if self._keeps_text or any(word in data for word in _TELLING):
            self._note(_read(data))

    def fail(self, reason: str) -> None:
        self._span.set_attribute("error.type", reason)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        if self._finishes:
            self._span.set_attribute("gen_ai.response.finish_reasons", self._finishes)
        if self._text:
            self._span.set_attribute("gen_ai.output.messages", "".join(self._text))
        self._span.end()

    def _note(self, told: Mapping[str, Any]) -> None:
        for word in ("id", "model"):
            if isinstance(told.get(word), str):
                self._span.set_attribute(f"gen_ai.response.{word}", told[word])
        for choice in told.get("choices") or ():
            if choice.get("finish_reason"):
                self._finishes.append(choice["finish_reason"])
            said = choice.get("delta") or choice.get("message") or choice
            text = said.get("content") or said.get("text")
            if self._keeps_text and isinstance(text, str):
                self._text.append(text)
        usage = told.get("usage") or {}
        for word, name in (("prompt_tokens", "input"), ("completion_tokens", "output")):
            if isinstance(usage.get(word), int):
                self._span.set_attribute(f"gen_ai.usage.{name}_tokens", usage[word])
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        if isinstance(cached, int):
            self._span.set_attribute("gen_ai.usage.cache_read.input_tokens", cached)


def _parameters(asked: Mapping[str, Any]) -> dict[str, int | float]:
    given = {word: asked[word] for word in _PARAMETERS if isinstance(asked.get(word), int | float)}
    return {_PARAMETERS[word]: value for word, value in given.items()}


def _read(body: bytes) -> dict[str, Any]:
    """What cannot be read tells nothing."""
    try:
        tree = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return tree if isinstance(tree, dict) else {}
