"""What to do while the database cannot be reached: who waits, for how long, and who is refused.

Whoever meets the outage first waits and tries again until `storage.busy_seconds` are over, as
Postgres takes to start again or to fail over. From then on callers are refused at once, save one
each second, who tries. The first success ends it. Knows nothing of databases.
"""

from tokenyard.runtime.clock import Clock
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import Unavailable
from tokenyard.vocabulary.reasons import Reason

_RETRY_SECONDS = 0.2
_PROBE_SECONDS = 1.0


class ConnectionLost(Exception):
    """The database went away, or could not be reached; its cause says how."""


class Outage:
    """One for all that use a database, so that what one finds out the others know."""

    def __init__(self, clock: Clock, log: Log, *, patience_seconds: float) -> None:
        self._clock = clock
        self._log = log
        self._patience_seconds = patience_seconds
        self._since: float | None = None
        self._probed = 0.0

    @property
    def away(self) -> bool:
        """Whether the last attempt failed."""
        return self._since is not None

    def check(self) -> None:
        """Raises Unavailable when it is not worth trying."""
        if self._since is None:
            return
        now = self._clock.monotonic()
        if now - self._since < self._patience_seconds:
            return
        if now - self._probed < _PROBE_SECONDS:
            raise unreachable()
        self._probed = now

    async def wait(self, lost: ConnectionLost) -> None:
        """After an attempt that failed: returns when to try again, or raises Unavailable."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
            self._log.error(Event.STORAGE_LOST, lost.__cause__)
        if now - self._since >= self._patience_seconds:
            raise unreachable() from lost
        await self._clock.sleep(_RETRY_SECONDS)

    def end(self) -> None:
        """An attempt succeeded."""
        if self._since is not None:
            seconds = self._clock.monotonic() - self._since
            self._since = None
            self._log.info(Event.STORAGE_FOUND, seconds=round(seconds, 3))


def unreachable() -> Unavailable:
    """What callers are told."""
    return Unavailable(
        "The database cannot be reached.",
        reason=Reason.STORAGE_UNAVAILABLE,
        retry_after_seconds=_PROBE_SECONDS,
    )
