"""A process that others stand on, such as Postgres or a gateway: started, watched, started again.

Decides when it has had its chance. Does not know what it is: who makes it says how to tell that it
answers.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tokenyard.fleet.restarts import Restarts
from tokenyard.fleet.silence import SilenceWatch
from tokenyard.jobs.executors import lifeline
from tokenyard.jobs.executors.processes import LocalProcess, ProcessSpec, start_process
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.settings import FleetSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import StartError

_POLL_SECONDS = 0.05
_DEATHS_MAX = 3
_TAIL_LINES = 12


class Service:
    """One process by name.

    answers: whether it serves by now. stop_seconds: between the polite stop signal and the forceful
    one.
    """

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        *,
        environment: Mapping[str, str],
        folder: Path,
        answers: Callable[[], Awaitable[bool]],
        stop_seconds: float,
        settings: FleetSettings,
        tasks: TaskSupervisor,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        self.name = name
        self._spec = ProcessSpec(command, folder / f"{name}.log", environment)
        self._answers = answers
        self._stop_seconds = stop_seconds
        self._clock = clock
        self._log = log
        self._process: LocalProcess | None = None
        self._tasks = tasks
        self._silence = SilenceWatch(name, answers, settings=settings, clock=clock, log=log)
        self._restarts = Restarts(
            name, settings, see=str(self._spec.log), clock=clock, metrics=metrics, log=log
        )

    async def keep_running(self) -> None:
        """Run it until cancelled, then stop it."""
        await self._restarts.keep(self._run_once)

    async def wait_until_up(self) -> None:
        """Return once it answers; raises StartError when it dies again and again."""
        while self._process is None or not await self._answers():
            if self._restarts.deaths >= _DEATHS_MAX:
                raise StartError(
                    f"{self.name} died {self._restarts.deaths} times while starting. "
                    f"The end of its log ({self._spec.log}):\n{self._tail()}"
                )
            await self._clock.sleep(_POLL_SECONDS)

    def tell(self, line: str) -> None:
        """Send a line to it, where it listens for any; quiet while it is not there."""
        if self._process is not None:
            self._process.tell(line)

    async def _run_once(self) -> int:
        process = self._process = await start_process(self._spec)
        self._log.info(Event.REPLICA_STARTING, replica=self.name, pid=process.pid)
        watching = self._tasks.spawn(f"watch {self.name}", self._silence.end_when_silent(process))
        try:
            return await process.wait()
        finally:
            self._process = None
            await self._tasks.end(watching)
            await process.stop(self._stop_seconds)

    def _tail(self) -> str:
        if self._spec.log is None or not self._spec.log.exists():
            return "  (there is none)"
        lines = self._spec.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


def on_lifeline(stop_signal: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command line of a program that would outlive us by itself.

    stop_signal: what it takes for an orderly stop, such as "INT".
    """
    # Isolated and without site packages, as the lifeline needs none.
    return (sys.executable, "-I", "-S", str(Path(lifeline.__file__)), stop_signal, *command)
