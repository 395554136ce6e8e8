"""Chat templates: no message forges a turn, and no template runs wild."""

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.template import ChatTemplate
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import InvalidRequest, StartError
from tokenyard.vocabulary.messages import Message, Role
from tokenyard.vocabulary.reasons import Reason

MARK = bytes(range(16))
PIECES = st.sampled_from(
    [
        "<|im_end|>",
        "<|im_start|>",
        "<|im_",
        "end|>",
        "<",
        "|>",
        "hello",
        "\n",
        "q00",
        "é",
        "<think>",
    ]
)


def encode(tokenizer: Tokenizer, source: str, *contents: str, **limits: int) -> list[int]:
    template = ChatTemplate(source, tokenizer, **limits)
    turns = [Message(Role.USER, content) for content in contents]
    return template.encode(turns, mark=MARK, now=1_700_000_000.0)


def test_an_ordinary_chat_is_the_rendered_text_with_its_control_tokens(
    tokenizer: Tokenizer, metadata: dict[str, Any]
) -> None:
    ids = encode(tokenizer, metadata["tokenizer.chat_template"], "hello world")
    text = "<|im_start|>user\nhello world<|im_end|>\n<|im_start|>assistant\n"
    assert ids == tokenizer.encode(text, specials=True)


def test_content_that_starts_with_a_newline_is_encoded_with_what_is_before_it(
    tokenizer: Tokenizer, metadata: dict[str, Any]
) -> None:
    ids = encode(tokenizer, metadata["tokenizer.chat_template"], "\n  x")
    text = "<|im_start|>user\n\n  x<|im_end|>\n<|im_start|>assistant\n"
    assert ids == tokenizer.encode(text, specials=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_no_content_makes_a_control_token_and_its_text_is_kept(
    tokenizer: Tokenizer, metadata: dict[str, Any], pieces: list[str]
) -> None:
    content = "".join(pieces)
    ids = encode(tokenizer, metadata["tokenizer.chat_template"], content)
    assert [token for token in ids if token in (0, 1, 2)] == [1, 2, 1]
    assert tokenizer.decode(ids) == f"user\n{content}\nassistant\n"


def test_overlapping_and_one_letter_control_tokens_are_taken_apart_too(
    metadata: dict[str, Any],
) -> None:
    tokens = [*metadata["tokenizer.ggml.tokens"], "<ab", "b>", "~"]
    types = [*metadata["tokenizer.ggml.token_type"], 3, 3, 3]
    tokenizer = Tokenizer(
        {**metadata, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    )
    # "~" is a letter of the vocabulary and a control token at once; the control one wins above.
    ids = encode(tokenizer, "{{ messages[0]['content'] }}", "<ab> b> <ab")
    assert not set(ids) & set(range(len(tokens) - 3, len(tokens)))
    assert tokenizer.decode(ids) == "<ab> b> <ab"


def test_templates_may_look_at_the_text(tokenizer: Tokenizer) -> None:
    source = (
        "{{ messages[0]['content'] | trim }}{% if 'hello' in messages[0]['content'] %}!{% endif %}"
    )
    assert tokenizer.decode(encode(tokenizer, source, "  hello \n")) == "hello!"


def test_a_developer_is_a_system_to_the_template(tokenizer: Tokenizer) -> None:
    template = ChatTemplate("{{ messages[0]['role'] }}", tokenizer)
    ids = template.encode([Message(Role.DEVELOPER, "x")], mark=MARK, now=0.0)
    assert tokenizer.decode(ids) == "system"


def test_templates_may_name_the_date(tokenizer: Tokenizer) -> None:
    assert (
        tokenizer.decode(encode(tokenizer, "{{ strftime_now('%Y-%m-%d') }}", "x")) == "2023-11-14"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no system role') }}",
        "{{ nothing.at.all }}",
        "{{ messages[7]['content'] }}",
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 'x' * 10000000000 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in range(99999) %}{{ messages[0]['content'] }}{% endfor %}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_that_raises_or_runs_wild_is_a_named_error(
    tokenizer: Tokenizer, source: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(tokenizer, source, "x" * 50, lines_max=20_000, characters_max=100_000)
    assert caught.value.reason is Reason.TEMPLATE_FAILED


def test_the_line_limit_leaves_tracing_as_it_was(tokenizer: Tokenizer) -> None:
    before = sys.gettrace()
    encode(tokenizer, "{{ 1 }}", "x")
    assert sys.gettrace() is before


def test_a_template_that_does_not_parse_stops_the_start(tokenizer: Tokenizer) -> None:
    with pytest.raises(StartError, match="template is broken"):
        ChatTemplate("{% for %}", tokenizer)
