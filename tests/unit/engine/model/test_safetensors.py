"""A Hugging Face folder: read in GGUF's words, and refused in words when it is broken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tokenyard.engine.model.checkpoints import open_checkpoint, read_shape
from tokenyard.vocabulary.errors import StartError

CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "vocab_size": 12,
}
TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    "added_tokens": [{"id": 2, "content": "<end>", "special": True}],
    "decoder": {"type": "ByteLevel"},
}
WEIGHTS: dict[str, Any] = {
    "model.embed_tokens.weight": np.arange(96, dtype=np.float32).reshape(12, 8),
    "model.layers.0.self_attn.q_proj.weight": np.ones((8, 8), dtype=np.float16),
    "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, dtype=np.float32),
}


def write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "config.json", CONFIG)
    write(tmp_path, "tokenizer.json", TOKENIZER)
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path


def test_names_and_sizes_are_those_of_gguf(folder: Path) -> None:
    with open_checkpoint(folder) as file:
        assert set(file.tensors) == {"token_embd.weight", "blk.0.attn_q.weight"}
        shape = read_shape(file)
        assert (shape.width, shape.heads, shape.kv_heads, shape.head_width) == (8, 2, 1, 4)
        assert not shape.neighbours
        query = file.dequantised("blk.0.attn_q.weight")
        assert query.dtype == np.float32
        assert query.sum() == 64
        rows = file.open_rows("token_embd.weight").read(np.array([3, 0]))
        np.testing.assert_array_equal(rows, WEIGHTS["model.embed_tokens.weight"][[3, 0]])
        # The embedding has more rows than the tokenizer has tokens.
        assert file.metadata["tokenizer.ggml.tokens"] == ["a", "b", "<end>", *[""] * 9]
        assert file.metadata["tokenizer.ggml.token_type"] == [1, 1, 3, *[5] * 9]
        with pytest.raises(StartError, match="no tensor for"):
            file.dequantised("output_norm.weight")


def change_config(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder, "config.json", {**CONFIG, **fields})


def change_tokenizer(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder, "tokenizer.json", {**TOKENIZER, **fields})


def change_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def index(places: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder, "model.safetensors.index.json", {"weight_map": places})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove("config.json"), r"config\.json cannot be read"),
        (remove("tokenizer.json"), r"tokenizer\.json cannot be read"),
        (remove("model.safetensors"), "cannot be read"),
        (lambda folder: write(folder, "config.json", [1]), "does not hold an object"),
        (change_config(model_type="gpt_oss"), "of type 'gpt_oss'"),
        (change_config(rope_scaling={"type": "yarn"}), "scales positions by 'yarn'"),
        (change_tokenizer(model={"type": "Unigram"}), "of kind 'Unigram'"),
        (change_tokenizer(decoder={"type": "Metaspace"}), "does not work on bytes"),
        (change_bytes(lambda data: data[:4]), "its header is cut"),
        (change_bytes(lambda data: data[:60]), "its header is cut"),
        (change_bytes(lambda data: b"\xff" * 8 + data[8:]), "its header is cut"),
        (change_bytes(lambda data: data[:-8]), "does not lie where"),
        (change_bytes(lambda data: data.replace(b'"F16"', b'"I16"')), "type 'I16'"),
        (change_bytes(lambda data: data.replace(b"[8,8]", b"[9,8]")), "does not lie where"),
        (change_bytes(lambda data: data.replace(b"[8,8]", b"[8,x]")), "not a usable"),
        (index({}), "no weight_map"),
        (index({"a": "../x.safetensors"}), "outside its folder"),
    ],
)
def test_a_broken_folder_is_a_named_error(
    folder: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(folder)
    with pytest.raises(StartError, match=words):
        read_shape(open_checkpoint(folder))


def test_windows_are_for_the_layers_that_use_them(folder: Path) -> None:
    for more, windowed in (
        ({"model_type": "mistral"}, (True, True)),
        ({"model_type": "qwen2", "use_sliding_window": False}, ()),
        (
            {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 1},
            (False, True),
        ),
    ):
        change_config(num_hidden_layers=2, sliding_window=16, **more)(folder)
        shape = read_shape(open_checkpoint(folder))
        assert shape.windowed == windowed
        assert shape.window == (16 if windowed else 0)
