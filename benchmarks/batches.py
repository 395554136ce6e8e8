"""How much does a running batch delay the answers that people wait for?

`python -m benchmarks.batches` starts the whole platform once and asks the same short questions one
after the other, alone and beside a batch, in turns. The batch has more lines than can end in that
time. Greedy, a fixed number of tokens; the model must be in the data folder. Results go to
benchmarks/results/batches.json.
"""

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

import openai

RESULTS = Path(__file__).parent / "results" / "batches.json"
COMMAND = Path(sys.executable).parent / "tokenyard"
MODEL = "smollm2-135m-instruct"
READY_SECONDS_MAX = 180
ROUNDS, QUESTIONS, TOKENS, LINES, LINE_TOKENS = 2, 8, 24, 400, 64
# Time in which the batch takes up the whole machine again before the next question.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Figure:
    """The questions of one kind in one round; times in milliseconds."""

    beside_batch: bool
    first_token_ms_p50: float
    first_token_ms_max: float
    whole_ms_p50: float
    whole_ms_max: float
    lines_per_second: float
    load_before: float


@contextmanager
def started(models: Path) -> Iterator[openai.OpenAI]:
    """A client of a platform in a data folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home, ready = Path(folder) / "home", Path(folder) / "ready.json"
        home.mkdir()
        (home / "models").symlink_to(models)
        kept = {name: text for name, text in os.environ.items() if "TOKENYARD_" not in name}
        process = subprocess.Popen(
            [COMMAND, "up", "--port", "0", "--ready-file", ready],
            env={**kept, "TOKENYARD_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        began = time.monotonic()
        try:
            while not ready.exists():
                if process.poll() is not None or time.monotonic() - began > READY_SECONDS_MAX:
                    raise SystemExit(f"not ready (status {process.poll()})")
                time.sleep(0.02)
            told = json.loads(ready.read_text())
            with openai.OpenAI(
                base_url=f"{told['url']}/v1", api_key=told["api_key"], max_retries=0
            ) as client:
                yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def ask(client: openai.OpenAI, number: int) -> tuple[float, float]:
    """Milliseconds to the first token and to the end."""
    began, first = time.perf_counter(), 0.0
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": f"Question {number}: what are clouds made of?"}],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for chunk in stream:
        if not first and chunk.choices and chunk.choices[0].delta.content:
            first = time.perf_counter() - began
    return first * 1000, (time.perf_counter() - began) * 1000


def start_batch(client: openai.OpenAI, salt: int) -> str:
    """A batch of long stories; its id."""
    lines: list[dict[str, Any]] = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"Tell story {salt}-{number}."}],
                "max_tokens": LINE_TOKENS,
                "ignore_eos": True,
            },
        }
        for number in range(LINES)
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("lines.jsonl", data), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    ).id


def ended_lines(client: openai.OpenAI, batch: str) -> int:
    counts = client.batches.retrieve(batch).request_counts
    return 0 if counts is None else counts.completed


def measure(client: openai.OpenAI, round_: int, *, beside_batch: bool) -> Figure:
    """Ask all questions of a round, one after the other."""
    batch = start_batch(client, round_) if beside_batch else None
    if batch is not None:
        while not ended_lines(client, batch):
            time.sleep(0.1)
    load, began = os.getloadavg()[0], time.monotonic()
    before = ended_lines(client, batch) if batch else 0
    times = []
    for number in range(QUESTIONS):
        time.sleep(PAUSE_SECONDS)
        times.append(ask(client, 100 * round_ + number))
    passed = time.monotonic() - began
    lines = 0
    if batch is not None:
        lines = ended_lines(client, batch) - before
        client.batches.cancel(batch)
    first, whole = zip(*times, strict=True)
    return Figure(
        beside_batch=beside_batch,
        first_token_ms_p50=round(statistics.median(first), 1),
        first_token_ms_max=round(max(first), 1),
        whole_ms_p50=round(statistics.median(whole), 1),
        whole_ms_max=round(max(whole), 1),
        lines_per_second=round(lines / passed, 2),
        load_before=round(load, 2),
    )


def main() -> None:
    """Measure, print and write."""
    named = os.environ.get("TOKENYARD_HOME")
    models = (Path(named) if named else Path.home() / ".tokenyard") / "models"
    figures = []
    with started(models) as client:
        ask(client, 0)
        for round_ in range(ROUNDS):
            for beside_batch in (False, True):
                figures.append(measure(client, round_, beside_batch=beside_batch))
                print(figures[-1])
    told = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
        "questions": QUESTIONS,
        "answer_tokens": TOKENS,
        "line_tokens": LINE_TOKENS,
        "figures": [asdict(figure) for figure in figures],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
