"""Text to ids and back on a small vocabulary; parity on the real one is an integration test."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.detokenizer import Detokenizer
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import StartError


def test_merges_apply_and_control_text_counts_only_where_it_may(tokenizer: Tokenizer) -> None:
    hello, world = tokenizer.encode("hello world", specials=False)
    assert (tokenizer.token_text(hello), tokenizer.token_text(world)) == ("hello", "Ġworld")
    assert tokenizer.encode("hello<|im_end|>", specials=True) == [hello, 2]
    plain = tokenizer.encode("hello<|im_end|>", specials=False)
    assert 2 not in plain
    assert tokenizer.decode(plain) == "hello<|im_end|>"


def test_a_user_defined_token_always_counts_and_has_text(tokenizer: Tokenizer) -> None:
    (token,) = tokenizer.encode("<think>", specials=False)
    assert tokenizer.decode([token]) == "<think>"


def test_control_tokens_have_no_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([1, 2]) == ""


def test_ends_are_those_named_and_those_known(tokenizer: Tokenizer) -> None:
    assert tokenizer.end_ids == {0, 2}


def test_the_begin_token_is_added_once_where_the_model_wants_it(metadata: dict[str, Any]) -> None:
    wanting = Tokenizer({**metadata, "tokenizer.ggml.add_bos_token": True})
    assert wanting.with_bos([5]) == [1, 5]
    assert wanting.with_bos([1, 5]) == [1, 5]
    assert Tokenizer(metadata).with_bos([5]) == [5]


@settings(max_examples=40, deadline=None)
@given(st.text())
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, specials=False)) == text


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 260), max_size=30))
def test_pieces_joined_are_the_text_and_no_character_is_cut(
    tokenizer: Tokenizer, tokens: list[int]
) -> None:
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.push(token) for token in tokens]
    assert "".join(pieces) + detokenizer.finish() == tokenizer.decode(tokens)


def test_an_open_character_waits_for_its_last_byte(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.push(token) for token in tokenizer.encode("a\U0001f600", specials=False)]
    assert pieces == ["a", "", "", "", "\U0001f600"]
    assert detokenizer.finish() == ""


def test_an_answer_that_ends_inside_a_character_says_so(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push(tokenizer.encode("é", specials=False)[0]) == ""
    assert detokenizer.finish() == "\ufffd"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("tokenizer.ggml.model", "t5", "kind 't5'"),
        ("tokenizer.ggml.model", "llama", r"no usable tokenizer\.ggml\.scores"),
        ("tokenizer.ggml.pre", "something", "splits text as 'something'"),
        ("tokenizer.ggml.tokens", None, r"no usable tokenizer\.ggml\.tokens"),
        ("tokenizer.ggml.token_type", [1], "another number"),
        ("tokenizer.ggml.merges", ["nonsense"], "broken merge"),
        ("tokenizer.ggml.merges", ["x yz"], "broken merge"),
        ("tokenizer.ggml.eos_token_id", 10**6, "not in its vocabulary"),
    ],
)
def test_a_broken_tokenizer_is_a_named_error(
    metadata: dict[str, Any], key: str, value: object, words: str
) -> None:
    with pytest.raises(StartError, match=words):
        Tokenizer({**metadata, key: value})


@pytest.mark.parametrize("split", ["gpt-2", "default", "llama-bpe", "qwen2"])
def test_the_other_splits_build_and_come_back(metadata: dict[str, Any], split: str) -> None:
    tokenizer = Tokenizer({**metadata, "tokenizer.ggml.pre": split})
    text = "It's 12345 o'clock\n\n  x"
    assert tokenizer.decode(tokenizer.encode(text, specials=False)) == text


PIECES = [
    "\u2581",
    *"abcdelhorw",
    "he",
    "ll",
    "llo",
    "hello",
    "\u2581w",
    "or",
    "\u2581wor",
    "ld",
    "bc",
    "ab",
]


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """As SentencePiece's vocabularies: unknown, control, bytes, then pieces with scores."""
    spelled = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "<bos>", "<end_of_turn>", *spelled, *PIECES, "<think>"]
    return Tokenizer(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(PIECES) + [4],
            "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))],
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.add_space_prefix": False,
        }
    )


def merge_plainly(text: str) -> list[str]:
    """SentencePiece's rule: the neighbours that make the best piece are joined, until none do."""
    parts = list(text.replace(" ", "\u2581"))
    while True:
        joined = [
            (PIECES.index(left + right), place)
            for place, (left, right) in enumerate(itertools.pairwise(parts))
            if left + right in PIECES
        ]
        if not joined:
            return parts
        place = min(joined)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


@settings(deadline=None)
@given(st.text(alphabet="abcdelhorw ", max_size=30))
def test_pieces_merge_as_sentencepiece_does(pieces: Tokenizer, text: str) -> None:
    found = pieces.encode(text, specials=False)
    assert [pieces.token_text(token) for token in found] == merge_plainly(text)


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_from_pieces_and_bytes(pieces: Tokenizer, text: str) -> None:
    text = text.replace("\u2581", " ")
    assert pieces.decode(pieces.encode(text, specials=False)) == text


def test_a_vocabulary_of_pieces_has_its_ends_and_wants_its_beginning(pieces: Tokenizer) -> None:
    assert pieces.end_ids == {2}
    assert pieces.with_bos(pieces.encode("hello", specials=False))[0] == 1
    assert pieces.encode("<end_of_turn>", specials=True) == [2]
    assert 2 not in pieces.encode("<end_of_turn>", specials=False)
