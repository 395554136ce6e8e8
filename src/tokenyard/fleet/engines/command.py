"""A model server from a command line of the operator's, such as vLLM's, kept to our contract.

This runs in a process between the platform and the server: it fills in port and model, tells the
address once somebody listens there, hands a stop signal on, and takes everything down when the
platform is gone. Does not know what the server is; its health is asked by whoever routes to it.
"""

import asyncio
import os
import shlex
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tokenyard.fleet.engines.contract import (
    EXIT_FAILED,
    announce,
    free_port,
    hold_lifeline,
    url_of,
)
from tokenyard.jobs.executors.processes import LocalProcess, ProcessSpec, start_process
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import StartError

_POLL_SECONDS = 0.1


def serve(
    settings: EngineSettings,
    *,
    address_file: Path | None,
    exit_with_parent: bool,
    log: Log,
    clock: Clock,
) -> int:
    """Run the command until a stop signal or its own end; gives the exit status.

    Raises StartError when the command cannot be run or the port is taken.
    """
    if exit_with_parent:
        hold_lifeline(_end_group)
    port = free_port(settings.host, settings.port)
    command = fill_in(settings.command, port=port, model=settings.model)
    program_of(command)
    url = url_of(settings.host, port)
    return asyncio.run(
        _stay(command, url, settings, address_file=address_file, log=log, clock=clock)
    )


def fill_in(command: str, *, port: int, model: str) -> tuple[str, ...]:
    """The command's words, with {port} and {model} in place; other braces are left alone."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise StartError(f"engine.command cannot be read: {error}.") from None
    return tuple(word.replace("{port}", str(port)).replace("{model}", model) for word in words)


def program_of(command: tuple[str, ...]) -> str:
    """Where the command's program lies; raises StartError when it is not there."""
    found = shutil.which(command[0]) if command else None
    if found is None:
        named = command[0] if command else "nothing"
        raise StartError(
            f"engine.command starts {named!r}, which is not a program here. Install it, or write "
            "its whole path."
        )
    return found


async def _stay(
    command: tuple[str, ...],
    url: str,
    settings: EngineSettings,
    *,
    address_file: Path | None,
    log: Log,
    clock: Clock,
) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _running(command, settings.drain_seconds) as server:
        log.info(Event.STARTED, address=url, model=settings.model, pid=server.pid)
        async with TaskSupervisor(log.task_failed) as tasks:
            announcing = tasks.spawn("announce", _announce(url, address_file, log, clock))
            ended = tasks.spawn("server", server.wait())
            stopping = tasks.spawn("stop", stop.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (announcing, ended, stopping):
                task.cancel()
        if stop.is_set():
            log.info(Event.STOPPING)
            await server.stop(settings.drain_seconds)
            return 0
        status = await server.wait()
        log.error(Event.STOPPED, status=status)
        return EXIT_FAILED


@asynccontextmanager
async def _running(command: tuple[str, ...], stop_seconds: float) -> AsyncIterator[LocalProcess]:
    # In our group, so that whoever kills that group leaves nothing of it behind.
    spec = ProcessSpec(command, log=None, own_group=False)
    try:
        server = await start_process(spec)
    except OSError as error:
        raise StartError(f"engine.command cannot be run: {error}.") from None
    try:
        yield server
    finally:
        await server.stop(stop_seconds)


async def _announce(url: str, address_file: Path | None, log: Log, clock: Clock) -> None:
    """Tell the address as soon as somebody listens there."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
            break
        await clock.sleep(_POLL_SECONDS)
    announce(address_file, url)
    log.info(Event.MODEL_LOADED, address=url)


def _end_group() -> None:
    """The platform is gone: end the server with everything that it started, and ourselves."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(EXIT_FAILED)
