"""A batch outlives the gateway that runs it, however that ends."""

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from acceptance.yard import MODEL, Yard, wait_until

YardMaker = Callable[..., Yard]
LINES, TOKENS = 10, 12
ONE_BY_ONE = {"TOKENYARD_BATCHES__LINES_IN_FLIGHT_MAX": "1"}
ENDED_SECONDS_MAX = 90.0


def connect(yard: Yard) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{yard.url}/v1", api_key=yard.api_key, max_retries=0)


def write(path: Path) -> Path:
    lines: list[dict[str, Any]] = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"Tell a story about {number}."}],
                "max_tokens": TOKENS,
                "ignore_eos": True,
            },
        }
        for number in range(LINES)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def query(home: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{home / 'tokenyard.sqlite3'}?mode=ro", uri=True)) as base:
        return base.execute(statement).fetchall()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_gateway_goes_on_with_its_batch(
    make_yard: YardMaker, tmp_path: Path, how: signal.Signals
) -> None:
    yard = make_yard(**ONE_BY_ONE)
    with connect(yard) as client:
        file = client.files.create(file=write(tmp_path / "input.jsonl"), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )

        def some_ended() -> bool:
            counts = client.batches.retrieve(batch.id).request_counts
            return counts is not None and counts.completed >= 2

        wait_until(some_ended, ENDED_SECONDS_MAX, "some lines end")
    began = time.monotonic()
    os.kill(yard.process.pid, how)
    yard.wait_for_end()
    assert time.monotonic() - began < 20
    before = dict(query(yard.home, "SELECT number, body FROM batch_results"))
    assert 2 <= len(before) < LINES

    yard = make_yard(**ONE_BY_ONE)
    with connect(yard) as client:
        wait_until(
            lambda: client.batches.retrieve(batch.id).status == "completed",
            ENDED_SECONDS_MAX,
            "the batch ends",
        )
        ended = client.batches.retrieve(batch.id)
        assert ended.request_counts is not None
        assert ended.request_counts.completed == LINES
        assert ended.output_file_id is not None
        output = [
            json.loads(line)
            for line in client.files.content(ended.output_file_id).text.split("\n")
            if line
        ]
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(LINES)]
    for number, body in before.items():
        assert output[number - 1]["response"]["body"] == json.loads(body), "a line ran twice"
    rows = query(yard.home, "SELECT id, completion_tokens FROM usage_rows")
    assert Counter(name for name, _ in rows) == Counter(line["id"] for line in output)
    assert sum(tokens for _, tokens in rows) == TOKENS * LINES
