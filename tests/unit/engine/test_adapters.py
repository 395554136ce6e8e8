"""Adapters by name over a scripted model: loading, choosing, and letting go without harm."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.engine_server import ASK, MODEL
from tokenyard.engine.rules.batching import Sequence
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.tokenizer import Tokenizer

Serve = Callable[..., Any]


def by_adapter(tokenizer: Tokenizer) -> Callable[[Sequence, DrawRule], int]:
    """Says the number of the adapter, once."""
    digits = tokenizer.encode("0123456789", specials=False)
    return lambda text, rule: 2 if len(text.tokens) > text.prompt_count else digits[text.adapter]


async def load(served: Any, name: str, path: Path) -> Any:
    return await served.client.call(
        "POST", "/v1/load_lora_adapter", json_body={"lora_name": name, "lora_path": str(path)}
    )


async def say(served: Any, model: str) -> Any:
    return await served.client.call(
        "POST", "/v1/chat/completions", json_body={**ASK, "model": model}
    )


async def test_a_name_chooses_its_adapter(
    tokenizer: Tokenizer, serve: Serve, tmp_path: Path
) -> None:
    async with serve(next_token=by_adapter(tokenizer)) as served:
        assert (await load(served, "law", tmp_path)).status == 200
        assert (await load(served, "med", tmp_path)).status == 200
        models = (await served.client.call("GET", "/v1/models")).json()["data"]
        assert [(one["id"], one.get("parent")) for one in models] == [
            (MODEL, None), ("law", MODEL), ("med", MODEL),
        ]  # fmt: skip
        assert (await served.client.call("GET", "/v1/models/med")).json()["id"] == "med"
        for name, number in ((MODEL, "0"), ("law", "1"), ("med", "2"), ("law", "1")):
            body = (await say(served, name)).json()
            assert body["choices"][0]["message"]["content"] == number
            assert body["model"] == name
        gone = await served.client.call(
            "POST", "/v1/unload_lora_adapter", json_body={"lora_name": "law"}
        )
        assert gone.status == 200
        assert (await say(served, "law")).status == 404
        await load(served, "law", tmp_path)
        # The same name again is another adapter.
        assert (await say(served, "law")).json()["choices"][0]["message"]["content"] == "3"


async def test_no_salt_finds_what_another_adapter_has_cached(
    tokenizer: Tokenizer, serve: Serve, tmp_path: Path
) -> None:
    async with serve(next_token=by_adapter(tokenizer)) as served:
        await load(served, "law", tmp_path)
        for model, salt, cached in (("law", None, 0), ("law", None, 16), (MODEL, "1/", 0)):
            body = {**ASK, "model": model, "cache_salt": salt}
            answer = await served.client.call("POST", "/v1/chat/completions", json_body=body)
            details = answer.json()["usage"]["prompt_tokens_details"]
            assert details["cached_tokens"] == cached


@pytest.mark.parametrize(
    ("name", "status", "param"),
    [(MODEL, 400, "lora_name"), ("a b", 400, "lora_name"), ("law", 400, "lora_name")],
)
async def test_names_that_cannot_be_had_are_refused(
    serve: Serve, tmp_path: Path, name: str, status: int, param: str
) -> None:
    async with serve() as served:
        await load(served, "law", tmp_path)
        answer = await load(served, name, tmp_path)
        assert (answer.status, answer.error["param"]) == (status, param)
        missing = await load(served, "x", tmp_path / "none")
        assert (missing.status, missing.error["param"]) == (400, "lora_path")
        unknown = await served.client.call(
            "POST", "/v1/unload_lora_adapter", json_body={"lora_name": "none"}
        )
        assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
        for number in range(7):
            assert (await load(served, f"more{number}", tmp_path)).status == 200
        full = await load(served, "last", tmp_path)
        assert "engine.adapters_max" in full.error["message"]


async def test_an_adapter_stays_until_its_last_answer_is_over(
    tokenizer: Tokenizer, serve: Serve, tmp_path: Path
) -> None:
    go = threading.Event()
    async with serve(
        next_token=by_adapter(tokenizer), before_step=lambda chunks: go.wait(5) and None
    ) as served:
        await load(served, "law", tmp_path)
        asked = asyncio.create_task(say(served, "law"))
        while not served.engine.open_count:
            await asyncio.sleep(0)
        await served.client.call("POST", "/v1/unload_lora_adapter", json_body={"lora_name": "law"})
        runner = served.runner
        assert list(runner.adapters) == [1]
        go.set()
        assert (await asked).json()["choices"][0]["message"]["content"] == "1"
        assert runner.adapters == {}
