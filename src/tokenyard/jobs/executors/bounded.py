"""A program on bytes: killed when it takes too long or says too much.

For work on what strangers send, whose reader may loop for ever or crash. Does not know what it
runs; limits of memory and processor time are the program's own to set, before it reads anything.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

_PORTION_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How it ended, and what it wrote; negative for a signal."""

    status: int
    output: bytes


async def run_bounded(
    command: tuple[str, ...], given: bytes, *, seconds_max: float, output_bytes_max: int
) -> ProgramEnd:
    """Run a program on bytes; raises TimeoutError, and ValueError when it writes too much."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds_max):
            output, _ = await asyncio.gather(_read(child, output_bytes_max), _give(child, given))
            status = await child.wait()
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return ProgramEnd(status, output)


async def _give(child: asyncio.subprocess.Process, given: bytes) -> None:
    assert child.stdin is not None
    # A program that ends early does not read to the end.
    with suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(given)
        await child.stdin.drain()
    child.stdin.close()


async def _read(child: asyncio.subprocess.Process, output_bytes_max: int) -> bytes:
    assert child.stdout is not None
    output = bytearray()
    while portion := await child.stdout.read(_PORTION_BYTES):
        output += portion
        if len(output) > output_bytes_max:
            raise ValueError(f"more than {output_bytes_max} bytes were written")
    return bytes(output)
