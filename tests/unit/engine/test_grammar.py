"""Forms: what they allow, when they are complete, and which are refused."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from support.engine_server import ASK, MODEL, check
from tokenyard.engine.grammar import (
    Form,
    FormKind,
    GrammarCompiler,
    Matcher,
    any_json_object,
    one_of,
)
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import InvalidRequest

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, bytes_max=2000, kept_max=2)


def schema(source: Any) -> Form:
    return Form(FormKind.JSON_SCHEMA, json.dumps(source), "response_format")


def allowed(matcher: Matcher) -> set[int]:
    bits = np.unpackbits(np.frombuffer(matcher.allowed(), np.uint8), bitorder="little")
    return set(np.nonzero(bits)[0].tolist())


def takes(compiler: GrammarCompiler, tokenizer: Tokenizer, form: Form, text: str) -> bool:
    """Whether the text is allowed token by token, and an end after it."""
    matcher = compiler.compile(form).start()
    for token in tokenizer.encode(text, specials=False):
        if token not in allowed(matcher):
            return False
        assert matcher.accept(token)
    return matcher.complete or bool(allowed(matcher) & tokenizer.end_ids)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (schema(PERSON), '{"name": "Ann", "age": 7}', '{"name": "Ann"}'),
        (schema(PERSON), '{"name": "é\\n", "age": -1}', '{"name": "Annabel", "age": 7}'),
        (any_json_object("x"), '{"a": [1, null]}', "[1]"),
        (Form(FormKind.REGEX, "[0-9]{3}(a|b)*", "x"), "123abba", "12a"),
        (Form(FormKind.LARK, 'start: "x" | "(" start ")"', "x"), "((x))", "((x)"),
        (one_of(["yes", 'no "x"\n'], "x"), 'no "x"\n', "no"),
    ],
    ids=["schema", "escapes", "object", "regex", "lark", "choice"],
)
def test_a_form_takes_what_fits_and_nothing_else(
    compiler: GrammarCompiler, tokenizer: Tokenizer, form: Form, good: str, bad: str
) -> None:
    assert takes(compiler, tokenizer, form, good)
    assert not takes(compiler, tokenizer, form, bad)


def test_control_tokens_are_never_allowed_inside(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    matcher = compiler.compile(Form(FormKind.REGEX, ".{5}", "x")).start()
    assert not allowed(matcher) & {0, 1, 2}


def test_a_complete_form_says_so(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    matcher = compiler.compile(one_of(["ab"], "x")).start()
    states = []
    for token in tokenizer.encode("ab", specials=False):
        matcher.accept(token)
        states.append(matcher.complete)
    assert states == [False, True]
    assert not compiler.compile(one_of(["ab"], "x")).start().complete


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (schema({"type": "nonsense"}), "cannot be kept"),
        (schema({"type": "array", "uniqueItems": True}), "Unimplemented"),
        (Form(FormKind.JSON_SCHEMA, "{", "response_format"), "cannot be read"),
        (Form(FormKind.REGEX, "((", "response_format"), "cannot be kept"),
        (Form(FormKind.LARK, "start: nope", "response_format"), "cannot be kept"),
        (Form(FormKind.REGEX, "a" * 2001, "response_format"), "longer than 2000 bytes"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    compiler: GrammarCompiler, form: Form, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        compiler.compile(form)
    assert caught.value.param == "response_format"


def test_the_newest_grammars_are_kept(compiler: GrammarCompiler) -> None:
    first, second, third = (Form(FormKind.REGEX, letter, "x") for letter in "abc")
    kept = compiler.compile(first)
    compiler.compile(second)
    assert compiler.compile(first) is kept
    compiler.compile(third)
    assert compiler.compile(first) is kept
    # Two are kept, and `second` was the one not used for longest.
    newest = compiler.compile(third)
    assert compiler.compile(third) is newest
    compiler.compile(second)
    assert compiler.compile(first) is not kept


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_is_held_to_its_schema(serve: Callable[..., Any], streams: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"const": {"a": 1}}}}
    ask = {**ASK, "response_format": wanted, "stream": streams, "ignore_eos": True}
    async with serve("something else") as served:
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ask)
    assert answer.status == 200
    if streams:
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in answer.data())
        finish = answer.data()[-1]["choices"][0]["finish_reason"]
    else:
        check(answer.json(), "CreateChatCompletionResponse")
        text = answer.json()["choices"][0]["message"]["content"]
        finish = answer.json()["choices"][0]["finish_reason"]
    assert json.loads(text) == {"a": 1}
    assert finish == "stop"


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "(("}}, "structured_outputs.regex"),
        (
            {"structured_outputs": {"regex": "a", "choice": ["b"]}},
            "structured_outputs.choice",
        ),
    ],
)
async def test_a_form_that_cannot_be_kept_is_a_400(
    serve: Callable[..., Any], wish: dict[str, Any], param: str
) -> None:
    async with serve() as served:
        answer = await served.client.call("POST", "/v1/chat/completions", json_body={**ASK, **wish})
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_completions_take_forms_too(serve: Callable[..., Any]) -> None:
    ask = {"model": MODEL, "prompt": "x", "structured_outputs": {"choice": ["blue", "green"]}}
    async with serve("grey") as served:
        answer = await served.client.call("POST", "/v1/completions", json_body=ask)
    assert answer.json()["choices"][0]["text"] == "green"
    assert answer.json()["choices"][0]["finish_reason"] == "stop"
