"""OpenAI's description as a judge: `check("chat", body)` tells what does not fit, and where."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

SPEC = Path(__file__).resolve().parents[1] / "spec" / "openai-cut.json"


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SPEC.read_text(encoding="utf-8"))
    return loaded


@lru_cache(maxsize=64)
def _validator(root: str) -> Draft202012Validator:
    document = _document()
    return Draft202012Validator({**document["roots"][root], "components": document["components"]})


def check(root: str, body: object) -> None:
    """Assert that a decoded body is what OpenAI describes under that root."""
    error = best_match(_validator(root).iter_errors(body))
    if error is not None:
        where = error.json_path
        raise AssertionError(f"not a {root}: {where}: {error.message[:300]}\n{str(body)[:1000]}")
