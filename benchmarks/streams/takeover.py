"""How long a reader waits when the gateway that writes its answer is killed: real processes.

Three gateways, Postgres, Valkey and nginx if it is there, with default leases, over model servers
without weights. The reader comes back at another gateway at once, as a client does.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from acceptance import yard as yards
from acceptance.scaled.conftest import ENGINE, TESTS, ScaledYard, free_port, write_settings
from acceptance.scaled.test_answers import Event, events_of, start_answer, text_of
from support.scripted_engine import TEXT

ROUNDS = 3
_OVER = {"response.completed", "response.failed"}


def measure() -> dict[str, Any]:
    """Seconds from the kill to the first new event, and whether any was shown twice or lost."""
    port = free_port()
    command = [sys.executable, str(ENGINE), "--port", str(port), "--token-seconds", "0.01"]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"}
    with (
        tempfile.TemporaryDirectory(prefix="tokenyard-bench-") as folder,
        subprocess.Popen(command, env=environment) as engine,
    ):
        home = Path(folder) / "home"
        write_settings(home, [port])
        yard = yards.start(home, Path(folder), "--replicas", "3")
        try:
            yard.wait_until_ready()
            scaled = ScaledYard(yard, [engine])
            waits = [take_over(scaled) for _ in range(ROUNDS)]
            yard.interrupt()
            yard.wait_for_end()
        finally:
            yard.destroy()
            engine.kill()
    return {
        "rounds": ROUNDS,
        "seconds": [round(wait, 2) for wait in waits],
        "seconds_median": round(statistics.median(waits), 2),
        "shown_twice_or_lost": 0,
    }


def take_over(scaled: ScaledYard) -> float:
    """Kill the gateway of an answer; raises AssertionError if the text has a seam."""
    scaled.wait_until_whole()
    response, seen, _ = start_answer(scaled, 1)
    os.kill(scaled.gateway_pid(1), signal.SIGKILL)
    began, first = time.monotonic(), 0.0
    while seen[-1]["type"] not in _OVER:
        for event in read_on(scaled, response, seen[-1]):
            first = first or time.monotonic()
            seen.append(event)
    numbers = [event["sequence_number"] for event in seen]
    assert numbers == list(range(len(numbers)))
    assert text_of(seen) == TEXT
    return first - began


def read_on(scaled: ScaledYard, response: str, last: Event) -> list[Event]:
    """What follows at another gateway; its first event ends the first look."""
    path = f"/v1/responses/{response}?stream=true&starting_after={last['sequence_number']}"
    found = []
    for event in events_of(scaled, "GET", path, base=scaled.gateways[2]):
        found.append(event)
        if len(found) == 1 and last["type"] == "response.output_text.delta":
            break
    return found
