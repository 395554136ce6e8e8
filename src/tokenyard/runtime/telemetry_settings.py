"""Settings of what the platform tells of itself."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count


class TelemetrySettings(Branch, frozen=True):
    """Traces, for a collector that speaks OpenTelemetry's protocol over HTTP."""

    otlp_url: Annotated[
        str,
        Meta(
            description="The collector's address, such as `http://127.0.0.1:4318`; empty sends no "
            "traces.",
            pattern=r"^(https?://\S+)?$",
        ),
    ] = ""
    sample_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Part of the requests that are traced; one whose caller traces it is "
            "traced as the caller says.",
        ),
    ] = 1.0
    prompts: Annotated[
        bool, Meta(description="Whether spans hold what was asked and answered.")
    ] = False
    spans_queued_max: Annotated[
        Count, Meta(description="Spans that may wait for the collector; further ones are dropped.")
    ] = 2048
