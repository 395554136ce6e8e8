"""How fast do our engine and llama.cpp answer through the gateway, at 1 and at 8 streams?

`python -m benchmarks.engines` starts the whole platform once for each engine and round, engines in
turns, and never two at a time. Same model file, same prompts, greedy, a fixed number of tokens.
Each stream asks on a connection of its own, with a prompt that no other has after its first words.
The model must be in the data folder. Results go to benchmarks/results/engines.json.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

RESULTS = Path(__file__).parent / "results" / "engines.json"
COMMAND = Path(sys.executable).parent / "tokenyard"
MODEL = "smollm2-135m-instruct"
READY_SECONDS_MAX = 180
STREAMS = (1, 8)
SUBJECTS = (
    "steam engines", "the tides", "glass", "bridges", "bees", "paper", "volcanoes", "clocks",
    "bread", "maps", "silk", "magnets", "rain", "lighthouses", "salt", "violins",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One stream: seconds from its request to the first token and to the end."""

    prompt_tokens: int
    tokens: int
    first_seconds: float
    seconds: float
    gaps: tuple[float, ...]


@dataclass(frozen=True)
class Figure:
    """One engine under one load in one round."""

    engine: str
    streams: int
    prompt_tokens: float
    tokens: int
    tokens_per_second: float
    first_token_ms_mean: float
    first_token_ms_max: float
    between_tokens_ms_p50: float
    between_tokens_ms_p99: float
    # Unlike the others hardly changed by what else the machine does.
    engine_cpu_ms_per_token: float
    engine_peak_memory_mb: float
    ready_seconds: float
    load_before: float


@dataclass(frozen=True)
class Yard:
    """A started platform."""

    url: str
    key: str
    home: Path
    ready_seconds: float


@contextmanager
def started(engine: str, models: Path) -> Iterator[Yard]:
    """The platform with that engine, in a data folder of its own that holds only the model."""
    with tempfile.TemporaryDirectory() as folder:
        home, ready = Path(folder) / "home", Path(folder) / "ready.json"
        home.mkdir()
        (home / "models").symlink_to(models)
        kept = {name: text for name, text in os.environ.items() if "TOKENYARD_" not in name}
        began = time.monotonic()
        process = subprocess.Popen(
            [COMMAND, "up", "--engine", engine, "--port", "0", "--ready-file", ready],
            env={**kept, "TOKENYARD_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not ready.exists():
                if process.poll() is not None or time.monotonic() - began > READY_SECONDS_MAX:
                    raise SystemExit(f"{engine}: not ready (status {process.poll()})")
                time.sleep(0.02)
            seconds = time.monotonic() - began
            told = json.loads(ready.read_text())
            yield Yard(told["url"], told["api_key"], home, seconds)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def engine_process(home: Path) -> Path:
    """The folder under /proc of the model server."""
    mark = f"TOKENYARD_HOME={home}".encode()
    for folder in Path("/proc").iterdir():
        try:
            ours = folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0")
            if ours and b"--exit-with-parent" in (folder / "cmdline").read_bytes():
                return folder
        except OSError:
            continue
    raise SystemExit("the model server's process was not found")


def peak_memory_mb(process: Path) -> float:
    """The peak of its resident memory, as the kernel tells it."""
    status = (process / "status").read_text()
    field = "VmHWM:" if "VmHWM:" in status else "VmRSS:"
    return int(status.partition(field)[2].split()[0]) / 1024


def cpu_seconds(process: Path) -> float:
    """What it has computed so far, in user and kernel mode."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prompt(number: int, salt: str) -> str:
    """Some hundred tokens, other ones for every stream and round."""
    subject = SUBJECTS[number % len(SUBJECTS)]
    return (
        f"Note {salt}-{number}. You are writing a short article about {subject} for a school "
        f"newspaper. Its readers are eleven years old and know nothing of {subject} yet. Explain "
        f"where {subject} come from, why people cared about {subject} a hundred years ago, and "
        "what has changed since then. Use plain words, short sentences and one daily example. "
        "Do not use lists or headings. Begin with a question that makes the reader curious."
    )


async def ask(session: aiohttp.ClientSession, yard: Yard, text: str, tokens: int) -> Answer:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"authorization": f"Bearer {yard.key}"}
    began = time.monotonic()
    times: list[float] = []
    usage: Any = None
    async with session.post(f"{yard.url}/v1/chat/completions", json=body, headers=headers) as said:
        said.raise_for_status()
        async for line in said.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            if any(choice["delta"].get("content") for choice in event["choices"]):
                times.append(time.monotonic())
    ended = time.monotonic()
    if usage is None or usage["completion_tokens"] != tokens:
        raise SystemExit(f"{usage} is not what was asked for")
    gaps = tuple(after - before for before, after in itertools.pairwise(times))
    return Answer(usage["prompt_tokens"], tokens, times[0] - began, ended - began, gaps)


async def measure(yard: Yard, engine: str, streams: int, tokens: int, salt: str) -> Figure:
    load = os.getloadavg()[0]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await ask(session, yard, prompt(0, f"{salt}-warm"), 8)
        process = engine_process(yard.home)
        computed = cpu_seconds(process)
        began = time.monotonic()
        answers = await asyncio.gather(
            *(ask(session, yard, prompt(number, salt), tokens) for number in range(streams))
        )
        seconds = time.monotonic() - began
        computed = cpu_seconds(process) - computed
    gaps = sorted(gap for answer in answers for gap in answer.gaps)
    firsts = [answer.first_seconds for answer in answers]
    return Figure(
        engine=engine,
        streams=streams,
        prompt_tokens=statistics.mean(answer.prompt_tokens for answer in answers),
        tokens=tokens,
        tokens_per_second=round(streams * tokens / seconds, 1),
        first_token_ms_mean=round(statistics.mean(firsts) * 1e3, 1),
        first_token_ms_max=round(max(firsts) * 1e3, 1),
        between_tokens_ms_p50=round(statistics.median(gaps) * 1e3, 1),
        between_tokens_ms_p99=round(gaps[int(len(gaps) * 0.99)] * 1e3, 1),
        engine_cpu_ms_per_token=round(computed / (streams * tokens) * 1e3, 1),
        engine_peak_memory_mb=round(peak_memory_mb(process), 1),
        ready_seconds=round(yard.ready_seconds, 2),
        load_before=round(load, 1),
    )


def machine() -> dict[str, Any]:
    names = [
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def median_of(figures: list[Figure], engine: str, streams: int) -> dict[str, Any]:
    rows = [asdict(one) for one in figures if (one.engine, one.streams) == (engine, streams)]
    kept = {"engine": engine, "streams": streams, "rounds": len(rows)}
    numbers = [key for key in rows[0] if key not in kept]
    return kept | {key: round(statistics.median(row[key] for row in rows), 2) for key in numbers}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", default="own,llamacpp")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--dry", action="store_true", help="print only, write no file")
    asked = parser.parse_args()
    # So that a run that is stopped from outside leaves no platform behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    home = Path(os.environ.get("TOKENYARD_HOME") or Path.home() / ".tokenyard").expanduser()
    engines = asked.engines.split(",")
    figures: list[Figure] = []
    for number in range(asked.rounds):
        for engine in engines if number % 2 == 0 else reversed(engines):
            with started(engine, (home / "models").absolute()) as yard:
                for streams in STREAMS:
                    salt = f"{number}-{streams}"
                    figure = asyncio.run(measure(yard, engine, streams, asked.tokens, salt))
                    figures.append(figure)
                    sys.stdout.write(f"{json.dumps(asdict(figure))}\n")
                    sys.stdout.flush()
    medians = [median_of(figures, engine, streams) for engine in engines for streams in STREAMS]
    for row in medians:
        sys.stdout.write(
            f"{row['engine']:9} {row['streams']:2} streams: {row['tokens_per_second']:6.1f} "
            f"tokens/s, first token {row['first_token_ms_mean']:.0f} ms, between tokens "
            f"{row['between_tokens_ms_p50']:.0f} ms, {row['engine_cpu_ms_per_token']:.1f} ms of "
            f"CPU a token, {row['engine_peak_memory_mb']:.0f} MB, ready "
            f"after {row['ready_seconds']:.1f} s\n"
        )
    if not asked.dry:
        RESULTS.parent.mkdir(exist_ok=True)
        told = {
            "command": " ".join(["python -m benchmarks.engines", *sys.argv[1:]]),
            "machine": machine(),
            "medians": medians,
            "figures": [asdict(one) for one in figures],
        }
        RESULTS.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
