"""Our reader against the `gguf` package, and against files that are cut or that lie."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import quants
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.model import quantisation
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.quantisation import TensorKind
from tokenyard.vocabulary.errors import StartError

QUANTISED = [kind for kind in TensorKind if kind not in (TensorKind.F32, TensorKind.F16)]


def write_file(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("an.epsilon", 1e-5)
    writer.add_array("tokenizer.ggml.tokens", ["a", "ö", "\U0001f600"])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 3])
    writer.add_bool("a.flag", True)
    writer.add_tensor("w.f32", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.add_tensor("w.f16", np.arange(8, dtype=np.float16).reshape(2, 4))
    random = np.random.default_rng(0).standard_normal((3, 64), dtype=np.float32)
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_1):
        writer.add_tensor(f"w.{kind.name}", quants.quantize(random, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_metadata_and_tensors_come_back(tmp_path: Path) -> None:
    with GgufFile(write_file(tmp_path / "a.gguf")) as file:
        assert file.metadata["general.architecture"] == "llama"
        assert file.metadata["tokenizer.ggml.tokens"] == ["a", "ö", "\U0001f600"]
        assert file.metadata["tokenizer.ggml.token_type"] == [1, 1, 3]
        assert file.metadata["a.flag"] is True
        assert file.metadata["an.epsilon"] == pytest.approx(1e-5)
        assert file.shape("w.f32") == (3, 4)
        np.testing.assert_array_equal(
            file.dequantised("w.f32"), np.arange(12, dtype=np.float32).reshape(3, 4)
        )
        np.testing.assert_array_equal(
            file.dequantised("w.f16"), np.arange(8, dtype=np.float32).reshape(2, 4)
        )
        assert file.dequantised("w.Q4_1").shape == (3, 64)
        with pytest.raises(StartError, match="no tensor 'gone'"):
            file.dequantised("gone")


def draw_blocks(kind: TensorKind) -> quantisation.Bytes:
    """Random blocks reach every bit pattern; scales that are NaN or infinite are left out."""
    random = np.random.default_rng(kind)
    items = quantisation.block_items(kind)
    rows = random.integers(0, 256, (300, quantisation.size_bytes(kind, items)), dtype=np.uint8)
    if items > 1:
        scale = random.standard_normal((300, 2)).astype(np.float16).view(np.uint8)
        columns = slice(208, 210) if kind is TensorKind.Q6_K else slice(0, 2)
        rows[:, columns] = scale[:, :2]
        if kind in (TensorKind.Q4_1, TensorKind.Q5_1, TensorKind.Q4_K, TensorKind.Q5_K):
            rows[:, 2:4] = scale[:, 2:]
    else:
        rows = rows[:, :2]
        rows[:, 1] &= 0x3F
    return rows


@pytest.mark.parametrize("kind", QUANTISED, ids=lambda kind: kind.name)
def test_dequantisation_is_equal_to_the_bit(kind: TensorKind) -> None:
    rows = draw_blocks(kind)
    expected = quants.dequantize(rows, gguf.GGMLQuantizationType(int(kind))).reshape(-1)
    actual = np.empty(len(expected), dtype=np.float32)
    quantisation.dequantise(rows.reshape(-1), kind, actual)
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", TensorKind, ids=lambda kind: kind.name)
def test_a_grid_has_the_same_weights(kind: TensorKind) -> None:
    rows = draw_blocks(kind)
    grid = quantisation.read_grid(rows.reshape(-1), kind, outputs=20)
    assert (grid is not None) == quantisation.has_grid(kind)
    if grid is None:
        assert kind in (TensorKind.F32, TensorKind.F16, TensorKind.BF16)
        return
    weights = np.empty(grid.quants.size, dtype=np.float32)
    quantisation.dequantise(rows.reshape(-1), kind, weights)
    numbers = grid.quants.reshape(*grid.scales.shape, grid.group).astype(np.float64)
    found = numbers * grid.scales[..., None] + grid.minimums[..., None]
    # In float64 nothing is rounded here; the reference rounds once or twice.
    np.testing.assert_allclose(found.reshape(-1), weights, rtol=1e-6, atol=1e-5)
    assert grid.quants.max() < 2**grid.bits


def test_a_file_cut_anywhere_is_a_named_error(tmp_path: Path) -> None:
    whole = write_file(tmp_path / "a.gguf").read_bytes()
    with GgufFile(tmp_path / "a.gguf") as file:
        last = max(entry.offset + entry.size_bytes for entry in file.tensors.values())
    cut = tmp_path / "cut.gguf"
    for length in [0, 3, 4, 8, 23, *range(24, last, 37), last - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(StartError, match=r"cut\.gguf"):
            GgufFile(cut)


def test_no_such_file_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read"):
        GgufFile(tmp_path / "gone.gguf")


@pytest.mark.parametrize(
    ("offset", "layout", "value", "words"),
    [
        (0, "<4s", b"GGML", "does not start with GGUF"),
        (4, "<I", 99, "version is 99"),
        (8, "<Q", 2**60, "claims"),
        (16, "<Q", 2**60, "claims"),
        (24, "<Q", 2**62, "ends in the middle"),
    ],
)
def test_a_header_that_lies_is_a_named_error(
    tmp_path: Path, offset: int, layout: str, value: bytes | int, words: str
) -> None:
    data = bytearray(write_file(tmp_path / "a.gguf").read_bytes())
    struct.pack_into(layout, data, offset, value)
    (tmp_path / "b.gguf").write_bytes(data)
    with pytest.raises(StartError, match=words):
        GgufFile(tmp_path / "b.gguf")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 8))
def test_random_damage_to_the_header_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    whole = folder / "whole.gguf"
    if not whole.exists():
        write_file(whole)
    data = bytearray(whole.read_bytes())
    random = np.random.default_rng(seed)
    for position in random.integers(0, 700, count):
        data[position] = random.integers(0, 256)
    (folder / "damaged.gguf").write_bytes(data)
    try:
        with GgufFile(folder / "damaged.gguf") as file:
            for name in file.tensors:
                file.dequantised(name)
    except StartError:
        pass
