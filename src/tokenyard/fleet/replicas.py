"""The model servers of this machine: started, announced to the pool, started again.

A `Replica` is run by this process, a `Neighbour` by another one. Does not choose who answers a
request (the pool does).
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenyard.fleet.restarts import Restarts
from tokenyard.fleet.silence import SilenceWatch
from tokenyard.jobs.executors.processes import LocalProcess, ProcessSpec, start_process
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import FleetSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import Upstream

_ADDRESS_POLL_SECONDS = 0.05
_NEIGHBOUR_POLL_SECONDS = 0.2

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
        tasks: TaskSupervisor,
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
        self._tasks = tasks
        self._clock = clock
        self._log = log
        self._silence = SilenceWatch(name, self._answers, settings=settings, clock=clock, log=log)
        self.log_path = folder / f"{name}.log"
        self._restarts = Restarts(
            name, settings, see=str(self.log_path), clock=clock, metrics=metrics, log=log
        )

    @property
    def deaths(self) -> int:
        """How often it died in a row; a server that ran for long starts anew at one."""
        return self._restarts.deaths

    async def keep_running(self) -> None:
        """Run the server until cancelled, then stop it; start a dead one again after a wait."""
        await self._restarts.keep(self._run_once)

    async def _run_once(self) -> int:
        """Start it, announce it, and return its exit status once it is dead."""
        address_file = find_address_file(self._folder, self.name)
        address_file.parent.mkdir(parents=True, exist_ok=True)
        address_file.unlink(missing_ok=True)
        process = await start_process(
            ProcessSpec(self._command(address_file), self.log_path, self._environment)
        )
        try:
            self._log.info(Event.REPLICA_STARTING, replica=self.name, pid=process.pid)
            address = await self._wait_for_address(process, address_file)
            if address is None:
                return await process.wait()
            await self._pool.attach(self.name, self._connect(address))
            watching = self._tasks.spawn(
                f"watch {self.name}", self._silence.end_when_silent(process)
            )
            try:
                return await process.wait()
            finally:
                await self._tasks.end(watching)
        finally:
            await self._pool.detach(self.name)
            await process.stop(self._settings.stop_seconds)
            address_file.unlink(missing_ok=True)

    async def _answers(self) -> bool:
        return any(one.answers for one in self._pool.members() if one.name == self.name)

    async def _wait_for_address(self, process: LocalProcess, file: Path) -> str | None:
        """The address that the server wrote, or None when it died before."""
        while process.running:
            address = await asyncio.to_thread(_read_if_there, file)
            if address is not None:
                return address
            await self._clock.sleep(_ADDRESS_POLL_SECONDS)
        return None


class Neighbour:
    """A model server that another process of this data folder runs; found by its address file."""

    def __init__(
        self, name: str, *, connect: Connect, folder: Path, pool: UpstreamPool, clock: Clock
    ) -> None:
        self.name = name
        self._connect = connect
        self._file = find_address_file(folder, name)
        self._pool = pool
        self._clock = clock

    async def keep_attached(self) -> None:
        """Follow the file until cancelled: it is gone while the server is down."""
        known: str | None = None
        try:
            while True:
                address = await asyncio.to_thread(_read_if_there, self._file)
                if address != known and address is not None:
                    await self._pool.attach(self.name, self._connect(address))
                elif address != known:
                    await self._pool.detach(self.name)
                known = address
                await self._clock.sleep(_NEIGHBOUR_POLL_SECONDS)
        finally:
            await self._pool.detach(self.name)


def find_address_file(folder: Path, name: str) -> Path:
    """Where a model server tells its address."""
    return folder / f"{name}.address"


def _read_if_there(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return None
