"""The model servers that we run ourselves: started, announced to the pool, started again.

Decides when a process is started and when it has had its chance; does not choose who answers a
request (the pool does).
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenyard.fleet.rules.restart import Backoff, count_deaths, wait_seconds
from tokenyard.jobs.executors.processes import LocalProcess, ProcessSpec, start_process
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import FleetSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream

_ADDRESS_POLL_SECONDS = 0.05

Connect = Callable[[str], Upstream]
Command = Callable[[Path], tuple[str, ...]]


class Replica:
    """One model server and its fate.

    command: makes the command line from the file into which the server writes its address.
    connect: makes the way to ask it from that address.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Command,
        connect: Connect,
        environment: Mapping[str, str],
        folder: Path,
        settings: FleetSettings,
        pool: UpstreamPool,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        self.name = name
        self._command = command
        self._connect = connect
        self._environment = environment
        self._folder = folder
        self._settings = settings
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self.log_path = folder / f"{name}.log"
        # How often it died in a row; a server that ran for long starts anew at one.
        self.deaths = 0

    async def keep_running(self) -> None:
        """Run the server until cancelled, then stop it; start a dead one again after a wait."""
        backoff = Backoff(self._settings.restart_seconds_min, self._settings.restart_seconds_max)
        while True:
            began = self._clock.monotonic()
            status = await self._run_once()
            self.deaths = count_deaths(self.deaths, self._clock.monotonic() - began)
            wait = wait_seconds(self.deaths, backoff)
            self._metrics.replica_restarts.inc()
            self._log.error(
                Event.REPLICA_DIED,
                replica=self.name,
                status=status,
                deaths=self.deaths,
                restart_in_seconds=wait,
                see=str(self.log_path),
            )
            await self._clock.sleep(wait)

    async def _run_once(self) -> int:
        """Start it, announce it, and return its exit status once it is dead."""
        address_file = self._folder / f"{self.name}.address"
        address_file.parent.mkdir(parents=True, exist_ok=True)
        address_file.unlink(missing_ok=True)
        process = await start_process(
            ProcessSpec(self._command(address_file), self.log_path, self._environment)
        )
        try:
            self._log.info(Event.REPLICA_STARTING, replica=self.name, pid=process.pid)
            address = await self._wait_for_address(process, address_file)
            if address is not None:
                await self._pool.attach(self.name, self._connect(address))
            return await process.wait()
        finally:
            await self._pool.detach(self.name)
            await process.stop(self._settings.stop_seconds)
            address_file.unlink(missing_ok=True)

    async def _wait_for_address(self, process: LocalProcess, file: Path) -> str | None:
        """The address that the server wrote, or None when it died before."""
        while process.running:
            address = await asyncio.to_thread(_read_if_there, file)
            if address is not None:
                return address
            await self._clock.sleep(_ADDRESS_POLL_SECONDS)
        return None


def _read_if_there(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return None
