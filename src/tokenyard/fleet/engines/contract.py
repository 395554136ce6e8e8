"""What every model server that we start keeps to: a port, an address file, and a lifeline.

The address is written once, whole. The lifeline is standard input, a pipe that only the parent
holds: when it closes, the parent is gone and the server ends at once. Does not know which server.
"""

import fcntl
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from tokenyard.vocabulary.errors import StartError

EXIT_FAILED = 1


def free_port(host: str, port: int) -> int:
    """That port, or for 0 one that is free now; raises StartError when it is taken.

    The server binds it itself a moment later. Should another take it in between, the server dies
    and its next start chooses again.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"The model server cannot listen on {host}:{port}: {error.strerror}. "
                "Set engine.port to another one, or to 0 for a free one."
            ) from None
        return int(probe.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """The address as a URL."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(address_file: Path | None, url: str) -> None:
    """Write the address; readers see the whole of it or no file."""
    if address_file is None:
        return
    partial = address_file.with_name(f"{address_file.name}.{os.getpid()}.partial")
    partial.write_text(url)
    partial.replace(address_file)


def hold_lifeline(end: Callable[[], None], *, even_while_locked: bool = False) -> None:
    """Call `end` on a thread of its own once the parent is gone.

    even_while_locked: for a library that holds Python's lock for seconds, as one that loads a model
    does, which keeps that thread waiting. The kernel then sends SIGIO as well, whose default on
    Linux is to end the process at once; `end` is not called.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        end()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    if even_while_locked:
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
