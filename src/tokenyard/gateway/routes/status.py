"""How this process is: alive, ready, its metrics, and the description of its API."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from tokenyard.gateway.admission import Admission
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.gateway.reference_page import render_page
from tokenyard.telemetry.metrics import CONTENT_TYPE, GatewayMetrics, JobMetrics
from tokenyard.upstreams.pool import UpstreamPool

_TAG = "Status"


class StatusBody(msgspec.Struct):
    """One word."""

    status: Literal["live", "ready", "not_ready", "stopping"]


class StatusRoutes:
    """Handlers for operators and their tools; open to anybody who reaches the address."""

    def __init__(
        self,
        pool: UpstreamPool,
        admission: Admission,
        *metrics: GatewayMetrics | JobMetrics,
    ) -> None:
        self._pool = pool
        self._admission = admission
        self._metrics = metrics
        self._describe: Callable[[], dict[str, Any]] = dict

    def describe(self, document: Callable[[], dict[str, Any]]) -> None:
        """Take the way to the description of all operations, these included."""
        self._describe = document

    @cached_property
    def _document(self) -> bytes:
        return msgspec.json.encode(self._describe())

    @cached_property
    def _page(self) -> str:
        return render_page(self._describe())

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", "/health/live", "live", "200 while the process runs.",
                self._live, _TAG, answer=StatusBody, authenticated=False,
            ),
            Operation(
                "GET", "/health/ready", "ready", "200 once every model server can answer.",
                self._ready, _TAG, answer=StatusBody, authenticated=False, errors=(503,),
            ),
            Operation(
                "GET", "/metrics", "metrics", "Metrics in the Prometheus text format.",
                self._render_metrics, _TAG, authenticated=False, content_type="text/plain",
            ),
            Operation(
                "GET", "/openapi.json", "openapi", "This description.",
                self._openapi, _TAG, authenticated=False,
            ),
            Operation(
                "GET", "/docs", "docs", "This description as a page.",
                self._docs, _TAG, authenticated=False, content_type="text/html",
            ),
        ]  # fmt: skip

    async def _live(self, request: Request) -> ASGIApp:
        return json_answer(StatusBody("live"))

    async def _ready(self, request: Request) -> ASGIApp:
        if self._admission.closed:
            return json_answer(StatusBody("stopping"), status=503)
        if not self._pool.ready:
            return json_answer(StatusBody("not_ready"), status=503, headers={"retry-after": "1"})
        return json_answer(StatusBody("ready"))

    async def _render_metrics(self, request: Request) -> ASGIApp:
        told = b"".join(metrics.render() for metrics in self._metrics)
        return Response(told, media_type=CONTENT_TYPE)

    async def _openapi(self, request: Request) -> ASGIApp:
        return json_answer(self._document)

    async def _docs(self, request: Request) -> ASGIApp:
        return HTMLResponse(self._page)
