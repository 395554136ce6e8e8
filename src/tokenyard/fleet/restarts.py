"""Keeps something running: starts it again when it dies, after a wait that doubles."""

from collections.abc import Awaitable, Callable

from tokenyard.fleet.rules.restart import Backoff, count_deaths, wait_seconds
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import FleetSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics


class Restarts:
    """The fate of one process over all its lives."""

    def __init__(
        self,
        name: str,
        settings: FleetSettings,
        *,
        see: str,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        self._name = name
        self._backoff = Backoff(settings.restart_seconds_min, settings.restart_seconds_max)
        # Where somebody finds out why it died.
        self._see = see
        self._clock = clock
        self._metrics = metrics
        self._log = log
        # How often it died in a row; one that ran for long starts anew at one.
        self.deaths = 0

    async def keep(self, run_once: Callable[[], Awaitable[int]]) -> None:
        """Run it until cancelled; `run_once` starts it, and returns its exit status."""
        while True:
            began = self._clock.monotonic()
            status = await run_once()
            self.deaths = count_deaths(self.deaths, self._clock.monotonic() - began)
            wait = wait_seconds(self.deaths, self._backoff)
            self._metrics.replica_restarts.inc()
            self._log.error(
                Event.REPLICA_DIED,
                replica=self._name,
                status=status,
                deaths=self.deaths,
                restart_in_seconds=wait,
                see=self._see,
            )
            await self._clock.sleep(wait)
