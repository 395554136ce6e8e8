"""Runs a program until it ends, or until whoever holds our standard input is gone.

`python -I -S lifeline.py SIGNAL PROGRAM ARGUMENTS…` stands between us and a program that knows
nothing of lifelines, such as Postgres. A stop signal, or the end of standard input, becomes the
SIGNAL that the program takes for an orderly stop. Only the standard library, so that it is small.
Decides nothing.
"""

import os
import signal
import subprocess
import sys
import threading

_GRACE_SECONDS = 10.0


def main() -> int:
    """The program's exit status."""
    number = signal.Signals[f"SIG{sys.argv[1]}"]
    # In our group, so that whoever kills that group leaves nothing of it behind.
    with subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL) as child:

        def stop(*_: object) -> None:
            child.send_signal(number)

        def watch() -> None:
            while os.read(0, 4096):
                pass
            stop()
            try:
                child.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()

        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, stop)
        threading.Thread(target=watch, daemon=True).start()
        return child.wait()


if __name__ == "__main__":
    sys.exit(main())
