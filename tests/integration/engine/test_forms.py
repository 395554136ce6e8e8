"""The real model held to a form, at a temperature at which it would say anything."""

import json
import re
from pathlib import Path

import pytest

from tokenyard.engine.grammar import Form, FormKind, GrammarCompiler
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.rules.batching import Chunk, Sequence
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.tokenizer import Tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "colour": {"enum": ["red", "green", "blue"]},
    },
    "required": ["name", "age", "colour"],
    "additionalProperties": False,
}
TOKENS_MAX = 60


@pytest.fixture(scope="module")
def loaded(model_path: Path) -> tuple[TorchRunner, Tokenizer, GrammarCompiler]:
    with GgufFile(model_path) as file:
        tokenizer = Tokenizer(file.metadata)
        runner = TorchRunner(
            file, weights="auto", threads=1, kv_cache_bytes=16 * 2**20, block_tokens=16
        )
    return runner, tokenizer, GrammarCompiler(tokenizer, bytes_max=65_536, kept_max=8)


def generate(loaded: tuple[TorchRunner, Tokenizer, GrammarCompiler], form: Form, seed: int) -> str:
    runner, tokenizer, compiler = loaded
    matcher = compiler.compile(form).start()
    text = Sequence(0, tokenizer.encode("A person:", specials=False), blocks=list(range(1, 9)))
    while text.missing and len(text.tokens) < text.prompt_count + TOKENS_MAX:
        rule = DrawRule(1.5, 1.0, 0, seed, len(text.tokens), allowed=matcher.allowed())
        drawn = runner.run([Chunk(text, text.computed, text.missing, draws=True)], {0: rule})
        text.computed = len(text.tokens)
        token = drawn[0]
        assert token is not None
        if token in tokenizer.end_ids:
            break
        text.tokens.append(token)
        assert matcher.accept(token)
        if matcher.complete:
            break
    return tokenizer.decode(text.tokens[text.prompt_count :])


def test_json_fits_its_schema(
    loaded: tuple[TorchRunner, Tokenizer, GrammarCompiler],
) -> None:
    form = Form(FormKind.JSON_SCHEMA, json.dumps(PERSON), "x")
    for seed in range(4):
        found = json.loads(generate(loaded, form, seed))
        assert len(found["name"]) <= 12
        assert 0 <= found["age"] <= 120
        assert found["colour"] in {"red", "green", "blue"}


def test_a_regex_is_kept(loaded: tuple[TorchRunner, Tokenizer, GrammarCompiler]) -> None:
    pattern = "[A-Z][a-z]{2,5} [0-9]{4}-[0-9]{2}-[0-9]{2}"
    for seed in range(4):
        assert re.fullmatch(pattern, generate(loaded, Form(FormKind.REGEX, pattern, "x"), seed))
