"""Files and batches through OpenAI's Python client, against the real model."""

import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai.types import Batch

from acceptance.wire import check
from acceptance.yard import MODEL, Yard, wait_until

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
ENDED = {"completed", "failed", "expired", "cancelled"}
ENDED_SECONDS_MAX = 60.0
# Half of the default price book, in nano-units a token.
INPUT_NANOS, CACHED_NANOS, OUTPUT_NANOS = 10, 1, 40


def line(number: int, **body: Any) -> dict[str, Any]:
    return {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": CHAT,
        "body": {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Say the number {number}."}],
            "max_tokens": 6,
            "temperature": 0,
            **body,
        },
    }


def write(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return path


def start(client: openai.OpenAI, path: Path) -> Batch:
    file = client.files.create(file=path, purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        metadata={"test": path.name},
    )


def finish(client: openai.OpenAI, batch: Batch, *statuses: str) -> Batch:
    wanted = set(statuses) or ENDED
    wait_until(
        lambda: client.batches.retrieve(batch.id).status in wanted, ENDED_SECONDS_MAX, "it ends"
    )
    return client.batches.retrieve(batch.id)


def read(client: openai.OpenAI, file: str | None) -> list[Any]:
    if file is None:
        return []
    return [json.loads(one) for one in client.files.content(file).text.splitlines()]


def bills(yard: Yard, batch: Batch) -> list[sqlite3.Row]:
    database_path = yard.home / "tokenyard.sqlite3"
    pattern = f"batch_req_{batch.id.partition('_')[2]}_%"
    with closing(sqlite3.connect(f"file:{database_path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return database.execute("SELECT * FROM usage_rows WHERE id LIKE ?", (pattern,)).fetchall()


def allowed_lines(yard: Yard) -> float:
    for text in yard.request("GET", "/metrics").body.decode().splitlines():
        if text.startswith("tokenyard_gateway_batch_lines_allowed "):
            return float(text.split()[1])
    raise AssertionError("there is no such metric")


def test_a_batch_is_answered_as_online_and_billed_half(
    yard: Yard, client: openai.OpenAI, tmp_path: Path
) -> None:
    lines = [line(number) for number in range(12)]
    # The engine finds out that this one can never fit.
    lines.append(line(12, max_tokens=100_000))
    batch = finish(client, start(client, write(tmp_path / "input.jsonl", lines)))
    check("batch", batch.model_dump(exclude_none=True))
    assert batch.status == "completed", batch
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (12, 1)
    output = read(client, batch.output_file_id)
    assert [one["custom_id"] for one in output] == [f"line-{number}" for number in range(12)]
    online = client.chat.completions.create(**lines[3]["body"])
    for one in output:
        check("chat", one["response"]["body"])
    assert (
        output[3]["response"]["body"]["choices"][0]["message"]["content"]
        == online.choices[0].message.content
    )
    (refused,) = read(client, batch.error_file_id)
    assert refused["response"]["status_code"] == 400
    assert refused["response"]["body"]["error"]["code"] == "context_length_exceeded"
    rows = bills(yard, batch)
    assert len(rows) == 12
    for row in rows:
        fresh = row["prompt_tokens"] - row["cached_tokens"]
        assert row["cost_nanos"] == (
            fresh * INPUT_NANOS
            + row["cached_tokens"] * CACHED_NANOS
            + row["completion_tokens"] * OUTPUT_NANOS
        )
    assert batch.usage is not None
    assert batch.usage.output_tokens == sum(row["completion_tokens"] for row in rows)
    told = sum(one["response"]["body"]["cost"]["nanos"] for one in output)
    assert told == sum(row["cost_nanos"] for row in rows)


def test_files_live_as_openai_says(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    data = bytes(range(256)) * 4096
    path.write_bytes(data)
    made = client.files.create(
        file=path,
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    check("file", made.model_dump(exclude_none=True))
    assert (made.bytes, made.filename) == (len(data), "notes.txt")
    assert made.expires_at == made.created_at + 3600
    assert client.files.content(made.id).content == data
    assert made.id in [file.id for file in client.files.list(purpose="user_data")]
    assert client.files.retrieve(made.id) == made
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_a_bad_file_names_its_lines(client: openai.OpenAI, tmp_path: Path) -> None:
    lines = [line(1), line(1), line(2, temperature=9), {"custom_id": "x"}]
    batch = finish(client, start(client, write(tmp_path / "bad.jsonl", lines)))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    told = [(error.line, error.code, error.param) for error in batch.errors.data]
    assert told == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "invalid_value", "body.temperature"),
        (4, "invalid_value", "method"),
    ]


def test_cancelling_keeps_what_has_ended_and_lets_others_by(
    yard: Yard, client: openai.OpenAI, tmp_path: Path
) -> None:
    lines = [line(number, max_tokens=16, ignore_eos=True) for number in range(300)]
    batch = start(client, write(tmp_path / "long.jsonl", lines))

    def some_ended() -> bool:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed >= 2

    wait_until(some_ended, ENDED_SECONDS_MAX, "some lines end")
    # An interactive answer is served meanwhile, and most lines make way for it.
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            seen.append(allowed_lines(yard))

    watching = threading.Thread(target=watch)
    watching.start()
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Count from one to fifty in words."}],
        max_tokens=24,
        extra_body={"ignore_eos": True},
    )
    done.set()
    watching.join()
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 24
    assert 1.0 in seen
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    ended = finish(client, batch)
    assert ended.status == "cancelled"
    assert ended.request_counts is not None
    finished = read(client, ended.output_file_id)
    left_out = read(client, ended.error_file_id)
    assert len(finished) == ended.request_counts.completed >= 2
    assert len(finished) + len(left_out) == 300
    assert {one["error"]["code"] for one in left_out} == {"batch_cancelled"}
    assert len(bills(yard, ended)) == len(finished)
    assert ended.id in [found.id for found in client.batches.list(limit=2)]
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)
