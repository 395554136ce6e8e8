"""How long until the model server is ready, and what do 1, 8, 16 and 64 streams get from it?

`python -m benchmarks.engine` starts the server as `tokenyard up` does and reads its answers over
HTTP: process start to ready, first token, tokens per second (all streams together, prompts
included), memory. `--peer` runs llama.cpp (PyPI `xllamacpp`) on the same file with the same
prompts in the same run. Results go to benchmarks/results/engine.json.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from tokenyard.engine.catalogue import find_file
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.settings import home_folder

RESULTS = Path(__file__).parents[1] / "results" / "engine.json"
PEER = Path(__file__).parent / "llama_cpp_server.py"
STREAMS = (1, 8, 16, 64)
ANSWER_TOKENS = 128
READY_SECONDS_MAX = 120.0
POLL_SECONDS = 0.02
SUBJECTS = (
    "the sea", "a city at night", "old bridges", "winter", "a garden", "trains", "the moon",
    "bread", "rivers", "a library", "mountains", "rain", "a lighthouse", "the desert", "clocks",
    "birds",
)  # fmt: skip
QUESTION = (
    "Please write a long and detailed text about {subject}. Say first what people have thought of "
    "{subject} in earlier times, then what has changed since, and at the end what might come next. "
    "Use simple words and full sentences, do not use lists, and give at least one example for each "
    "thing that you say about {subject}."
)


@dataclass(frozen=True)
class Stream:
    """What one reader saw; seconds from its request."""

    first_token_seconds: float
    total_seconds: float
    tokens: int
    gaps_seconds: tuple[float, ...]


@dataclass(frozen=True)
class Figure:
    """One server under one number of streams."""

    server: str
    streams: int
    tokens_per_second: float
    decode_tokens_per_second: float
    first_token_ms_mean: float
    first_token_ms_max: float
    gap_ms_p50: float
    gap_ms_p99: float
    load: float


@asynccontextmanager
async def running(command: list[str], log: Path) -> AsyncIterator[tuple[str, float, int]]:
    """Start a server; gives its address, the seconds until it was ready, and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        address_file = Path(folder) / "address"
        began = time.perf_counter()
        process = _start([*command, "--address-file", str(address_file)], log)
        try:
            address = await _until_ready(process, address_file, began)
            yield address, time.perf_counter() - began, process.pid
        finally:
            process.terminate()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def _start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


async def _until_ready(process: "subprocess.Popen[bytes]", address_file: Path, began: float) -> str:
    async with aiohttp.ClientSession() as session:
        while time.perf_counter() - began < READY_SECONDS_MAX:
            if process.poll() is not None:
                raise SystemExit(f"the server ended with status {process.returncode}")
            address = _read(address_file)
            if address is not None:
                try:
                    async with session.get(f"{address}/health") as answer:
                        if answer.status == 200:
                            return address
                except aiohttp.ClientError:
                    pass
            await asyncio.sleep(POLL_SECONDS)
    raise SystemExit(f"the server was not ready after {READY_SECONDS_MAX} s")


async def read_stream(session: aiohttp.ClientSession, address: str, subject: str) -> Stream:
    """Ask once and note when each piece of text arrives."""
    body = {
        "model": EngineSettings().model,
        "messages": [{"role": "user", "content": QUESTION.format(subject=subject)}],
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.perf_counter()
    arrivals: list[float] = []
    tokens = 0
    async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if any(choice["delta"].get("content") for choice in event["choices"]):
                arrivals.append(time.perf_counter() - began)
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
    gaps = tuple(then - first for first, then in pairwise(arrivals))
    return Stream(arrivals[0], time.perf_counter() - began, tokens, gaps)


async def measure(address: str, server: str, streams: int, round_number: int) -> Figure:
    """All streams at once. The round keeps prompts of different runs apart, for prefix caches."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = time.perf_counter()
        subjects = [f"{SUBJECTS[n % 16]} ({streams}-{round_number}-{n})" for n in range(streams)]
        done = await asyncio.gather(
            *(read_stream(session, address, subject) for subject in subjects)
        )
        wall = time.perf_counter() - began
    gaps = sorted(gap for stream in done for gap in stream.gaps_seconds)
    last_first = max(stream.first_token_seconds for stream in done)
    tokens = sum(stream.tokens for stream in done)
    after = sum(1 + sum(1 for at in _arrivals(stream) if at > last_first) for stream in done)
    return Figure(
        server=server,
        streams=streams,
        tokens_per_second=round(tokens / wall, 1),
        decode_tokens_per_second=round(after / (wall - last_first), 1),
        first_token_ms_mean=round(1000 * statistics.mean(s.first_token_seconds for s in done), 1),
        first_token_ms_max=round(1000 * last_first, 1),
        gap_ms_p50=round(1000 * gaps[len(gaps) // 2], 1),
        gap_ms_p99=round(1000 * gaps[len(gaps) * 99 // 100], 1),
        load=round(os.getloadavg()[0], 1),
    )


def _arrivals(stream: Stream) -> list[float]:
    at, arrivals = stream.first_token_seconds, []
    for gap in stream.gaps_seconds:
        at += gap
        arrivals.append(at)
    return arrivals


async def bench(name: str, command: list[str], rounds: int, streams: tuple[int, ...]) -> Any:
    """Start one server and put every number of streams on it; the best of some rounds counts."""
    log = Path(tempfile.gettempdir()) / f"bench-{name}.log"
    figures = []
    async with running(command, log) as (address, ready_seconds, pid):
        await measure(address, name, 1, 99)
        for count in streams:
            found = [await measure(address, name, count, number) for number in range(rounds)]
            best = max(found, key=lambda figure: figure.tokens_per_second)
            figures.append(best)
            print(_row(best), flush=True)
        memory = _peak_bytes(pid)
    return {
        "server": name,
        "ready_seconds": round(ready_seconds, 2),
        "peak_memory_mb": round(memory / 1e6),
        "figures": [asdict(figure) for figure in figures],
    }


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _row(figure: Figure) -> str:
    return (
        f"{figure.server:10} {figure.streams:3} streams  {figure.tokens_per_second:7.1f} tok/s  "
        f"first token {figure.first_token_ms_mean:7.0f} ms  "
        f"between tokens {figure.gap_ms_p50:5.0f} ms  (load {figure.load})"
    )


def machine() -> dict[str, Any]:
    """Where and when this ran."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "commit": commit,
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "at": int(time.time()),
    }


async def main() -> None:
    """Run and print; the peer comes second, on a machine that is as warm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="store_true", help="measure llama.cpp too")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--streams", type=int, nargs="+", default=list(STREAMS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    streams = tuple(asked.streams)
    servers = [("tokenyard", [sys.executable, "-m", "tokenyard", "engine", "--exit-with-parent"])]
    if asked.peer:
        file = find_file(EngineSettings().model, home_folder(os.environ) / "models").path
        servers.append(("llama.cpp", [sys.executable, str(PEER), "--model", str(file)]))
    results = [await bench(name, command, asked.rounds, streams) for name, command in servers]
    for result in results:
        print(
            f"{result['server']:10} ready after {result['ready_seconds']} s, "
            f"peak memory {result['peak_memory_mb']} MB"
        )
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "answer_tokens": ANSWER_TOKENS, "servers": results}
    asked.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
