"""Traces as a collector receives them: OpenTelemetry's protocol over real HTTP."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, http_attributes
from opentelemetry.semconv.attributes import error_attributes, server_attributes

from support.asgi import AsgiClient
from support.yards import open_fake_yard
from tokenyard.gateway.traced import Traced
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.runtime.telemetry_settings import TelemetrySettings
from tokenyard.telemetry.tracing import NO_TRACING, Tracing, open_tracing
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.vocabulary.reasons import Reason

SECRET = "my secret question"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = json.dumps(
    {
        "model": "tiny",
        "messages": [{"role": "user", "content": SECRET}],
        "max_tokens": 7,
        "temperature": 0.5,
    }
).encode()
EVENTS = (
    {"id": "c1", "model": "tiny", "choices": [{"delta": {"content": "my secret answer"}}]},
    {"id": "c1", "model": "tiny", "choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
)


class Collector:
    """Takes what is exported; `spans` are those that came, by name."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.bytes = b""
        self.headers: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.headers = dict(self.headers)
                collector.take(self.path, self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, path: str, body: bytes) -> None:
        if path != "/v1/traces":
            # A model server, that says nothing.
            return
        self.bytes += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.update({span.name: span for span in scope.spans})

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attributes(span: Span) -> dict[str, Any]:
    found = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = (
            [item.string_value for item in value.values] if kind == "array_value" else value
        )
    return found


def answer(tracing: Tracing) -> dict[str, str]:
    """One request with one call to a model server; gives the headers of the call."""
    headers = [(b"traceparent", CALLER.encode()), (b"host", b"x")]
    with tracing.request("POST", "/v1/chat/completions", headers) as request:
        span = tracing.generation("http://10.0.0.7:8000", "/chat/completions", BODY)
        sent = dict(span.headers)
        for event in EVENTS:
            span.see(json.dumps(event).encode())
        span.end()
        request.answered("/v1/chat/completions", 200, None)
    tracing.close()
    return sent


def test_a_request_and_its_call_are_spans_of_the_callers_trace(collector: Collector) -> None:
    sent = answer(open_tracing(TelemetrySettings(otlp_url=collector.url)))
    request = collector.spans["POST /v1/chat/completions"]
    call = collector.spans["chat tiny"]
    assert request.trace_id.hex() == call.trace_id.hex() == CALLER.split("-")[1]
    assert request.parent_span_id.hex() == CALLER.split("-")[2]
    assert call.parent_span_id == request.span_id
    assert sent["traceparent"] == f"00-{call.trace_id.hex()}-{call.span_id.hex()}-01"
    assert (request.kind, call.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert attributes(request)[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 200
    names = gen_ai_attributes
    assert attributes(call) == {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_PROVIDER_NAME: "tokenyard",
        names.GEN_AI_REQUEST_MODEL: "tiny",
        names.GEN_AI_REQUEST_MAX_TOKENS: 7,
        names.GEN_AI_REQUEST_TEMPERATURE: 0.5,
        names.GEN_AI_RESPONSE_ID: "c1",
        names.GEN_AI_RESPONSE_MODEL: "tiny",
        names.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
        names.GEN_AI_USAGE_INPUT_TOKENS: 5,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 2,
        server_attributes.SERVER_ADDRESS: "10.0.0.7",
        server_attributes.SERVER_PORT: 8000,
    }
    assert b"secret" not in collector.bytes


async def test_a_model_server_is_told_whose_trace_it_is(collector: Collector) -> None:
    tracing = open_tracing(TelemetrySettings(otlp_url=collector.url))
    server = Collector()
    upstream = HttpUpstream(server.url, UpstreamSettings(), tracing=tracing)
    with tracing.request("POST", "/v1/chat/completions", [(b"traceparent", CALLER.encode())]):
        await upstream.complete(GenerationCall(GenerationPath.CHAT, BODY, "req_1"))
    await upstream.close()
    await asyncio.to_thread(tracing.close)
    server.close()
    call = collector.spans["chat tiny"]
    assert server.headers["traceparent"].split("-")[1] == CALLER.split("-")[1]
    assert server.headers["traceparent"].split("-")[2] == call.span_id.hex()


def test_prompts_are_in_spans_only_when_somebody_asks_for_it(collector: Collector) -> None:
    answer(open_tracing(TelemetrySettings(otlp_url=collector.url, prompts=True)))
    told = attributes(collector.spans["chat tiny"])
    assert SECRET in told[gen_ai_attributes.GEN_AI_INPUT_MESSAGES]
    assert told[gen_ai_attributes.GEN_AI_OUTPUT_MESSAGES] == "my secret answer"


def test_a_failure_is_told_by_its_reason(collector: Collector) -> None:
    tracing = open_tracing(TelemetrySettings(otlp_url=collector.url))
    with tracing.request("GET", "/v1/models", []) as request:
        span = tracing.generation("http://10.0.0.7", "/completions", b"not json")
        span.fail(Reason.UPSTREAM_FAILED)
        span.end()
        request.answered("/v1/completions", 502, Reason.UPSTREAM_FAILED)
    tracing.close()
    for name in ("GET /v1/completions", "text_completion "):
        assert attributes(collector.spans[name])[error_attributes.ERROR_TYPE] == "upstream_failed"


def test_nothing_is_sent_when_the_sample_is_nothing(collector: Collector) -> None:
    tracing = open_tracing(TelemetrySettings(otlp_url=collector.url, sample_ratio=0))
    with tracing.request("GET", "/v1/models", []) as request:
        request.answered("/v1/models", 200, None)
    tracing.close()
    assert collector.spans == {}


def test_without_a_collector_nothing_is_made() -> None:
    assert open_tracing(TelemetrySettings()) is NO_TRACING
    with NO_TRACING.request("GET", "/", []) as request:
        span = NO_TRACING.generation("http://x", "/completions", b"{}")
        assert span.headers == {}
        span.see(b"{}")
        span.fail("x")
        span.end()
        request.answered("/", 200, None)
    NO_TRACING.close()


async def test_a_request_through_the_whole_gateway_is_traced(collector: Collector) -> None:
    tracing = open_tracing(TelemetrySettings(otlp_url=collector.url))
    async with open_fake_yard() as yard:
        app = Traced(yard.gateway.app, tracing)
        client = AsgiClient(app, {"authorization": f"Bearer {yard.key}"})
        assert (await client.call("GET", "/v1/models")).status == 200
        assert (await client.call("GET", "/v1/responses/resp_none")).status == 404
    await asyncio.to_thread(tracing.close)
    found = attributes(collector.spans["GET /v1/models"])
    assert found[http_attributes.HTTP_ROUTE] == "/v1/models"
    (missing,) = [span for name, span in collector.spans.items() if "responses" in name]
    assert attributes(missing)[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 404
    assert attributes(missing)[error_attributes.ERROR_TYPE] == Reason.NOT_FOUND
