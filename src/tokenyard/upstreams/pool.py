"""The model servers that can be asked now: keeps their health, and lends one for each call.

Does not start or stop servers (the fleet does) and does not read what they answer.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import assert_never

from tokenyard.protocol.models import Model
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness
from tokenyard.runtime.routing_settings import RouteSettings
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.members import Member
from tokenyard.upstreams.moderation import Moderation
from tokenyard.upstreams.ports import Health, Upstream
from tokenyard.upstreams.router import RoutedUpstream
from tokenyard.upstreams.rules.aliases import ModelRoute, Target, fallbacks_of, hedge_of, resolve
from tokenyard.upstreams.rules.breaker import BreakerRule, BreakerState, begin
from tokenyard.upstreams.rules.hedging import HedgeRule, earn, spend
from tokenyard.upstreams.rules.routing import Chosen, NoChoice, Readiness, choose
from tokenyard.vocabulary.errors import NotFound, TokenyardError, Unavailable
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.reasons import Reason

_READINESS = {
    Health.READY: Readiness.READY,
    Health.LOADING: Readiness.LOADING,
    Health.DOWN: Readiness.DOWN,
}
_RETRY_SECONDS = 2.0


class UpstreamPool:
    """Knows every model server by name."""

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        clock: Clock,
        tasks: TaskSupervisor,
        metrics: GatewayMetrics,
        randomness: Randomness | None = None,
        moderation: Moderation | None = None,
        ready_changed: Callable[[str, bool], None] = lambda name, ready: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._tasks = tasks
        self._metrics = metrics
        self._ready_changed = ready_changed
        self._randomness = randomness
        # Who looks at what is asked, before any server is; None looks at nothing.
        self.moderation = moderation
        self._members: dict[str, Member] = {}
        routing = settings.routing
        self._routing = routing
        self._breaker = BreakerRule(
            routing.breaker_failures, routing.breaker_seconds_min, routing.breaker_seconds_max
        )
        # What calls have earned for second requests, all routes together.
        self._hedge_credit = 0.0
        self._routes = {route.name: _read_route(route) for route in routing.routes}

    def expect(
        self,
        name: str,
        models: frozenset[str],
        *,
        ours: bool = True,
        weight: int = 1,
        priority: int = 0,
        tags: frozenset[str] = frozenset(),
    ) -> None:
        """Announce a server that will serve these models; until it is there, calls get 503.

        ours: started by us. We are ready without servers that others run, if we have any of ours.
        """
        self._members[name] = Member(name, models, ours, weight, priority, tags)
        self._metrics.upstream_ready.labels(name).set(0)

    async def attach(self, name: str, upstream: Upstream) -> None:
        """The announced server has an address now: watch its health from here on."""
        await self.detach(name)
        member = self._members[name]
        member.upstream = upstream
        member.readiness = Readiness.LOADING
        self._tasks.spawn(f"health of {name}", self._watch(member, upstream))

    async def detach(self, name: str) -> None:
        """The server is gone; its calls in flight fail by themselves."""
        member = self._members[name]
        upstream, member.upstream = member.upstream, None
        self._set(member, Readiness.DOWN)
        if upstream is not None:
            await upstream.close()

    async def forget(self, name: str) -> None:
        """The server is not to be asked any more."""
        if name in self._members:
            await self.detach(name)
            del self._members[name]

    async def close(self) -> None:
        """Let go of all servers."""
        for name in list(self._members):
            await self.detach(name)

    @property
    def ready(self) -> bool:
        """True when every server of ours is ready; without any of ours, when some server is."""
        members = self._members.values()
        ours = [member for member in members if member.ours]
        if ours or not members:
            return all(member.readiness is Readiness.READY for member in ours)
        return any(member.readiness is Readiness.READY for member in members)

    def models(self) -> list[Model]:
        """Every model that some server is ready to answer for, by name."""
        found: dict[str, Model] = {}
        for member in self._members.values():
            if member.readiness is Readiness.READY:
                found.update({model.id: model for model in member.models})
        return [found[name] for name in sorted(found)]

    def members(self) -> list[Member]:
        """Every server, by name."""
        return [self._members[name] for name in sorted(self._members)]

    @property
    def routes(self) -> Mapping[str, ModelRoute]:
        """The names that lead to models."""
        return self._routes

    def set_routes(self, routes: Mapping[str, ModelRoute]) -> None:
        """Take other routes beside those of the settings, which stay."""
        own = {route.name: _read_route(route) for route in self._routing.routes}
        self._routes = {**routes, **own}

    def resolve(self, name: str) -> str:
        """The model that a name leads to now; the name itself when it is no route."""
        return resolve(self._routes, name, self._draw()) if self._routes else name

    def tags_of(self, name: str) -> frozenset[str]:
        """The tags that a server must have to be asked under that name."""
        route = self._routes.get(name)
        return frozenset() if route is None else frozenset(route.tags)

    @property
    def affinity_bytes(self) -> int:
        """How much of the beginning the requests to one server share; 0 while there is no other."""
        return self._routing.affinity_bytes if len(self._members) > 1 else 0

    def loads(self, model: str) -> list[Load]:
        """How busy the servers are that could answer for a model, as far as they tell."""
        return [
            member.load
            for member in self._members.values()
            if member.load is not None
            and member.readiness is Readiness.READY
            and model in member.served
        ]

    def find(self, model: str) -> Model:
        """What a server that can answer now tells of the model; raises like `lend`."""
        now = self._clock.monotonic()
        choice = choose([member.candidate(now) for member in self._members.values()], model)
        if not isinstance(choice, Chosen):
            stand_in = next(self._standing_in(model, frozenset()), None)
            if stand_in is None:
                raise _explain(choice, model)
            return self.find(stand_in[1])
        for found in self._members[choice.name].models:
            if found.id == model:
                return found
        raise _explain(NoChoice.LOADING, model)

    @contextmanager
    def lend(
        self, model: str, *, affinity: bytes = b"", tags: frozenset[str] = frozenset()
    ) -> Iterator[RoutedUpstream]:
        """Choose a server for one call and count the call while it lasts.

        affinity: the same for requests that share a beginning. tags: that every server must have
        that is asked. Raises NotFound(model_not_found, tags_unserved), or
        Unavailable(model_loading, upstream_unavailable).
        """
        now = self._clock.monotonic()
        choice = choose(
            [member.candidate(now) for member in self._members.values()],
            model,
            affinity=affinity if self._routing.affinity else b"",
            draw=self._draw(),
            tags=tags,
        )
        asked = model
        if isinstance(choice, Chosen):
            member = self._members[choice.name]
        else:
            found = self.another(model, frozenset(), tags)
            if found is None:
                raise _explain(choice, model)
            member, asked = found
        if member.upstream is None:
            raise _explain(NoChoice.DOWN, model)
        member.breaker = begin(member.breaker, now, self._breaker)
        member.in_flight += 1
        routed = RoutedUpstream(
            self,
            member,
            model,
            asked=asked,
            clock=self._clock,
            attempts_max=self._routing.attempts_max,
            total_seconds=self._routing.total_seconds,
            moderation=self.moderation,
            hedge=self._earn_hedge(model),
            tags=tags,
            tasks=self._tasks,
        )
        try:
            yield routed
        finally:
            routed.member.in_flight -= 1

    def another(
        self, model: str, tried: frozenset[str], tags: frozenset[str]
    ) -> tuple[Member, str] | None:
        """Another server of the model, or else one of those that stand in for it."""
        found = next(self._standing_in(model, tried, itself=True, tags=tags), None)
        if found is None:
            return None
        member, name = found
        member.breaker = begin(member.breaker, self._clock.monotonic(), self._breaker)
        return member, name

    def hedge(self, first: Member, model: str, tags: frozenset[str]) -> Member | None:
        """Another server of the same model for a call at which the first one is silent."""
        now = self._clock.monotonic()
        left = [one.candidate(now) for one in self._members.values() if one is not first]
        choice = choose(left, model, draw=self._draw(), tags=tags)
        credit = spend(self._hedge_credit)
        if credit is None or not isinstance(choice, Chosen):
            return None
        self._hedge_credit = credit
        member = self._members[choice.name]
        member.breaker = begin(member.breaker, now, self._breaker)
        member.in_flight += 1
        return member

    def leave(self, member: Member, error: TokenyardError | None) -> None:
        """A call that two servers had is at the other one only."""
        member.in_flight -= 1
        if error is not None:
            self.note(member, error)

    def note_hedge(self, outcome: str) -> None:
        """Which of two servers spoke first."""
        self._metrics.upstream_hedges.labels(outcome).inc()

    def _earn_hedge(self, model: str) -> HedgeRule | None:
        seconds = hedge_of(self._routes, model)
        if seconds is None:
            return None
        rule = HedgeRule(seconds, self._routing.hedge_share)
        self._hedge_credit = earn(self._hedge_credit, rule)
        return rule

    def move(self, before: Member, after: Member) -> None:
        """The call is at another server now."""
        before.in_flight -= 1
        after.in_flight += 1
        self._metrics.upstream_retries.labels(before.name).inc()

    def note(self, member: Member, error: TokenyardError | None) -> None:
        """What became of a call to a server; None is an answer."""
        if error is not None or member.breaker.failures:
            member.note(error, self._clock.monotonic(), self._breaker)
            closed = member.breaker.state is BreakerState.CLOSED
            self._metrics.upstream_breaker_open.labels(member.name).set(int(not closed))

    def _standing_in(
        self,
        model: str,
        tried: frozenset[str],
        *,
        itself: bool = False,
        tags: frozenset[str] = frozenset(),
    ) -> Iterator[tuple[Member, str]]:
        now = self._clock.monotonic()
        left = [
            member.candidate(now) for member in self._members.values() if member.name not in tried
        ]
        for name in (*((model,) if itself else ()), *fallbacks_of(self._routes, model)):
            choice = choose(left, name, draw=self._draw(), tags=tags)
            if isinstance(choice, Chosen):
                yield self._members[choice.name], name

    def _draw(self) -> float:
        if self._randomness is None:
            return 0.0
        return int.from_bytes(self._randomness.bytes(6), "big") / 2**48

    async def _watch(self, member: Member, upstream: Upstream) -> None:
        looked = -self._routing.load_seconds
        while member.upstream is upstream:
            health = await upstream.health()
            if health is Health.READY and not member.models:
                try:
                    member.models = await upstream.models()
                    member.served = frozenset(model.id for model in member.models)
                except TokenyardError:
                    health = Health.DOWN
            if member.upstream is upstream:
                self._set(member, _READINESS[health])
            waiting = member.readiness is not Readiness.READY
            if not waiting and self._clock.monotonic() >= looked + self._routing.load_seconds:
                looked = self._clock.monotonic()
                member.load = await upstream.load()
            await self._clock.sleep(
                min(0.1, self._settings.health_seconds)
                if waiting
                else self._settings.health_seconds
            )

    def _set(self, member: Member, readiness: Readiness) -> None:
        was_ready = member.readiness is Readiness.READY
        member.readiness = readiness
        is_ready = readiness is Readiness.READY
        if was_ready != is_ready:
            self._metrics.upstream_ready.labels(member.name).set(int(is_ready))
            self._ready_changed(member.name, is_ready)


def _read_route(route: RouteSettings) -> ModelRoute:
    targets = tuple(Target(target.model, target.weight) for target in route.targets)
    return ModelRoute(route.name, targets, route.fallbacks, route.hedge_milliseconds, route.tags)


def _explain(choice: NoChoice, model: str) -> TokenyardError:
    match choice:
        case NoChoice.UNKNOWN_MODEL:
            return NotFound(
                f"The model '{model}' does not exist here. GET /v1/models lists those that do.",
                reason=Reason.MODEL_NOT_FOUND,
                param="model",
            )
        case NoChoice.UNTAGGED:
            return NotFound(
                f"No model server for '{model}' has all the tags that are asked for.",
                reason=Reason.TAGS_UNSERVED,
            )
        case NoChoice.LOADING:
            return Unavailable(
                f"The model '{model}' is being loaded.",
                reason=Reason.MODEL_LOADING,
                retry_after_seconds=_RETRY_SECONDS,
            )
        case NoChoice.DOWN:
            return Unavailable(
                f"No model server for '{model}' is up; it is being started again.",
                reason=Reason.UPSTREAM_UNAVAILABLE,
                retry_after_seconds=_RETRY_SECONDS,
            )
        case _:
            assert_never(choice)
