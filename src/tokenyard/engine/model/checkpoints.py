"""What a checkpoint says about its model: shape, and where each weight is.

Decides which architectures we run and refuses the rest by name. Does not know what is computed.
Source: the architecture's keys (`llama.*`, `qwen3.*`) and tensor names of the GGUF specification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokenyard.engine.model.gguf import GgufFile, Rows, TensorEntry
from tokenyard.engine.model.quantisation import Floats
from tokenyard.engine.model.safetensors import SafetensorsFolder
from tokenyard.vocabulary.errors import StartError

ARCHITECTURES = ("llama", "qwen2", "qwen3")


class Checkpoint(Protocol):
    """What is known of a model on disk, in GGUF's words: `GgufFile` and `SafetensorsFolder`."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorEntry]

    @property
    def neighbours(self) -> bool:
        """Whether one rotation turns numbers that are stored side by side, or half a head apart."""
        ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def dequantised(self, name: str) -> Floats: ...

    def dequantise_into(self, name: str, result: Floats) -> None: ...

    def open_rows(self, name: str) -> Rows: ...


def open_checkpoint(path: Path) -> GgufFile | SafetensorsFolder:
    """A GGUF file, or a folder as Hugging Face has them. Raises StartError."""
    return SafetensorsFolder(path) if path.is_dir() else GgufFile(path)


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The sizes of one decoder, in the words of its papers turned plain."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    inner_width: int
    vocabulary: int
    context_tokens: int
    rope_base: float
    epsilon: float
    # A rotation turns numbers that are side by side, or half a head apart.
    neighbours: bool = True
    # Queries and keys are normalised head by head before they are turned (Qwen 3).
    query_key_norms: bool = False
    # Queries, keys and values have biases (Qwen 2).
    qkv_bias: bool = False

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers, in float32."""
        return 2 * self.layers * self.kv_heads * self.head_width * 4


def read_shape(file: Checkpoint) -> DecoderShape:
    """The model's sizes; raises StartError when one is missing, absurd, or not ours to run."""
    architecture = file.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise StartError(
            f"{file.path.name} is of architecture {architecture!r}; this engine runs "
            f"{', '.join(ARCHITECTURES)}. Serve others through an upstream."
        )
    keys = _Keys(file.metadata, architecture)
    heads = keys.count("attention.head_count")
    width = keys.count("embedding_length")
    embedding = file.shape("token_embd.weight")
    shape = DecoderShape(
        layers=keys.count("block_count"),
        width=width,
        heads=heads,
        kv_heads=keys.count("attention.head_count_kv", heads),
        head_width=keys.count("attention.key_length", width // heads),
        inner_width=keys.count("feed_forward_length"),
        vocabulary=embedding[0],
        context_tokens=keys.count("context_length"),
        rope_base=keys.number("rope.freq_base", 10_000.0),
        epsilon=keys.number("attention.layer_norm_rms_epsilon", 1e-5),
        neighbours=file.neighbours,
        query_key_norms="blk.0.attn_q_norm.weight" in file.tensors,
        qkv_bias="blk.0.attn_q.bias" in file.tensors,
    )
    if embedding != (shape.vocabulary, width):
        raise StartError(f"{file.path.name}: the embedding has shape {embedding}, width {width}.")
    if heads % shape.kv_heads or shape.head_width % 2:
        raise StartError(f"{file.path.name}: {shape} is not a decoder that we run.")
    scaling = file.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none":
        raise StartError(f"{file.path.name} scales positions by {scaling!r}, which we do not.")
    return shape


def load_weight(file: Checkpoint, name: str, result: Floats) -> None:
    """Write a weight in float32 to `result`; raises StartError unless it has that shape."""
    shape = file.shape(name)
    if shape != result.shape:
        raise StartError(
            f"{file.path.name}: tensor {name!r} has shape {shape}, expected {result.shape}."
        )
    file.dequantise_into(name, result)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Metadata under the architecture's name."""

    metadata: Mapping[str, Any]
    architecture: str

    def count(self, key: str, default: int | None = None) -> int:
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if not isinstance(value, int) or not 1 <= value <= 1 << 32:
            raise StartError(f"The model file has no usable {self.architecture}.{key} ({value!r}).")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if not isinstance(value, int | float) or not 0 < value < 1e12:
            raise StartError(f"The model file has no usable {self.architecture}.{key} ({value!r}).")
        return float(value)
