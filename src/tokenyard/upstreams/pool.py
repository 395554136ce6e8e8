"""The model servers that can be asked now: keeps their health, and lends one for each call.

Does not start or stop servers (the fleet does) and does not read what they answer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import assert_never

from tokenyard.protocol.models import Model
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.ports import Health, Upstream
from tokenyard.upstreams.rules.routing import Candidate, Chosen, NoChoice, Readiness, choose
from tokenyard.vocabulary.errors import NotFound, TokenyardError, Unavailable
from tokenyard.vocabulary.reasons import Reason

_READINESS = {
    Health.READY: Readiness.READY,
    Health.LOADING: Readiness.LOADING,
    Health.DOWN: Readiness.DOWN,
}
_RETRY_SECONDS = 2.0


@dataclass(slots=True)
class _Member:
    """A server in the pool. `upstream` is None while its process has no address yet."""

    name: str
    expected: frozenset[str]
    # Whether we are not ready without it.
    ours: bool
    upstream: Upstream | None = None
    readiness: Readiness = Readiness.LOADING
    models: list[Model] = field(default_factory=list)
    in_flight: int = 0

    def candidate(self) -> Candidate:
        served = frozenset(model.id for model in self.models)
        return Candidate(self.name, self.readiness, served | self.expected, self.in_flight)


class UpstreamPool:
    """Knows every model server by name."""

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        clock: Clock,
        tasks: TaskSupervisor,
        metrics: GatewayMetrics,
        ready_changed: Callable[[str, bool], None] = lambda name, ready: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._tasks = tasks
        self._metrics = metrics
        self._ready_changed = ready_changed
        self._members: dict[str, _Member] = {}

    def expect(self, name: str, models: frozenset[str], *, ours: bool = True) -> None:
        """Announce a server that will serve these models; until it is there, calls get 503.

        ours: started by us. We are ready without servers that others run, if we have any of ours.
        """
        self._members[name] = _Member(name, models, ours)
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

    def find(self, model: str) -> Model:
        """What a server that can answer now tells of the model; raises like `lend`."""
        with self.lend(model):
            return next(found for found in self.models() if found.id == model)

    @contextmanager
    def lend(self, model: str) -> Iterator[Upstream]:
        """Choose a server for one call and count the call while it lasts.

        Raises NotFound(model_not_found), or Unavailable(model_loading, upstream_unavailable).
        """
        choice = choose([member.candidate() for member in self._members.values()], model)
        if not isinstance(choice, Chosen):
            raise _explain(choice, model)
        member = self._members[choice.name]
        if member.upstream is None:
            raise _explain(NoChoice.DOWN, model)
        member.in_flight += 1
        try:
            yield member.upstream
        finally:
            member.in_flight -= 1

    async def _watch(self, member: _Member, upstream: Upstream) -> None:
        while member.upstream is upstream:
            health = await upstream.health()
            if health is Health.READY and not member.models:
                try:
                    member.models = await upstream.models()
                except TokenyardError:
                    health = Health.DOWN
            if member.upstream is upstream:
                self._set(member, _READINESS[health])
            waiting = member.readiness is not Readiness.READY
            await self._clock.sleep(
                min(0.1, self._settings.health_seconds)
                if waiting
                else self._settings.health_seconds
            )

    def _set(self, member: _Member, readiness: Readiness) -> None:
        was_ready = member.readiness is Readiness.READY
        member.readiness = readiness
        is_ready = readiness is Readiness.READY
        if was_ready != is_ready:
            self._metrics.upstream_ready.labels(member.name).set(int(is_ready))
            self._ready_changed(member.name, is_ready)


def _explain(choice: NoChoice, model: str) -> TokenyardError:
    match choice:
        case NoChoice.UNKNOWN_MODEL:
            return NotFound(
                f"The model '{model}' does not exist here. GET /v1/models lists those that do.",
                reason=Reason.MODEL_NOT_FOUND,
                param="model",
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
