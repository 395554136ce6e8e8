"""Vectors of texts over a scripted model, which makes of each token its number, and 1."""

import base64
import struct
from collections.abc import Callable
from typing import Any

import pytest

from support.engine_server import MODEL, check
from tokenyard.engine.tokenizer import Tokenizer

Serve = Callable[..., Any]
PATH = "/v1/embeddings"


def expected(tokens: list[int]) -> list[float]:
    mean = sum(tokens) / len(tokens)
    length = (mean**2 + 1) ** 0.5
    return [mean / length, 1 / length]


async def test_texts_become_vectors_of_length_one(tokenizer: Tokenizer, serve: Serve) -> None:
    async with serve() as served:
        texts = ["hello", "a" * 50, "b"]
        tokens = [tokenizer.encode(text, specials=False) for text in texts]
        for given in (texts, tokens):
            answer = await served.client.call(
                "POST", PATH, json_body={"model": MODEL, "input": given}
            )
            body = answer.json()
            check(body, "CreateEmbeddingResponse")
            for row, ids in zip(body["data"], tokens, strict=True):
                assert row["embedding"] == pytest.approx(expected(ids))
            assert body["usage"]["prompt_tokens"] == sum(map(len, tokens))
        one = {"model": MODEL, "input": tokens[0], "encoding_format": "base64"}
        packed = (await served.client.call("POST", PATH, json_body=one)).json()["data"][0]
        values = struct.unpack("<2f", base64.b64decode(packed["embedding"]))
        assert values == pytest.approx(expected(tokens[0]), abs=1e-6)
        assert served.engine.open_count == 0


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["a", [1]]}, "input"),
        ({"input": ["a"] * 4}, "input"),
        ({"input": ""}, "prompt"),
        ({"input": [10**6]}, "prompt"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a" * 300}, "messages"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    serve: Serve, wrong: dict[str, Any], param: str
) -> None:
    async with serve() as served:
        answer = await served.client.call("POST", PATH, json_body={"model": MODEL, **wrong})
        assert (answer.status, answer.error["param"]) == (400, param)
        cut = {"model": MODEL, "input": "a" * 300, "truncate_prompt_tokens": 5}
        answer = await served.client.call("POST", PATH, json_body=cut)
        assert answer.json()["usage"]["prompt_tokens"] == 5
