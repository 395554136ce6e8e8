"""Ends a process that is there but says nothing, as one does that hangs or was frozen.

Decides when it has been silent for too long. Does not start it again (`Restarts` does), and does
not know how it is asked.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import FleetSettings
from tokenyard.telemetry.logs import Event, Log

_LOOK_SECONDS = 1.0


class Killable(Protocol):
    """A process, as far as it can be ended."""

    def kill(self) -> None: ...


class SilenceWatch:
    """Looks at one process over all its lives.

    answers: whether it answers now; must itself return in time.
    """

    def __init__(
        self,
        name: str,
        answers: Callable[[], Awaitable[bool]],
        *,
        settings: FleetSettings,
        clock: Clock,
        log: Log,
    ) -> None:
        self._name = name
        self._answers = answers
        self._settings = settings
        self._clock = clock
        self._log = log

    async def end_when_silent(self, process: Killable) -> None:
        """Return once it was silent for too long and is killed.

        From its start to its first answer it has `fleet.start_seconds_max`, from then on
        `fleet.silent_seconds`.
        """
        spoke = self._clock.monotonic()
        patience = self._settings.start_seconds_max
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            answers = await self._answers()
            now = self._clock.monotonic()
            if answers:
                spoke, patience = now, self._settings.silent_seconds
            elif now - spoke > patience:
                self._log.error(Event.REPLICA_SILENT, replica=self._name, seconds=now - spoke)
                process.kill()
                return
