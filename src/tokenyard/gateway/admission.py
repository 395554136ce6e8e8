"""Admission: whether one more answer may begin now, by the limits of all levels and in all.

Takes what the request is believed to need, and settles what it truly took at its end. Keeps the
answers in progress of this process; the counts of limits are in a store, the decisions in `rules`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tokenyard.gateway.limits import LimitBook
from tokenyard.gateway.ports import LimitStore
from tokenyard.gateway.rules.admission import Class, Room, decide, judge_load
from tokenyard.gateway.rules.tiers import Service, choose_service
from tokenyard.ledger.records import UsageRow
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import LimitReached, TokenyardError, Unavailable
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import IdPrefix
from tokenyard.vocabulary.limits import Demand, Grant, Limit, Measure, Refusal, Window
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.reasons import Reason

_BUSY_RETRY_SECONDS = 1.0
# What a token of a prompt is at least, on average; limits settle the true count afterwards.
BYTES_PER_TOKEN = 3
_REASONS = {
    Measure.REQUESTS: Reason.RATE_LIMIT_REQUESTS,
    Measure.INPUT_TOKENS: Reason.RATE_LIMIT_INPUT_TOKENS,
    Measure.OUTPUT_TOKENS: Reason.RATE_LIMIT_OUTPUT_TOKENS,
    Measure.STREAMS: Reason.CONCURRENCY_LIMIT,
    Measure.SPEND: Reason.RATE_LIMIT_SPEND,
}
_WORDS = {
    Measure.REQUESTS: "requests",
    Measure.INPUT_TOKENS: "prompt tokens",
    Measure.OUTPUT_TOKENS: "answer tokens",
    Measure.STREAMS: "answers in progress",
    Measure.SPEND: "nano-units",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request for an answer is believed to need.

    output_tokens: as it says itself; None when it does not. window: the most that the model can
    hold. answers: how many are asked for at once.
    """

    model: str
    input_tokens: int
    output_tokens: int | None
    window: int
    answers: int = 1
    kind: Class = Class.INTERACTIVE


@dataclass(slots=True)
class Lease:
    """A place among the answers in progress; given back exactly once, however often asked."""

    admission: "Admission"
    place: str
    demands: Sequence[Demand]
    # OpenAI's x-ratelimit-* headers, true to the next admission.
    headers: dict[str, str]
    _held: bool = True
    _row: UsageRow | None = None

    def note(self, row: UsageRow) -> None:
        """What the answer truly took."""
        self._row = row

    def release(self) -> None:
        """Give the place back, and what was taken too much."""
        if self._held:
            self._held = False
            self.admission.give_back(self, self._row)


class Admission:
    """The door of one gateway process.

    loads: how busy the model servers of a model are, one for each that is ready.
    """

    def __init__(
        self,
        settings: LimitSettings,
        *,
        book: LimitBook,
        counts: LimitStore,
        clock: Clock,
        randomness: Randomness,
        metrics: GatewayMetrics,
        loads: Callable[[str], Iterable[Load]] = lambda model: (),
    ) -> None:
        self._room = Room(
            settings.concurrent_requests,
            waiting_max=settings.waiting_max,
            kv_share_max=settings.kv_share_max,
            first_token_seconds=settings.first_token_seconds_target,
            lower_share=settings.batch_share,
            upper_share=settings.priority_share,
        )
        self._estimate = settings.output_tokens_estimate
        self._flex_queue_place = settings.flex_queue_place
        self._stream_seconds = settings.stream_seconds_max
        self.book = book
        self._counts = counts
        self._clock = clock
        self._randomness = randomness
        self._metrics = metrics
        self._loads = loads
        self.active = 0
        metrics.active.set_function(lambda: self.active)
        self.closed = False

    def close(self) -> None:
        """Admit nobody from now on."""
        self.closed = True

    def serve_as(self, tier: str | None) -> Service:
        """What a `service_tier` means here."""
        return choose_service(tier, self._flex_queue_place)

    async def enter(self, caller: Principal, asking: Asking | None = None) -> Lease:
        """Take a place; raises LimitReached or Unavailable with the reason and the wait.

        asking: None for a request that costs money in another way than by an answer now.
        """
        try:
            self._check_room(asking)
            return await self._enter(caller, asking)
        except TokenyardError as error:
            self._metrics.denials.labels(error.reason).inc()
            raise

    def give_back(self, lease: Lease, row: UsageRow | None) -> None:
        """A lease has ended; `row` is what it took, None when there was no answer."""
        self.active -= 1
        changes = []
        for demand in lease.demands:
            more = _taken(demand, row) - demand.amount
            # Most count as one request, of which there is nothing to correct.
            if more or demand.limit.window is Window.NOW:
                changes.append(Demand(demand.limit, demand.bucket, more))
        self._counts.post_settle(changes, place=lease.place, now=self._clock.now())

    async def _enter(self, caller: Principal, asking: Asking | None) -> Lease:
        limits = self.book.find_counted(caller, None if asking is None else asking.model)
        demands = [Demand(limit, bucket, self._need(limit, asking)) for limit, bucket in limits]
        place = mint(IdPrefix.LEASE, self._randomness)
        now = self._clock.now()
        # Counted before the wait, so that those who come meanwhile find the room taken.
        self.active += 1
        told: list[Grant] | Refusal | None = None
        try:
            told = await self._counts.take(
                demands, place=place, now=now, until=now + self._stream_seconds
            )
        finally:
            if not isinstance(told, list):
                self.active -= 1
        if isinstance(told, Refusal):
            limit = demands[told.place].limit
            self._metrics.limit_denials.labels(limit.name).inc()
            raise _refuse(limit, told)
        return Lease(self, place, demands, _headers(demands, told))

    def _need(self, limit: Limit, asking: Asking | None) -> int:
        match limit.measure:
            case Measure.REQUESTS | Measure.STREAMS:
                return 1
            case Measure.INPUT_TOKENS:
                return 0 if asking is None else min(asking.input_tokens, limit.capacity)
            case Measure.OUTPUT_TOKENS:
                if asking is None:
                    return 0
                told = asking.output_tokens
                if told is None:
                    told = min(self._estimate, limit.capacity)
                return min(told, asking.window) * asking.answers
            case Measure.SPEND:
                # What a request costs is known at its end; until then the last ones count.
                return 0 if asking is None else 1

    def _check_room(self, asking: Asking | None) -> None:
        if self.closed:
            raise Unavailable(
                "The server is stopping.",
                reason=Reason.SHUTTING_DOWN,
                retry_after_seconds=_BUSY_RETRY_SECONDS,
            )
        if not decide(self.active, self._room):
            raise Unavailable(
                f"The server has {self._room.in_all} answers in progress, which is its limit.",
                reason=Reason.SYSTEM_OVERLOADED,
                retry_after_seconds=_BUSY_RETRY_SECONDS,
            )
        if asking is not None:
            busy = judge_load([*self._loads(asking.model)], self._room, asking.kind)
            if busy is not None:
                raise Unavailable(
                    f"The model servers of '{asking.model}' are too busy: {busy.why}.",
                    reason=Reason.SYSTEM_OVERLOADED,
                    retry_after_seconds=busy.retry_after_seconds,
                )


def _taken(demand: Demand, row: UsageRow | None) -> int:
    """What a request has truly taken of a limit."""
    match demand.limit.measure:
        case Measure.REQUESTS | Measure.STREAMS:
            return demand.amount
        case Measure.INPUT_TOKENS:
            return 0 if row is None else row.usage.prompt_tokens
        case Measure.OUTPUT_TOKENS:
            return 0 if row is None else row.usage.completion_tokens
        case Measure.SPEND:
            return 0 if row is None else row.cost.nanos


def _refuse(limit: Limit, refusal: Refusal) -> LimitReached:
    what = f"{limit.amount} {_WORDS[limit.measure]}"
    when = "" if limit.window is Window.NOW else f" per {limit.window}"
    whose = "" if limit.level in ("system",) else f" of this {limit.level}"
    wait = refusal.wait_seconds
    hint = (
        f"This request asks for more than {limit.capacity} at once, which never fits."
        if wait is None
        else f"Try again in {max(1, -int(-wait // 1))} s."
    )
    headers = {}
    if limit.measure is Measure.REQUESTS or _is_tokens(limit):
        word = "requests" if limit.measure is Measure.REQUESTS else "tokens"
        headers = _spell(word, limit, Grant(refusal.remaining, wait or 0.0))
    return LimitReached(
        f"The limit {limit.name} of {what}{when}{whose} is reached. {hint}",
        reason=_REASONS[limit.measure],
        retry_after_seconds=wait,
        headers=headers,
    )


def _headers(demands: Sequence[Demand], grants: Sequence[Grant]) -> dict[str, str]:
    """What OpenAI tells: of requests and of tokens the limit with the least left of it."""
    tightest: dict[str, tuple[Limit, Grant]] = {}
    for demand, grant in zip(demands, grants, strict=True):
        limit = demand.limit
        if limit.measure is Measure.REQUESTS:
            word = "requests"
        elif _is_tokens(limit):
            word = "tokens"
        else:
            continue
        held = tightest.get(word)
        if held is None or grant.remaining < held[1].remaining:
            tightest[word] = (limit, grant)
    headers: dict[str, str] = {}
    for word, (limit, grant) in tightest.items():
        headers |= _spell(word, limit, grant)
    return headers


def _spell(word: str, limit: Limit, grant: Grant) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{word}": str(limit.capacity),
        f"x-ratelimit-remaining-{word}": str(grant.remaining),
        f"x-ratelimit-reset-{word}": f"{grant.reset_seconds:.3f}s",
    }


def _is_tokens(limit: Limit) -> bool:
    return limit.measure is Measure.INPUT_TOKENS or limit.measure is Measure.OUTPUT_TOKENS
