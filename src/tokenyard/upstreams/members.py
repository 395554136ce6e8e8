"""A model server as the pool knows it: what it serves, how it is, and what became of its calls."""

from dataclasses import dataclass, field

from tokenyard.protocol.models import Model
from tokenyard.upstreams.ports import Upstream
from tokenyard.upstreams.rules.breaker import Breaker, BreakerRule, fail, may_ask, succeed
from tokenyard.upstreams.rules.routing import Candidate, Readiness
from tokenyard.vocabulary.errors import LimitReached, TokenyardError, Unavailable, UpstreamFailed
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.reasons import Reason


@dataclass(slots=True)
class Member:
    """A server in the pool. `upstream` is None while its process has no address yet."""

    name: str
    expected: frozenset[str]
    # Whether we are not ready without it.
    ours: bool
    weight: int = 1
    priority: int = 0
    tags: frozenset[str] = frozenset()
    upstream: Upstream | None = None
    readiness: Readiness = Readiness.LOADING
    models: list[Model] = field(default_factory=list)
    served: frozenset[str] = frozenset()
    in_flight: int = 0
    breaker: Breaker = field(default_factory=Breaker)
    load: Load | None = None

    @property
    def answers(self) -> bool:
        """True when it answered as it was asked for its health last, be it loading or ready."""
        return self.readiness is not Readiness.DOWN

    def candidate(self, now: float) -> Candidate:
        """What routing is told; an open breaker is a server that is down."""
        readiness = self.readiness
        if readiness is Readiness.READY and not may_ask(self.breaker, now):
            readiness = Readiness.DOWN
        return Candidate(
            self.name,
            readiness,
            self.served | self.expected,
            self.in_flight,
            self.weight,
            self.priority,
            self.tags,
        )

    def note(self, error: TokenyardError | None, now: float, rule: BreakerRule) -> None:
        """What became of a call."""
        if error is None:
            self.breaker = succeed(self.breaker)
        elif _is_fault(error):
            self.breaker = fail(self.breaker, now, rule)
        elif isinstance(error, LimitReached):
            # It is alive and says so.
            self.breaker = succeed(self.breaker)


def _is_fault(error: TokenyardError) -> bool:
    """Whether the server is at fault, and not the request or the load."""
    if isinstance(error, UpstreamFailed):
        return error.reason is not Reason.GENERATION_FAILED
    return isinstance(error, Unavailable) and error.reason is Reason.UPSTREAM_UNAVAILABLE
