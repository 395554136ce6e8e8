"""What processes beside ours need: where they keep their files, and who keeps them running."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tokenyard.assembly.ground import RUN_FOLDER
from tokenyard.fleet.services.service import Service
from tokenyard.runtime.clock import Clock, RealClock
from tokenyard.runtime.randomness import Randomness, SystemRandomness
from tokenyard.runtime.settings import HOME_VARIABLE, Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics

SERVICES_FOLDER = "services"


@dataclass(frozen=True, slots=True)
class Workshop:
    """There before the store is, which is one of the things made here."""

    stack: AsyncExitStack
    settings: Settings
    home: Path
    tasks: TaskSupervisor
    clock: Clock
    randomness: Randomness
    metrics: GatewayMetrics
    log: Log

    @property
    def run_folder(self) -> Path:
        """Logs and addresses; nothing that has to stay."""
        return self.home / RUN_FOLDER

    @property
    def services_folder(self) -> Path:
        """What Postgres and Valkey keep."""
        return self.home / SERVICES_FOLDER

    def make(
        self,
        name: str,
        command: tuple[str, ...],
        answers: Callable[[], Awaitable[bool]],
        *,
        environment: dict[str, str] | None = None,
        stop_seconds: float,
    ) -> Service:
        """A process that is not started yet."""
        return Service(
            name,
            command,
            environment={HOME_VARIABLE: str(self.home), **(environment or {})},
            folder=self.run_folder,
            answers=answers,
            stop_seconds=stop_seconds,
            settings=self.settings.fleet,
            tasks=self.tasks,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
        )

    async def start(self, *services: Service) -> None:
        """Keep them running until the stack is closed, which ends them side by side.

        Returns once they answer; raises StartError when one does not come up.
        """
        keeping = [self.tasks.spawn(one.name, one.keep_running()) for one in services]
        self.stack.push_async_callback(self._end, keeping)
        for service in services:
            await service.wait_until_up()

    async def _end(self, keeping: "list[asyncio.Task[None]]") -> None:
        await asyncio.gather(*(self.tasks.end(task) for task in keeping))


async def open_workshop(
    stack: AsyncExitStack, settings: Settings, home: Path, log: Log
) -> Workshop:
    """Closed with the stack, after everything that stands on what is made here."""
    return Workshop(
        stack=stack,
        settings=settings,
        home=home,
        tasks=await stack.enter_async_context(TaskSupervisor(log.task_failed)),
        clock=RealClock(),
        randomness=SystemRandomness(),
        metrics=GatewayMetrics(),
        log=log,
    )
