"""Admission: whether one more answer may begin now, counted per caller and in all.

Keeps the counts of this process; the decisions are in `rules`.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from tokenyard.gateway.rules.admission import Room, decide
from tokenyard.gateway.rules.limits import Rate, Wait, admit
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import LimitSettings
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import LimitReached, TokenyardError, Unavailable
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.reasons import Reason

_BUSY_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class Lease:
    """A place among the answers in progress; given back exactly once, however often asked."""

    admission: "Admission"
    caller: str
    # OpenAI's x-ratelimit-* headers, true to the next admission.
    headers: dict[str, str]
    _held: bool = field(default=True)

    def release(self) -> None:
        """Give the place back."""
        if self._held:
            self._held = False
            self.admission.give_back(self.caller)


class Admission:
    """Limits of one gateway process."""

    def __init__(self, settings: LimitSettings, *, clock: Clock, metrics: GatewayMetrics) -> None:
        self._room = Room(settings.concurrent_requests_per_key, settings.concurrent_requests)
        self._rate = Rate(settings.requests_per_minute, settings.requests_burst)
        self._clock = clock
        self._metrics = metrics
        self._active: Counter[str] = Counter()
        self._arrivals: dict[str, float] = {}
        self.closed = False

    def close(self) -> None:
        """Admit nobody from now on."""
        self.closed = True

    @property
    def active(self) -> int:
        """Answers in progress."""
        return self._active.total()

    def enter(self, principal: Principal) -> Lease:
        """Take a place; raises LimitReached or Unavailable with the reason and the wait."""
        caller = principal.key or principal.user
        try:
            return self._enter(caller)
        except TokenyardError as error:
            self._metrics.denials.labels(error.reason).inc()
            raise

    def give_back(self, caller: str) -> None:
        """A lease has ended."""
        self._active[caller] -= 1
        if self._active[caller] <= 0:
            del self._active[caller]
        self._metrics.active.set(self.active)

    def _enter(self, caller: str) -> Lease:
        if self.closed:
            raise Unavailable(
                "The server is stopping.",
                reason=Reason.SHUTTING_DOWN,
                retry_after_seconds=_BUSY_RETRY_SECONDS,
            )
        self._check_room(caller)
        now = self._clock.monotonic()
        verdict = admit(self._arrivals.get(caller), now, self._rate)
        if isinstance(verdict, Wait):
            raise LimitReached(
                f"The limit of {self._rate.per_minute} requests per minute for this key is "
                f"reached. Try again in {max(1, math.ceil(verdict.seconds))} s.",
                reason=Reason.RATE_LIMIT_REQUESTS,
                retry_after_seconds=verdict.seconds,
            )
        self._forget_idle(now)
        self._arrivals[caller] = verdict.arrival_time
        self._active[caller] += 1
        self._metrics.active.set(self.active)
        headers = {
            "x-ratelimit-limit-requests": str(self._rate.burst),
            "x-ratelimit-remaining-requests": str(verdict.remaining),
            "x-ratelimit-reset-requests": f"{verdict.reset_seconds:.3f}s",
        }
        return Lease(self, caller, headers)

    def _check_room(self, caller: str) -> None:
        reason = decide(self._active[caller], self.active, self._room)
        if reason is Reason.CONCURRENCY_LIMIT:
            raise LimitReached(
                f"This key has {self._room.per_caller} answers in progress, which is its limit.",
                reason=reason,
                retry_after_seconds=_BUSY_RETRY_SECONDS,
            )
        if reason is not None:
            raise Unavailable(
                f"The server has {self._room.in_all} answers in progress, which is its limit.",
                reason=reason,
                retry_after_seconds=_BUSY_RETRY_SECONDS,
            )

    def _forget_idle(self, now: float) -> None:
        """Drop buckets that are empty again, so that old keys cost no memory."""
        if len(self._arrivals) > 2 * len(self._active) + 1000:
            self._arrivals = {who: at for who, at in self._arrivals.items() if at > now}
