"""Postgres and Valkey of our own, for the scaled form on one machine."""

import asyncio
from pathlib import Path

import msgspec

from tokenyard.assembly.workshop import Workshop
from tokenyard.fleet.engines.contract import free_port
from tokenyard.fleet.services import postgres, valkey
from tokenyard.fleet.services.service import on_lifeline
from tokenyard.jobs.executors.processes import ProcessSpec, start_process
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.vocabulary.errors import StartError

LOOPBACK = "127.0.0.1"
_PASSWORD_BYTES = 24
_STOP_SECONDS = 20.0


async def open_stores(workshop: Workshop, storage: StorageSettings) -> StorageSettings:
    """Start those that the settings do not name; returns the settings with their addresses.

    Raises StartError when one is not installed or does not come up.
    """
    changes: dict[str, str] = {}
    if not storage.database_url:
        changes["database_url"] = await _open_postgres(workshop)
    if not storage.redis_url:
        changes["redis_url"] = await _open_valkey(workshop)
    return msgspec.structs.replace(storage, **changes)


async def _open_postgres(workshop: Workshop) -> str:
    programs = postgres.find_postgres()
    folder = workshop.services_folder / "postgres"
    programs.make_folder(folder)
    data = folder / "data"
    password_file = workshop.services_folder / "postgres.password"
    if not data.exists():
        password = workshop.randomness.bytes(_PASSWORD_BYTES).hex()
        await asyncio.to_thread(write_private, password_file, password)
        await _initialise(workshop, programs, folder, password_file)
    password = await asyncio.to_thread(password_file.read_text)
    port = free_port(LOOPBACK, 0)
    command = on_lifeline("INT", programs.serve(data, port))
    await _start(workshop, "postgres", command, port)
    return postgres.database_url(port, password)


async def _initialise(
    workshop: Workshop, programs: postgres.PostgresPrograms, folder: Path, password_file: Path
) -> None:
    """Make the data beside its place first: a folder that was made by half is made again."""
    half = folder / "half"
    await asyncio.to_thread(_remove, half)
    log = workshop.run_folder / "postgres.log"
    made = await start_process(ProcessSpec(programs.initialise(half, password_file), log))
    if await made.wait() != 0:
        raise StartError(f"Postgres could not make its data folder; see {log}.")
    half.rename(folder / "data")


async def _open_valkey(workshop: Workshop) -> str:
    program = valkey.find_valkey()
    port = free_port(LOOPBACK, 0)
    # A new one each time: nobody else has to know it.
    password = workshop.randomness.bytes(_PASSWORD_BYTES).hex()
    configuration = await asyncio.to_thread(
        valkey.write_configuration, workshop.services_folder / "valkey", port, password
    )
    command = on_lifeline("TERM", (str(program), str(configuration)))
    await _start(workshop, "valkey", command, port)
    return valkey.redis_url(port, password)


async def _start(workshop: Workshop, name: str, command: tuple[str, ...], port: int) -> None:
    service = workshop.make(name, command, lambda: listens(port), stop_seconds=_STOP_SECONDS)
    await workshop.start(service)


async def listens(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody takes connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def write_private(path: Path, text: str) -> None:
    """A file for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if folder.exists():
        folder.rmdir()
