"""What does the prefix cache save when prompts share a beginning, and when a conversation goes on?

`python -m benchmarks.engine.workloads` starts the model server twice, with the cache and without,
and runs two workloads over HTTP: several readers who ask different things about one long text, and
conversations whose every turn repeats what came before. It tells the part of all prompt tokens that
was found in the cache, as the server counts them, the time to the first token, and tokens per
second. Ratios between the two runs hold on a busy machine too; the seconds do not. Results go to
benchmarks/results/workloads.json.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.engine.__main__ import QUESTION, SUBJECTS, machine, running
from tokenyard.runtime.engine_settings import EngineSettings

RESULTS = Path(__file__).parents[1] / "results" / "workloads.json"
SWITCH = "TOKENYARD_ENGINE__PREFIX_CACHE"
COMMAND = [sys.executable, "-m", "tokenyard", "engine", "--exit-with-parent"]
READERS = 8
ANSWER_TOKENS = 24
TURNS = 5
CONVERSATIONS = 4


@dataclass(frozen=True)
class Figure:
    """One workload on one server. hit_ratio: of all prompt tokens."""

    workload: str
    prefix_cache: bool
    prompt_tokens: int
    hit_ratio: float
    first_token_ms_mean: float
    tokens_per_second: float


@dataclass(frozen=True)
class Answer:
    """What one call gave; the counts are the server's."""

    text: str
    first_token_seconds: float
    prompt_tokens: int
    cached_tokens: int
    tokens: int


async def ask(session: aiohttp.ClientSession, address: str, messages: list[Any]) -> Answer:
    body = {
        "model": EngineSettings().model, "messages": messages, "max_tokens": ANSWER_TOKENS,
        "temperature": 0, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    began, first, text = time.perf_counter(), 0.0, ""
    usage: dict[str, Any] = {}
    async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
            if text and not first:
                first = time.perf_counter() - began
            usage = event.get("usage") or usage
    return Answer(
        text,
        first,
        usage["prompt_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["completion_tokens"],
    )


async def share_a_text(session: aiohttp.ClientSession, address: str) -> list[Answer]:
    """A long text, with a question of each reader's own behind it; the first one comes alone."""
    text = " ".join(QUESTION.format(subject=subject) for subject in SUBJECTS[:6])

    def messages(number: int) -> list[Any]:
        asked = f"{text}\n\nWhat does the text say about {SUBJECTS[number]}?"
        return [{"role": "user", "content": asked}]

    first = await ask(session, address, messages(0))
    others = (ask(session, address, messages(number)) for number in range(1, READERS))
    return [first, *await asyncio.gather(*others)]


async def converse(session: aiohttp.ClientSession, address: str, number: int) -> list[Answer]:
    """One conversation; each turn sends all turns before it again."""
    messages: list[Any] = []
    answers = []
    for turn in range(TURNS):
        subject = SUBJECTS[(number * TURNS + turn) % len(SUBJECTS)]
        messages.append({"role": "user", "content": QUESTION.format(subject=subject)})
        answers.append(await ask(session, address, messages))
        messages.append({"role": "assistant", "content": answers[-1].text})
    return answers


async def measure(address: str, *, prefix_cache: bool) -> list[Figure]:
    timeout = aiohttp.ClientTimeout(total=600)
    figures = []
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for name in ("one text, many questions", "conversations"):
            began = time.perf_counter()
            if name == "conversations":
                talks = [converse(session, address, number) for number in range(CONVERSATIONS)]
                answers = [one for talk in await asyncio.gather(*talks) for one in talk]
            else:
                answers = await share_a_text(session, address)
            wall = time.perf_counter() - began
            prompts = sum(one.prompt_tokens for one in answers)
            figures.append(
                Figure(
                    workload=name,
                    prefix_cache=prefix_cache,
                    prompt_tokens=prompts,
                    hit_ratio=round(sum(one.cached_tokens for one in answers) / prompts, 3),
                    first_token_ms_mean=round(
                        1000 * statistics.mean(one.first_token_seconds for one in answers), 1
                    ),
                    tokens_per_second=round(sum(one.tokens for one in answers) / wall, 1),
                )
            )
            print(figures[-1], flush=True)
    return figures


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    figures: list[Figure] = []
    log = Path(tempfile.gettempdir()) / "bench-workloads.log"
    for prefix_cache in (True, False):
        os.environ[SWITCH] = "true" if prefix_cache else "false"
        async with running(COMMAND, log) as (address, _, _):
            figures += await measure(address, prefix_cache=prefix_cache)
    report = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
    asked.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
