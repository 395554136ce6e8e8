"""Traces: a span for each request, and below it one for each call to a model server.

Names and attributes are those of OpenTelemetry's semantic conventions for HTTP servers and for
generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/). Without a collector nothing is
made, and nothing of OpenTelemetry is loaded. Decides what a span says; does not know where it goes.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from tokenyard.runtime.telemetry_settings import TelemetrySettings
from tokenyard.vocabulary.errors import StartError


class RequestSpan(Protocol):
    """A request that somebody made to us."""

    def answered(self, route: str, status: int, reason: str | None) -> None:
        """How it ended. reason: the named one of a failure."""
        ...


class GenerationSpan(Protocol):
    """A call to a model server."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the call sends on, so that the server's spans are below this one."""
        ...

    def see(self, data: bytes) -> None:
        """Note what an event of a stream, or the body of a whole answer, tells."""
        ...

    def fail(self, reason: str) -> None:
        """It broke, or was refused."""
        ...

    def end(self) -> None:
        """Nothing more comes; to be called once, whatever happened."""
        ...


class Tracing(Protocol):
    """Where spans are made."""

    def request(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> AbstractContextManager[RequestSpan]:
        """A span around the work on a request; what is done inside is below it."""
        ...

    def generation(self, url: str, path: str, body: bytes) -> GenerationSpan:
        """A span of a call with that JSON body to that server."""
        ...

    def close(self) -> None:
        """Send what waits. Blocks."""
        ...


class _NoSpan:
    """Says nothing of anything."""

    headers: Mapping[str, str] = {}

    def answered(self, route: str, status: int, reason: str | None) -> None:
        """Nothing."""

    def see(self, data: bytes) -> None:
        """Nothing."""

    def fail(self, reason: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


_NO_SPAN = _NoSpan()


class NoTracing:
    """Makes no spans."""

    @contextmanager
    def request(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> Iterator[RequestSpan]:
        """Nothing around it."""
        yield _NO_SPAN

    def generation(self, url: str, path: str, body: bytes) -> GenerationSpan:
        """Nothing of it."""
        return _NO_SPAN

    def close(self) -> None:
        """Nothing waits."""


NO_TRACING: Tracing = NoTracing()


def open_tracing(settings: TelemetrySettings) -> Tracing:
    """Spans for the collector of the settings, or none; raises StartError without the packages."""
    if not settings.otlp_url:
        return NO_TRACING
    try:
        # Most installations have no collector, and not these packages either.
        from tokenyard.telemetry.otlp import OtlpTracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise StartError(
            f"Traces need the package {error.name}: pip install -r requirements/scaled.txt"
        ) from None
    return OtlpTracing(settings)
