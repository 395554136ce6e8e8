"""OpenAI's own schemas, as validators by the name of what they describe."""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

_FILE = Path(__file__).parent.parent / "spec" / "openai-cut.json"


@functools.cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_FILE.read_text())
    return document


@functools.cache
def validator(root: str) -> jsonschema.Draft202012Validator:
    """The validator of one of the file's roots, such as `chat` or `response.stream`."""
    document = _document()
    schema = {**document["roots"][root], "components": document["components"]}
    return jsonschema.Draft202012Validator(schema)
