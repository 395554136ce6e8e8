"""`tokenizer.model` of a Hugging Face folder gives the ids that SentencePiece gives."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from tokenyard.engine.model.safetensors import _translate_tokenizer
from tokenyard.engine.model.sentencepiece import read_pieces
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import StartError

TEXTS = [
    "The river runs past the old bridge, and the bridge stands.",
    "  two  blanks, then\ttab and\nline",
    "été, 東京 and 🙂 are bytes here",
    "",
    "a",
    " ",
    "1234 567",
    "<s>not a turn</s>",
]
SENTENCES = [
    f"the {noun} {verb} past the old {other} and the {other} stands, number {number}"
    for number, (noun, verb, other) in enumerate(
        (noun, verb, other)
        for noun in ("river", "train", "bird", "garden")
        for verb in ("runs", "flies", "grows", "waits")
        for other in ("bridge", "city", "library", "lighthouse")
    )
]


def train(**options: Any) -> bytes:
    made = io.BytesIO()
    how: dict[str, Any] = {
        "vocab_size": 400,
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "user_defined_symbols": ["<extra>"],
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=made, **(how | options)
    )
    return made.getvalue()


@pytest.fixture(scope="module")
def trained() -> bytes:
    return train()


def make_tokenizer(folder: Path, model: bytes, **settings: Any) -> Tokenizer:
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Tokenizer(_translate_tokenizer(folder, {"eos_token_id": 2}))


@pytest.mark.parametrize("prefix", [True, False])
def test_the_ids_are_those_of_sentencepiece(tmp_path: Path, prefix: bool) -> None:
    model = train(add_dummy_prefix=prefix)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    ours = make_tokenizer(tmp_path, model)
    for text in TEXTS:
        assert ours.encode(text, specials=False) == theirs.encode(text), text
        assert ours.decode(theirs.encode(text)).removeprefix(" " * prefix) == text
    assert ours.encode("<extra>", specials=False) == [theirs.piece_to_id("<extra>")]
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_id(), theirs.eos_id())
    assert ours.end_ids == {theirs.eos_id()}
    assert ours.with_bos([7]) == [theirs.bos_id(), 7]


def test_added_tokens_are_those_of_the_folder(tmp_path: Path, trained: bytes) -> None:
    added = {"400": {"content": "<|im_end|>", "special": True}, "401": {"content": "<tool>"}}
    ours = make_tokenizer(tmp_path, trained, added_tokens_decoder=added, eos_token="<|im_end|>")
    assert ours.eos_id == 400
    assert ours.encode("<|im_end|>", specials=True) == [400]
    assert 400 not in ours.encode("<|im_end|>", specials=False)
    assert ours.encode("<tool>", specials=False) == [401]


def test_a_tokenizer_json_comes_first(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(StartError, match=r"tokenizer\.json does not hold"):
        make_tokenizer(tmp_path, b"")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model_type": "unigram", "vocab_size": 310}, "not BPE"),
        ({"normalization_rule_name": "nmt_nfkc"}, "changes texts"),
        ({"remove_extra_whitespaces": True}, "changes texts"),
    ],
)
def test_models_that_we_do_not_run_are_refused(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(StartError, match=words):
        make_tokenizer(tmp_path, train(**options))


def test_broken_files_are_named_errors(tmp_path: Path, trained: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    for data in (
        b"",
        trained[:1000],
        trained[: len(trained) - 3],
        b"\xff" * 20,
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x08\x01",
        b"\x0a\x02\x10\x01",
        b"\x0b",
    ):
        path.write_bytes(data)
        with pytest.raises(StartError, match="cannot be read"):
            read_pieces(path)
