"""Settings of limits: what each key may ask, all of them together, and where it is counted."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds

CountOrNone = Annotated[int, Meta(ge=0)]


class LimitSettings(Branch, frozen=True):
    """How much one caller, and all of them together, may ask."""

    requests_per_minute: Annotated[
        Count, Meta(description="Requests that cost money, per key (or web user) and minute.")
    ] = 600
    requests_burst: Annotated[Count, Meta(description="How many of them may come at once.")] = 60
    requests_per_day: Annotated[
        CountOrNone, Meta(description="The same per calendar day (UTC); 0 is no limit.")
    ] = 0
    input_tokens_per_minute: Annotated[
        CountOrNone, Meta(description="Prompt tokens per key (or web user) and minute; 0 is none.")
    ] = 0
    output_tokens_per_minute: Annotated[
        CountOrNone, Meta(description="Answer tokens per key (or web user) and minute; 0 is none.")
    ] = 0
    concurrent_requests_per_key: Annotated[
        Count, Meta(description="Answers in progress for one key (or web user).")
    ] = 32
    concurrent_requests: Annotated[
        Count, Meta(description="Answers in progress on this gateway in all.")
    ] = 256
    output_tokens_estimate: Annotated[
        Count,
        Meta(
            description="Answer tokens that are set aside for a request without max_tokens; the "
            "true count is settled at its end."
        ),
    ] = 1024
    stream_seconds_max: Annotated[
        Seconds,
        Meta(description="A place among the answers in progress that nobody gave back ends then."),
    ] = 3600.0
    store_away: Annotated[
        str,
        Meta(
            description="While Redis is away: `open` counts in each gateway alone, `closed` "
            "refuses with 503. Limits that are set through the API say it for themselves.",
            pattern="^(open|closed)$",
        ),
    ] = "open"
    store_retry_seconds: Annotated[
        Seconds, Meta(description="How long Redis is left alone after a failure.")
    ] = 1.0
    refresh_seconds: Annotated[
        Seconds, Meta(description="How often limits are read anew from the database.")
    ] = 1.0
    waiting_max: Annotated[
        Count,
        Meta(
            description="Requests that may wait at each model server of a model before "
            "interactive ones get 503 system_overloaded."
        ),
    ] = 64
    kv_share_max: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="The same when this part of the KV cache is in use and some wait.",
        ),
    ] = 0.95
    first_token_seconds_target: Annotated[
        Seconds,
        Meta(description="The same when requests wait longer than this for their first token."),
    ] = 30.0
    batch_share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Part of these three at which requests of a lower class (flex, batch) "
            "are refused already, so that interactive ones find room.",
        ),
    ] = 0.5
    priority_share: Annotated[
        float,
        Meta(
            ge=1,
            le=100,
            description="How many times these three requests of the service tier `priority` may "
            "find before they are refused too.",
        ),
    ] = 1.5
    flex_queue_place: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Class that requests of the service tier `flex` have in the model server's "
            "queue; others have 0, lines of batches `batches.priority`, and lower comes first.",
        ),
    ] = 50
