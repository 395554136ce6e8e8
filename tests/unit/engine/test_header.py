"""A GGUF header is read without its lists; one that is cut or lies is told, whatever it claims."""

import struct
from pathlib import Path

import pytest

from tokenyard.engine.header import read_header
from tokenyard.vocabulary.errors import StartError


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def make_header(*, version: int = 3, entries: int | None = None, tensors: int = 1) -> bytes:
    metadata = [
        entry("general.architecture", 8, text("llama")),
        entry("llama.block_count", 4, struct.pack("<I", 30)),
        entry("llama.rope.freq_base", 6, struct.pack("<f", 0.5)),
        entry("tokenizer.ggml.add_bos_token", 7, b"\x01"),
        entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 3) + text("a") * 3),
        entry("tokenizer.ggml.token_type", 9, struct.pack("<IQ3i", 5, 3, 1, 2, 3)),
        entry("general.size", 10, struct.pack("<Q", 2**40)),
    ]
    tensor = text("output.weight") + struct.pack("<IQQIQ", 2, 576, 49_152, 0, 0)
    count = len(metadata) if entries is None else entries
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, count)
    return head + b"".join(metadata) + tensor


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_numbers_texts_lengths_and_tensors(tmp_path: Path, version: int) -> None:
    header = read_header(write(tmp_path, make_header(version=version)))
    assert header.metadata == {
        "general.architecture": "llama",
        "llama.block_count": 30,
        "llama.rope.freq_base": 0.5,
        "tokenizer.ggml.add_bos_token": True,
        "general.size": 2**40,
    }
    assert header.lengths == {"tokenizer.ggml.tokens": 3, "tokenizer.ggml.token_type": 3}
    assert header.tensors == {"output.weight": (49_152, 576)}


def test_every_cut_is_told(tmp_path: Path) -> None:
    whole = make_header()
    for length in range(len(whole)):
        with pytest.raises(StartError, match="not a usable GGUF file"):
            read_header(write(tmp_path, whole[:length]))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PK\x03\x04" + bytes(100), "does not start with GGUF"),
        (make_header(version=9), "version is 9"),
        (make_header(entries=2**40), "claims"),
        (make_header(tensors=2**40), "claims"),
        (make_header(tensors=2), "middle of its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry("k", 99, b""), "type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry("k", 9, struct.pack("<IQ", 9, 1)), "lists"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry("k", 9, struct.pack("<IQ", 8, 2**60)),
            "claims",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("t") + struct.pack("<I", 77), "77"),
    ],
)
def test_lies_are_told(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(StartError, match=told):
        read_header(write(tmp_path, data))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file"):
        read_header(tmp_path / "none.gguf")
