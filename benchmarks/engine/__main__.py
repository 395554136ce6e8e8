"""How long until the model server is ready, and what do 1, 8, 16 and 64 streams get from it?

`python -m benchmarks.engine` starts the server as `tokenyard up` does and reads its answers over
HTTP: process start to ready, first token, tokens per second (all streams together, prompts
included), memory. `--peers` runs others on the same file with the same prompts in the same run:
llama.cpp as shipped and with Q4_0, OpenVINO GenAI, transformers' continuous batching; `--address
NAME=URL` measures a server that runs already, such as vLLM. Who is absent is named with the reason.
A number of streams that would take a peer beyond `--peer-seconds` is named too, and left out.
Results go to benchmarks/results/engine.json.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.engine.peers import NAMES, Peer, find_peer
from tokenyard.engine.catalogue import find_file
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.template import ChatTemplate
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.settings import home_folder
from tokenyard.vocabulary.messages import Message, Role

RESULTS = Path(__file__).parents[1] / "results" / "engine.json"
STREAMS = (1, 8, 16, 64)
ANSWER_TOKENS = 128
PEER_SECONDS = 150.0
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


def subjects_of(streams: int, round_number: int) -> list[str]:
    """The round keeps prompts of different runs apart, for prefix caches."""
    return [f"{SUBJECTS[n % 16]} ({streams}-{round_number}-{n})" for n in range(streams)]


async def measure(address: str, server: str, streams: int, round_number: int) -> Figure:
    """All streams at once, over HTTP."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = time.perf_counter()
        done = await asyncio.gather(
            *(
                read_stream(session, address, subject)
                for subject in subjects_of(streams, round_number)
            )
        )
        return summarise(server, done, time.perf_counter() - began)


def summarise(server: str, done: list[Stream], wall: float) -> Figure:
    gaps = sorted(gap for stream in done for gap in stream.gaps_seconds)
    last_first = max(stream.first_token_seconds for stream in done)
    tokens = sum(stream.tokens for stream in done)
    after = sum(1 + sum(1 for at in _arrivals(stream) if at > last_first) for stream in done)
    return Figure(
        server=server,
        streams=len(done),
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


Ask = Callable[[int, int], Awaitable[Figure]]


async def bench(
    name: str, ask: Ask, rounds: int, streams: tuple[int, ...], seconds_max: float
) -> dict[str, Any]:
    """Put every number of streams on a server; the best of some rounds counts."""
    began, rate = time.perf_counter(), 0.0
    figures: list[Figure] = []
    left_out: dict[str, str] = {}
    for count in streams:
        spent = time.perf_counter() - began
        expected = count * ANSWER_TOKENS * rounds / rate if rate else 0.0
        if spent + expected > seconds_max:
            left_out[str(count)] = f"would have taken some {expected:.0f} s more"
            print(f"{name:15} {count:3} streams  left out: {left_out[str(count)]}", flush=True)
            continue
        found = [await ask(count, number) for number in range(rounds)]
        best = max(found, key=lambda figure: figure.tokens_per_second)
        rate = best.tokens_per_second
        figures.append(best)
        print(_row(best), flush=True)
    return {"figures": [asdict(figure) for figure in figures], "left_out": left_out}


async def bench_server(
    name: str, command: list[str], rounds: int, streams: tuple[int, ...], seconds_max: float
) -> dict[str, Any]:
    """Start a server that speaks HTTP, and measure it."""
    log = Path(tempfile.gettempdir()) / f"bench-{name.replace(' ', '-')}.log"
    async with running(command, log) as (address, ready_seconds, pid):
        await measure(address, name, 1, 99)
        ask = partial(measure, address, name)
        found = await bench(name, ask, rounds, streams, seconds_max)
        memory = _peak_bytes(pid)
    return _result(name, "http", found, ready_seconds, memory)


async def bench_peer(
    peer: Peer, model: Path, rounds: int, streams: tuple[int, ...], seconds_max: float
) -> dict[str, Any]:
    """Measure a peer, or say why not; one that fails is named with its last words."""
    try:
        if peer.absent:
            raise Absent(peer.absent)
        if not peer.in_process:
            return await bench_server(peer.name, list(peer.command), rounds, streams, seconds_max)
        return await _bench_pipe(peer, model, rounds, streams, seconds_max)
    except (Absent, SystemExit) as error:
        print(f"{peer.name:15} absent: {error}", flush=True)
        return {"server": peer.name, "absent": str(error)}


class Absent(Exception):
    """A peer that cannot be measured here; its text says why."""


async def _bench_pipe(
    peer: Peer, model: Path, rounds: int, streams: tuple[int, ...], seconds_max: float
) -> dict[str, Any]:
    """A peer inside a process that takes token ids: no HTTP, no text."""
    encode = _encoder(model)
    log = Path(tempfile.gettempdir()) / f"bench-{peer.name}.log"
    began = time.perf_counter()
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *peer.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
            limit=1 << 26,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def read() -> dict[str, Any]:
        while line := await asyncio.wait_for(stdout.readline(), seconds_max):
            if line.startswith((b'{"ready"', b'{"wall"')):
                found: dict[str, Any] = json.loads(line)
                return found
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no word"]
        raise Absent(f"it ended: {last[0][:300]}")

    async def ask(count: int, number: int, tokens: int = ANSWER_TOKENS) -> Figure:
        prompts = [encode(subject) for subject in subjects_of(count, number)]
        stdin.write(json.dumps({"prompts": prompts, "tokens": tokens}).encode() + b"\n")
        await stdin.drain()
        answer = await read()
        done = [
            Stream(at[0], at[-1], len(at), tuple(then - first for first, then in pairwise(at)))
            for at in answer["arrivals"]
        ]
        return summarise(peer.name, done, answer["wall"])

    try:
        await read()
        ready_seconds = time.perf_counter() - began
        await ask(1, 99, 16)
        found = await bench(peer.name, ask, rounds, streams, seconds_max)
        memory = _peak_bytes(process.pid)
    except TimeoutError:
        raise Absent(f"it gave nothing for {seconds_max:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return _result(peer.name, "in process, token ids", found, ready_seconds, memory)


def _encoder(model: Path) -> Callable[[str], list[int]]:
    """The prompt of a subject as token ids, the same that our server makes of it."""
    with GgufFile(model) as file:
        tokenizer = Tokenizer(file.metadata)
        template = ChatTemplate(str(file.metadata["tokenizer.chat_template"]), tokenizer)

    def encode(subject: str) -> list[int]:
        message = Message(Role.USER, QUESTION.format(subject=subject))
        return list(template.encode([message], mark=bytes(16), now=0))

    return encode


def _result(
    name: str, asked: str, found: dict[str, Any], ready_seconds: float | None, memory: int | None
) -> dict[str, Any]:
    return {
        "server": name,
        "asked": asked,
        "ready_seconds": None if ready_seconds is None else round(ready_seconds, 2),
        "peak_memory_mb": None if memory is None else round(memory / 1e6),
        **found,
    }


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _row(figure: Figure) -> str:
    return (
        f"{figure.server:15} {figure.streams:3} streams  {figure.tokens_per_second:7.1f} tok/s  "
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


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="*", choices=NAMES, help="which others; all if none named")
    parser.add_argument("--peer-seconds", type=float, default=PEER_SECONDS, help="for each other")
    parser.add_argument("--address", action="append", default=[], metavar="NAME=URL")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--streams", type=int, nargs="+", default=list(STREAMS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


async def main() -> None:
    """Run and print; the peers come after us, on a machine that is as warm."""
    asked = _parse()
    streams, rounds = tuple(asked.streams), asked.rounds
    own = [sys.executable, "-m", "tokenyard", "engine", "--exit-with-parent"]
    results = [await bench_server("tokenyard", own, rounds, streams, math.inf)]
    if asked.peers is not None:
        model = find_file(EngineSettings().model, home_folder(os.environ) / "models").path
        for name in asked.peers or NAMES:
            peer = find_peer(name, model)
            results.append(await bench_peer(peer, model, rounds, streams, asked.peer_seconds))
    for given in asked.address:
        name, _, address = given.partition("=")
        ask = partial(measure, address.rstrip("/"), name)
        found = await bench(name, ask, rounds, streams, asked.peer_seconds)
        results.append(_result(name, "http", found, None, None))
    for result in results:
        print(
            f"{result['server']:15} "
            + (
                f"absent: {result['absent']}"
                if "absent" in result
                else f"ready after {result['ready_seconds']} s, "
                f"peak memory {result['peak_memory_mb']} MB"
            )
        )
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "answer_tokens": ANSWER_TOKENS, "servers": results}
    asked.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
