"""Which limits hold for a caller, and the counts that they are held against.

The counts are kept by a store: in memory for one process, in Redis for many. While the store is
away each limit says what is to be done: refuse, or count in this process alone. Does not know who
calls nor what a request is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenyard.gateway.ports import LimitDefinitions, LimitStore
from tokenyard.gateway.rules.limits import Bucket, Denied, settle, take
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import TokenyardError, Unavailable
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import LimitId, OrganisationId
from tokenyard.vocabulary.limits import EACH, Demand, Grant, Level, Limit, Measure, Refusal, Window
from tokenyard.vocabulary.reasons import Reason

# Buckets in memory beyond which those that are full of room again are forgotten.
_BUCKETS_KEPT = 10_000
Subjects = tuple[tuple[Level, str], ...]


def default_limits(settings: LimitSettings) -> list[Limit]:
    """The limits of each key (or web user) by the settings; 0 is none."""
    closed = settings.store_away == "closed"

    def each(measure: Measure, window: Window, amount: int, burst: int = 0) -> Limit:
        return Limit(Level.KEY, EACH, measure, window, amount, burst, closed)

    found = [
        each(
            Measure.REQUESTS, Window.MINUTE, settings.requests_per_minute, settings.requests_burst
        ),
        each(Measure.REQUESTS, Window.DAY, settings.requests_per_day),
        each(Measure.INPUT_TOKENS, Window.MINUTE, settings.input_tokens_per_minute),
        each(Measure.OUTPUT_TOKENS, Window.MINUTE, settings.output_tokens_per_minute),
        each(Measure.STREAMS, Window.NOW, settings.concurrent_requests_per_key),
    ]
    return [limit for limit in found if limit.amount]


def subjects_of(caller: Principal, model: str | None) -> Subjects:
    """Under which names a caller is counted; a web session counts as its user's own key."""
    found = [
        (Level.KEY, str(caller.key or caller.user)),
        (Level.USER, str(caller.user)),
        (Level.PROJECT, str(caller.project)),
        (Level.ORGANISATION, str(caller.organisation)),
    ]
    if model is not None:
        found.append((Level.MODEL, model))
    return (*found, (Level.SYSTEM, EACH))


class LimitBook:
    """The definitions, read anew now and then so that replicas agree."""

    def __init__(
        self,
        settings: LimitSettings,
        definitions: LimitDefinitions,
        *,
        clock: Clock,
        log: Log,
    ) -> None:
        self._seconds = settings.refresh_seconds
        self._definitions = definitions
        self._clock = clock
        self._log = log
        self._default = default_limits(settings)
        # By caller and model.
        self._found: dict[tuple[str | None, ...], tuple[tuple[Limit, str], ...]] = {}
        self._stored: list[Limit] = []

    async def read(self) -> None:
        """Take the definitions from the store."""
        stored = await self._definitions.list_limits()
        if stored != self._stored:
            self._stored, self._found = stored, {}

    async def keep(self) -> None:
        """Read anew until cancelled."""
        while True:
            await self._clock.sleep(self._seconds)
            try:
                await self.read()
            except TokenyardError as error:
                self._log.warning(Event.LIMITS_UNREAD, reason=error.reason)

    @property
    def stored(self) -> Sequence[Limit]:
        """What was defined beside the settings."""
        return self._stored

    @property
    def defaults(self) -> Sequence[Limit]:
        """What the settings define."""
        return self._default

    def find(self, organisation: OrganisationId, subjects: Subjects) -> tuple[Limit, ...]:
        """The limits that hold, each with the subject that it is counted for.

        A limit of a subject's own stands in the place of the one for each of its level.
        """
        return tuple(self._look(organisation, subjects))

    def find_counted(self, caller: Principal, model: str | None) -> tuple[tuple[Limit, str], ...]:
        """Those of a caller, each with the bucket in which it is counted."""
        place = (caller.organisation, caller.project, caller.user, caller.key, model)
        found = self._found.get(place)
        if found is None:
            if len(self._found) >= _BUCKETS_KEPT:
                self._found.clear()
            found = self._found[place] = tuple(
                (limit, f"{limit.name}:{limit.subject}")
                for limit in self._look(caller.organisation, subjects_of(caller, model))
            )
        return found

    async def put(self, limit: Limit) -> None:
        """Store a definition in place of the one with its level, subject, measure and window."""
        await self._definitions.put_limit(limit)
        await self.read()

    async def delete(self, limit: LimitId) -> None:
        """Forget a definition."""
        await self._definitions.delete_limit(limit)
        await self.read()

    def _look(self, organisation: OrganisationId, subjects: Subjects) -> list[Limit]:
        chosen: dict[tuple[Level, str, Measure, Window], Limit] = {}
        mine = [one for one in self._stored if one.organisation in (None, organisation)]
        for level, subject in subjects:
            for limit in (*self._default, *mine):
                if limit.level is not level or limit.subject not in (EACH, subject):
                    continue
                place = (level, subject, limit.measure, limit.window)
                held = chosen.get(place)
                if held is None or _rank(limit) >= _rank(held):
                    chosen[place] = limit
        return [
            Limit(
                limit.level, subject, limit.measure, limit.window, limit.amount, limit.burst,
                limit.closed, limit.id, limit.organisation,
            )
            for (_, subject, _, _), limit in chosen.items()
        ]  # fmt: skip


def _rank(limit: Limit) -> tuple[bool, bool]:
    """A subject's own before the one for each; what was defined before the settings."""
    return limit.subject != EACH, bool(limit.id)


class MemoryLimits:
    """Keeps `ports.LimitStore` for one process."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[Limit, Bucket]] = {}

    async def take(
        self, demands: Sequence[Demand], *, place: str, now: float, until: float
    ) -> list[Grant] | Refusal:
        """Meet all demands, or none of them."""
        return self.take_now(demands, place=place, now=now, until=until)

    def take_now(
        self, demands: Sequence[Demand], *, place: str, now: float, until: float
    ) -> list[Grant] | Refusal:
        """The same without a wait."""
        grants, buckets = [], []
        for number, demand in enumerate(demands):
            _, held = self._buckets.get(demand.bucket, (demand.limit, Bucket()))
            told = take(held, demand.limit, demand.amount, now, place=place, until=until)
            if isinstance(told, Denied):
                return Refusal(number, told.wait_seconds, told.remaining)
            grants.append(told.grant)
            buckets.append(told.bucket)
        for demand, bucket in zip(demands, buckets, strict=True):
            self._buckets[demand.bucket] = (demand.limit, bucket)
        if len(self._buckets) > _BUCKETS_KEPT:
            self._forget(now)
        return grants

    def post_settle(self, changes: Sequence[Demand], *, place: str, now: float) -> None:
        """Correct what was taken, and give the place back."""
        for change in changes:
            if not change.amount and change.limit.window is not Window.NOW:
                # As much as was taken; most requests count as one.
                continue
            _, held = self._buckets.get(change.bucket, (change.limit, Bucket()))
            after = settle(held, change.limit, change.amount, now, place=place)
            self._buckets[change.bucket] = (change.limit, after)

    def _forget(self, now: float) -> None:
        """Drop buckets that are full of room, so that old callers cost no memory."""
        today = int(now // 86_400)
        self._buckets = {
            name: (limit, bucket)
            for name, (limit, bucket) in self._buckets.items()
            if bucket.arrival_time > now or bucket.day == today or bucket.places
        }


@dataclass(slots=True)
class _Away:
    """How long the store is not asked again."""

    until: float = 0.0
    told: bool = False


class GuardedLimits:
    """Keeps `ports.LimitStore` over one that may be away.

    After a failure the shared store is left alone for a moment, so that no request waits for it;
    the next one that tries it finds out whether it is back.
    """

    def __init__(
        self,
        shared: LimitStore,
        settings: LimitSettings,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        self._shared = shared
        self._own = MemoryLimits()
        self._seconds = settings.store_retry_seconds
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._away = _Away()
        metrics.limit_store_up.set(1)

    async def take(
        self, demands: Sequence[Demand], *, place: str, now: float, until: float
    ) -> list[Grant] | Refusal:
        """Ask the shared store; while it is away raise Unavailable, or count here alone."""
        if self._clock.monotonic() >= self._away.until:
            try:
                told = await self._shared.take(demands, place=place, now=now, until=until)
            except TokenyardError as error:
                self._lose(error)
            else:
                self._find()
                return told
        closed = next((demand.limit for demand in demands if demand.limit.closed), None)
        self._metrics.limit_store_decisions.labels("closed" if closed else "open").inc()
        if closed is not None:
            raise Unavailable(
                f"The limit {closed.name} cannot be checked now.",
                reason=Reason.LIMITS_UNAVAILABLE,
                retry_after_seconds=self._seconds,
            )
        return self._own.take_now(demands, place=place, now=now, until=until)

    def post_settle(self, changes: Sequence[Demand], *, place: str, now: float) -> None:
        """Correct the counts where they were taken; what was counted here is corrected here."""
        self._own.post_settle(changes, place=place, now=now)
        if self._clock.monotonic() >= self._away.until:
            self._shared.post_settle(changes, place=place, now=now)

    def _lose(self, error: TokenyardError) -> None:
        self._away.until = self._clock.monotonic() + self._seconds
        self._metrics.limit_store_up.set(0)
        if not self._away.told:
            self._away.told = True
            self._log.warning(Event.LIMITS_AWAY, reason=error.reason)

    def _find(self) -> None:
        if self._away.told:
            self._away = _Away()
            self._metrics.limit_store_up.set(1)
            self._log.info(Event.LIMITS_BACK)
