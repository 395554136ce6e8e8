"""`python -m benchmarks.streams`: some five minutes, results in benchmarks/results/streams.json.

Question: what do many open answers cost one gateway process, beside the plain way of streaming? An
event is written, logged, and read by its own connection; each kind of server runs alone in a fresh
process while this one is its readers. The plain way is a framework's helper for server-sent events,
one awaited append for each event and one reader connection for each stream
(requirements/plain.txt, installed beside the results at first). vercel's resumable-stream does the
same on Node, where npm installs it. CPU time is that of the server's
process; delays and rates are only as good as the machine was idle. PARTS: idle, load, log,
takeover; all without any.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.engines import machine
from benchmarks.streams import log, takeover
from benchmarks.streams.load import Client, Seen, quantiles_ms
from support.valkey_server import run_valkey

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parent / "results" / "streams.json"
PLAIN = Path(sys.prefix) / "plain"
RESUMABLE = FOLDER / "resumable"
WITH_NODE = FOLDER.parents[1] / "tools" / "with-node"
REQUIREMENTS = FOLDER.parents[1] / "requirements" / "plain.txt"
IDLE = 2_000
FEW, SOME, MANY = 500, 1_000, 3_000
PACE = 4.0
SILENT = 0.0
RESUMES = 300
_AT_ONCE = 50
_SETTLE_SECONDS = 2.0
_WATCH_SECONDS = 8.0
_RAMP_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A server to measure. sockets: read over WebSockets."""

    name: str
    command: tuple[str, ...]
    ours: bool = True
    sockets: bool = False


@asynccontextmanager
async def open_server(kind: Kind) -> AsyncIterator[Client]:
    """A fresh process of that kind, killed at the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(PLAIN)])}
    process = await asyncio.create_subprocess_exec(
        *kind.command, stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        told = json.loads(await process.stdout.readline())
        async with Client(told["port"], told["key"], process.pid) as client:
            yield client
    finally:
        process.kill()
        await process.wait()


async def measure_idle(kind: Kind) -> dict[str, Any]:
    """Connections to a few silent answers: how fast they come, and what each of them holds."""
    async with open_server(kind) as client:
        answers = [(await client.create(SILENT))[0] for _ in range(10)]
        await asyncio.sleep(_SETTLE_SECONDS)
        before, used, began = client.memory_bytes(), client.cpu_seconds(), time.monotonic()

        async def connect(number: int) -> None:
            response = answers[number % len(answers)]
            if kind.sockets:
                await client.open_socket({"type": "response.resume", "response_id": response})
            else:
                await (await client.read(response)).opened

        await in_groups(connect, range(IDLE))
        took, used = time.monotonic() - began, client.cpu_seconds() - used
        await asyncio.sleep(_SETTLE_SECONDS)
        return {
            "connections": IDLE,
            "kilobytes_each": round((client.memory_bytes() - before) / IDLE / 1024, 1),
            "connects_per_second": round(IDLE / took),
            "cpu_us_per_connect": round(used / IDLE * 1e6),
        }


async def measure_load(kind: Kind) -> dict[str, Any]:
    """Answers that are written at the same time, each with its reader; readers that come back."""
    async with open_server(kind) as client:
        answers: list[str] = []
        told: dict[str, Any] = {}

        async def begin(_: int) -> None:
            if kind.sockets:
                body = {"type": "response.create", "model": "paced", "input": f"{PACE:g}"}
                await client.open_socket(body)
            else:
                answers.append((await client.create(PACE))[0])

        async def ramp(count: int) -> None:
            async with asyncio.timeout(_RAMP_SECONDS_MAX):
                await in_groups(begin, range(len(client.readers), count))
            await asyncio.sleep(_SETTLE_SECONDS)

        try:
            await ramp(FEW)
            told[f"{FEW} streams"] = await client.watch(_WATCH_SECONDS)
            if not kind.sockets:
                await ramp(SOME)
                told[f"resume beside {SOME} streams"] = await measure_resumes(kind, client, answers)
            await ramp(MANY)
            told[f"{MANY} streams"] = await client.watch(_WATCH_SECONDS)
        except TimeoutError:
            told["gave_up"] = f"{len(client.readers)} streams after {_RAMP_SECONDS_MAX:g} s"
        return told


async def measure_resumes(kind: Kind, client: Client, answers: list[str]) -> dict[str, Any]:
    """From the connection to the first word after the cursor."""
    waits = []
    again = Client(client.port, client.key, client.pid, Seen())
    for number in range(RESUMES):
        response = answers[number % len(answers)]
        began = time.monotonic()
        reader = await again.read(response, f"{response}.1.5" if kind.ours else None)
        await reader.first
        waits.append(time.monotonic() - began)
        reader.transport.abort()
    return {"resumes": RESUMES, **quantiles_ms("resume", waits)}


async def in_groups(work: Any, numbers: range) -> None:
    """So many at a time."""
    for start in range(numbers.start, numbers.stop, _AT_ONCE):
        stop = min(start + _AT_ONCE, numbers.stop)
        await asyncio.gather(*(work(number) for number in range(start, stop)))


def install_others() -> None:
    """What the other ways need, apart from ours."""
    if not (RESUMABLE / "node_modules").exists():
        install = ("npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix")
        subprocess.run((str(WITH_NODE), *install, str(RESUMABLE)), check=True)
    if not PLAIN.exists():
        install = ("install", "--quiet", "--no-deps", "--target", str(PLAIN))
        command = (sys.executable, "-m", "pip", *install, "-r", str(REQUIREMENTS))
        subprocess.run(command, check=True)


def measure(parts: set[str]) -> dict[str, Any]:
    """All that was asked for."""
    told: dict[str, Any] = {}
    with run_valkey() as server:
        ours = (sys.executable, "-m", "benchmarks.streams.ours")
        plain = (str(FOLDER / "naive.py"), server.url)
        resumable = (str(RESUMABLE / "server.mjs"), server.url)
        kinds = (
            Kind("ours", ours),
            Kind("ours, WebSocket", ours, sockets=True),
            Kind("ours, Valkey", (*ours, server.url)),
            Kind("plain, Valkey", (sys.executable, *plain), ours=False),
            Kind("resumable-stream", (str(WITH_NODE), "node", *resumable), ours=False),
        )
        for kind in kinds:
            for part, work in (("idle", measure_idle), ("load", measure_load)):
                if part in parts and (part, kind.name) != ("idle", "ours, Valkey"):
                    say(f"{part}: {kind.name}")
                    told.setdefault(part, {})[kind.name] = uvloop.run(work(kind))
                    say(json.dumps(told[part][kind.name]))
    if "log" in parts:
        say("log")
        told["log"] = asyncio.run(log.measure())
    if "takeover" in parts:
        say("takeover")
        told["takeover"] = takeover.measure()
        say(json.dumps(told["takeover"]))
    return told


def say(line: str) -> None:
    """What is done now, for who waits."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> None:
    """Measure, and keep what was measured of each part."""
    parts = set(sys.argv[1:]) or {"idle", "load", "log", "takeover"}
    install_others()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    load_before = os.getloadavg()[0]
    told = measure(parts)
    stamp = {**machine(), "load_before": round(load_before, 1), "load_after": os.getloadavg()[0]}
    command = " ".join(["python -m benchmarks.streams", *sorted(sys.argv[1:])])
    for part, figures in told.items():
        kept[part] = {"machine": stamp, "command": command, "figures": figures}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
