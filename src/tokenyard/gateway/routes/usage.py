"""Usage and cost: sums by time and group, as OpenAI's admin API names them, as CSV, and the month.

Who has `usage.read_all` sees the organisation; everybody else the project that they call from.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_choice, read_int
from tokenyard.ledger.ledger import Ledger
from tokenyard.ledger.months import month_of
from tokenyard.ledger.records import (
    Dimension,
    Scope,
    Subject,
    UsageBucket,
    UsageQuery,
    subjects_of,
)
from tokenyard.ledger.rules.pricing import Tier, price, saved_nanos
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.usage import (
    Amount,
    CostBucket,
    CostPage,
    CostResult,
    Estimate,
    EstimateRequest,
    MonthSummary,
    Standing,
    UsageBucketBody,
    UsagePage,
    UsageResult,
)
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.money import NANOS_PER_UNIT
from tokenyard.vocabulary.reasons import Reason

_TAG = "Usage"
_DAY_SECONDS = 86_400
_WIDTHS = {"1m": 1, "1h": 60, "1d": 1440}
# As OpenAI: how many buckets a page has at most, and unless told otherwise.
_PAGES = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 366)}
_LATEST = 253_402_300_799

_START = Query("start_time", "Unix seconds, included.", int, 0, _LATEST)
_END = Query("end_time", "Unix seconds, not included; now, if left out.", int, 0, _LATEST)
_WIDTH = Query("bucket_width", "Length of a bucket.", choices=tuple(_WIDTHS))
_LIMIT = Query("limit", "Buckets of a page.", int, 1, 1440)
_PAGE = Query("page", "Where the page begins: `next_page` of the one before.")
_GROUP = Query(
    "group_by", "Comma-separated: " + ", ".join([*(one.value for one in Dimension)]) + "."
)
_ONLY = {
    "project_ids": Dimension.PROJECT,
    "user_ids": Dimension.USER,
    "api_key_ids": Dimension.KEY,
    "models": Dimension.MODEL,
    "service_tiers": Dimension.TIER,
    "job_ids": Dimension.JOB,
}
_FILTERS = tuple(Query(name, f"Only these, comma-separated: {name}.") for name in _ONLY)
_QUERIES = (_START, _END, _WIDTH, _LIMIT, _PAGE, _GROUP, *_FILTERS)
_COLUMNS = (
    "start_time", "end_time", "organization_id", "project_id", "user_id", "api_key_id", "model",
    "service_tier", "upstream", "job_id", "num_model_requests", "input_tokens",
    "input_cached_tokens", "output_tokens", "output_reasoning_tokens", "gpu_seconds", "cost_nanos",
    "cache_saved_nanos", "currency",
)  # fmt: skip


class UsageRoutes:
    """Handlers of what was used and what it cost."""

    def __init__(self, *, doorway: Doorway, ledger: Ledger, clock: Clock) -> None:
        self._doorway = doorway
        self._ledger = ledger
        self._clock = clock

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", "/v1/organization/usage/completions", "listUsage",
                "Tokens, requests and cost by time and group.",
                self._usage, _TAG, answer=UsagePage, query=_QUERIES,
                permission=Permission.USAGE_READ,
            ),
            Operation(
                "GET", "/v1/organization/costs", "listCosts", "Cost by day and line.",
                self._costs, _TAG, answer=CostPage, query=_QUERIES,
                permission=Permission.USAGE_READ,
            ),
            Operation(
                "GET", "/api/usage.csv", "exportUsage", "The same sums as a table.",
                self._csv, _TAG, query=_QUERIES, content_type="text/csv",
                permission=Permission.USAGE_READ,
            ),
            Operation(
                "GET", "/api/usage/month", "getMonth",
                "This month of the caller: spent, reserved, forecast, budgets.",
                self._month, _TAG, answer=MonthSummary, permission=Permission.ACCOUNT,
            ),
            Operation(
                "POST", "/api/usage/estimate", "estimateCost",
                "What a turn will cost, before it is sent.",
                self._estimate, _TAG, EstimateRequest, Estimate, errors=(404,),
                permission=Permission.MODELS_READ,
            ),
        ]  # fmt: skip

    async def _usage(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        query, end = self._read_query(request, caller, "1d")
        buckets = await self._ledger.statements.usage(query)
        spans = [
            UsageBucketBody(start, until, [_result(one, query) for one in found])
            for start, until, found in _spans(query, buckets)
        ]
        more = query.until < end
        return json_answer(UsagePage(spans, more, str(int(query.until)) if more else None))

    async def _costs(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        query, end = self._read_query(request, caller, "1d", lines=True)
        buckets = await self._ledger.statements.usage(query)
        spans = [
            CostBucket(start, until, [_cost(one, query) for one in found])
            for start, until, found in _spans(query, buckets)
        ]
        more = query.until < end
        return json_answer(CostPage(spans, more, str(int(query.until)) if more else None))

    async def _csv(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        query, _ = self._read_query(request, caller, "1d", whole=True)
        told = io.StringIO()
        writer = csv.writer(told, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for bucket in await self._ledger.statements.usage(query):
            result = _result(bucket, query)
            start = bucket.start
            end = start + query.bucket_minutes * 60
            cells = [_day(start), _day(end)]
            cells += [_cell(getattr(result, name)) for name in _COLUMNS[2:]]
            writer.writerow(cells)
        return Response(
            told.getvalue(),
            media_type="text/csv",
            headers={"content-disposition": 'attachment; filename="usage.csv"'},
        )

    async def _month(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        month = month_of(self._clock.now())
        subjects = subjects_of(caller.organisation, caller.project, caller.user, caller.key)
        wanted = {Dimension.PROJECT: (caller.project,)}
        query = UsageQuery(month.since, month.until, 44_640, (), wanted)
        used = await self._ledger.statements.usage(query)
        return json_answer(
            MonthSummary(
                currency=self._ledger.currency,
                since=int(month.since),
                until=int(month.until),
                standings=await self._standings(caller, subjects),
                cache_saved_nanos=sum(one.saved_nanos for one in used),
                requests=sum(one.requests for one in used),
                input_tokens=sum(one.usage.prompt_tokens for one in used),
                input_cached_tokens=sum(one.usage.cached_tokens for one in used),
                output_tokens=sum(one.usage.completion_tokens for one in used),
            )
        )

    async def _standings(self, caller: Principal, subjects: Sequence[Subject]) -> list[Standing]:
        balances = await self._ledger.statements.balances(*subjects)
        now, month = self._clock.now(), month_of(self._clock.now())
        # The first hour of a month tells nothing of its end.
        share = max(now - month.since, 3600.0) / (month.until - month.since)
        found = []
        for scope, subject in subjects:
            held = balances[scope, subject]
            budget = self._ledger.budgets.find(caller.organisation, (scope, subject))
            hard = None if budget is None else budget.hard_nanos
            own = caller.monthly_cap_nanos if scope is Scope.KEY else None
            if own is not None:
                hard = own if hard is None else min(hard, own)
            found.append(
                Standing(
                    scope=scope,
                    subject=subject,
                    spent_nanos=held.spent_nanos,
                    reserved_nanos=held.reserved_nanos,
                    forecast_nanos=round(held.spent_nanos / share),
                    soft_nanos=None if budget is None else budget.soft_nanos,
                    hard_nanos=hard,
                )
            )
        return found

    async def _estimate(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        asked = decode_request(EstimateRequest, await self._doorway.body(request))
        if asked.cached_tokens > asked.input_tokens:
            raise InvalidRequest("More is cached than is sent.", param="cached_tokens")
        rates = self._ledger.prices.find(
            asked.model, self._clock.now(), tier=Tier(asked.service_tier)
        )
        if rates is None:
            raise NotFound(
                f"The model {asked.model} has no price.",
                reason=Reason.MODEL_NOT_FOUND,
                param="model",
            )
        least = Usage(asked.input_tokens, 0, asked.cached_tokens)
        most = Usage(asked.input_tokens, asked.output_tokens_max, asked.cached_tokens)
        return json_answer(
            Estimate(
                currency=rates.currency,
                least_nanos=price(least, rates).nanos,
                most_nanos=price(most, rates).nanos,
                cache_saved_nanos=saved_nanos(least, rates),
            )
        )

    def _read_query(
        self,
        request: Request,
        caller: Principal,
        width: str,
        *,
        lines: bool = False,
        whole: bool = False,
    ) -> tuple[UsageQuery, float]:
        """What to sum for this page, and where the last page ends."""
        width = read_choice(request, _WIDTH, width)
        seconds = _WIDTHS[width] * 60
        usual, most = _PAGES[width]
        now = int(self._clock.now())
        limit = min(read_int(request, _LIMIT, usual) or usual, most)
        end = read_int(request, _END, now + 1) or 0
        last = -(-end // seconds) * seconds
        start = read_int(request, _START, max(last - limit * seconds, 0)) or 0
        start = _read_page(request, start)
        if end <= start:
            raise InvalidRequest("The time ends before it begins.", param="end_time")
        start = start // seconds * seconds
        until = end if whole else min(end, start + limit * seconds)
        only = {
            dimension: values
            for name, dimension in _ONLY.items()
            if (values := _read_list(request, name))
        }
        return (
            UsageQuery(
                start, until, _WIDTHS[width], _read_groups(request, lines), _within(caller, only)
            ),
            end,
        )


def _within(
    caller: Principal, only: dict[Dimension, tuple[str, ...]]
) -> dict[Dimension, tuple[str, ...]]:
    """What the caller asked for, cut to what it may see."""
    only[Dimension.ORGANISATION] = (caller.organisation,)
    if not caller.may(Permission.USAGE_READ_ALL):
        if any(project != caller.project for project in only.get(Dimension.PROJECT, ())):
            raise NotFound("There is no such project.", param="project_ids")
        only[Dimension.PROJECT] = (caller.project,)
    return only


def _read_list(request: Request, name: str) -> tuple[str, ...]:
    """A parameter that may be repeated, with or without brackets, or hold commas."""
    told = [*request.query_params.getlist(name), *request.query_params.getlist(f"{name}[]")]
    values = [value for one in told for value in one.split(",") if value]
    if len(values) > 100 or any("\0" in value for value in values):
        raise InvalidRequest(f"'{name}' has too many or impossible values.", param=name)
    return tuple(values)


def _read_groups(request: Request, lines: bool) -> tuple[Dimension, ...]:
    told = []
    for value in _read_list(request, "group_by"):
        # OpenAI's word for it; a line of a bill is a model here.
        name = Dimension.MODEL.value if lines and value == "line_item" else value
        try:
            told.append(Dimension(name))
        except ValueError:
            words = ", ".join(one.value for one in Dimension)
            raise InvalidRequest(f"'group_by' takes {words}.", param="group_by") from None
    return tuple(dict.fromkeys(told))


def _read_page(request: Request, start: int) -> int:
    text = request.query_params.get("page")
    if text is None:
        return start
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise InvalidRequest(
            "'page' is no page of this list.", reason=Reason.INVALID_CURSOR, param="page"
        )
    return int(text)


def _spans(
    query: UsageQuery, buckets: Iterable[UsageBucket]
) -> list[tuple[int, int, list[UsageBucket]]]:
    """Every span of the time that was asked for, empty ones too, with what is in it."""
    seconds = query.bucket_minutes * 60
    spans: dict[int, list[UsageBucket]] = {
        start: [] for start in range(int(query.since), int(query.until), seconds)
    }
    for bucket in buckets:
        spans.setdefault(bucket.start, []).append(bucket)
    return [(start, start + seconds, found) for start, found in sorted(spans.items())]


def _names(bucket: UsageBucket, query: UsageQuery) -> dict[str, str | None]:
    named = dict(zip((one.value for one in query.group_by), bucket.group, strict=True))
    if Dimension.ORGANISATION.value in named:
        named["organization_id"] = named.pop(Dimension.ORGANISATION.value)
    return named


def _result(bucket: UsageBucket, query: UsageQuery) -> UsageResult:
    used = bucket.usage
    result = UsageResult(
        input_tokens=used.prompt_tokens,
        output_tokens=used.completion_tokens,
        input_cached_tokens=used.cached_tokens,
        input_uncached_tokens=used.prompt_tokens - used.cached_tokens,
        output_reasoning_tokens=used.reasoning_tokens,
        num_model_requests=bucket.requests,
        cost_nanos=bucket.cost.nanos,
        cache_saved_nanos=bucket.saved_nanos,
        gpu_seconds=bucket.gpu_millis / 1000,
        currency=bucket.cost.currency,
    )
    for name, value in _names(bucket, query).items():
        setattr(result, name, value)
    return result


def _cost(bucket: UsageBucket, query: UsageQuery) -> CostResult:
    named = _names(bucket, query)
    nanos, currency = bucket.cost.nanos, bucket.cost.currency
    return CostResult(
        amount=Amount(nanos / NANOS_PER_UNIT, currency.lower(), nanos),
        line_item=named.get(Dimension.MODEL.value),
        project_id=named.get(Dimension.PROJECT.value),
        api_key_id=named.get(Dimension.KEY.value),
    )


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
