"""Usage, costs, budgets and prices on the wire.

The first two are OpenAI's admin API (`/v1/organization/usage/completions` and `…/costs`)
with fields of ours beside theirs; amounts of ours are integers of nano-units.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Nanos = Annotated[int, Meta(ge=0, le=2**62)]


class UsageResult(msgspec.Struct, omit_defaults=False):
    """Sums over requests that share what was grouped by; the rest of the names is null."""

    input_tokens: int
    output_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    output_reasoning_tokens: int
    num_model_requests: int
    cost_nanos: int
    # What the tokens from the prefix cache would have cost more without it.
    cache_saved_nanos: int
    gpu_seconds: float
    currency: str
    organization_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    upstream: str | None = None
    job_id: str | None = None
    object: Literal["organization.usage.completions.result"] = (
        "organization.usage.completions.result"
    )


class UsageBucketBody(msgspec.Struct):
    """One span of time: start <= time < end, in Unix seconds."""

    start_time: int
    end_time: int
    results: list[UsageResult]
    object: Literal["bucket"] = "bucket"


class UsagePage(msgspec.Struct):
    """Buckets in order of time."""

    data: list[UsageBucketBody]
    has_more: bool = False
    next_page: str | None = None
    object: Literal["page"] = "page"


class Amount(msgspec.Struct):
    """An amount as OpenAI spells it; `nanos` is exact."""

    value: float
    currency: str
    nanos: int


class CostResult(msgspec.Struct):
    """What was spent on one line: a model, or the GPUs of jobs."""

    amount: Amount
    line_item: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None
    object: Literal["organization.costs.result"] = "organization.costs.result"


class CostBucket(msgspec.Struct):
    """One span of time: start <= time < end, in Unix seconds."""

    start_time: int
    end_time: int
    results: list[CostResult]
    object: Literal["bucket"] = "bucket"


class CostPage(msgspec.Struct):
    """Buckets in order of time."""

    data: list[CostBucket]
    has_more: bool = False
    next_page: str | None = None
    object: Literal["page"] = "page"


class BudgetBody(msgspec.Struct):
    """A budget of a calendar month (UTC) in nano-units; `*` is anybody without one of its own."""

    id: str
    scope: str
    subject: str
    soft_nanos: int | None
    hard_nanos: int | None
    webhook: str
    object: Literal["budget"] = "budget"


class BudgetList(msgspec.Struct):
    """All budgets of the organisation."""

    data: list[BudgetBody]
    object: Literal["list"] = "list"


class BudgetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a subject may spend in a month; it replaces the budget that the subject has."""

    scope: Literal["key", "user", "project", "organisation"]
    subject: Annotated[str, Meta(min_length=1, max_length=200)]
    soft_nanos: Nanos | None = None
    hard_nanos: Nanos | None = None
    webhook: Annotated[str, Meta(max_length=2000)] = ""


class BudgetDeleted(msgspec.Struct):
    """The answer to a deletion."""

    id: str
    deleted: bool = True


class Standing(msgspec.Struct):
    """Where one subject stands in this month."""

    scope: str
    subject: str
    spent_nanos: int
    reserved_nanos: int
    # At the end of the month, if it goes on like this.
    forecast_nanos: int
    soft_nanos: int | None
    hard_nanos: int | None


class MonthSummary(msgspec.Struct):
    """The month (UTC) of the caller's key, user, project and organisation."""

    currency: str
    since: int
    until: int
    standings: list[Standing]
    # What the prefix cache saved the project.
    cache_saved_nanos: int
    requests: int
    input_tokens: int
    input_cached_tokens: int
    output_tokens: int


class EstimateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A turn that was not sent yet."""

    model: Annotated[str, Meta(min_length=1, max_length=500)]
    input_tokens: Annotated[int, Meta(ge=0, le=10**9)]
    # How many of them the prefix cache is believed to hold.
    cached_tokens: Annotated[int, Meta(ge=0, le=10**9)] = 0
    output_tokens_max: Annotated[int, Meta(ge=0, le=10**9)] = 0
    service_tier: Literal["default", "flex", "priority", "batch"] = "default"


class Estimate(msgspec.Struct):
    """What it will cost: the least (no answer), the most, and what the cache saves of it."""

    currency: str
    least_nanos: int
    most_nanos: int
    cache_saved_nanos: int
