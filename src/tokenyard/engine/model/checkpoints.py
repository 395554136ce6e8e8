"""What a checkpoint says about its model: shape, and where each weight is.

Decides which architectures we run and refuses the rest by name. Does not know what is computed.
Source: the `llama.*` keys and tensor names of the GGUF specification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.quantisation import Floats
from tokenyard.vocabulary.errors import StartError

ARCHITECTURE = "llama"


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

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers, in float32."""
        return 2 * self.layers * self.kv_heads * self.head_width * 4


def read_shape(file: GgufFile) -> DecoderShape:
    """The model's sizes; raises StartError when one is missing, absurd, or not ours to run."""
    metadata = file.metadata
    architecture = metadata.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise StartError(
            f"{file.path.name} is of architecture {architecture!r}; this engine runs "
            f"{ARCHITECTURE!r}. Serve others through an upstream."
        )
    heads = _count(metadata, "attention.head_count")
    width = _count(metadata, "embedding_length")
    embedding = file.shape("token_embd.weight")
    shape = DecoderShape(
        layers=_count(metadata, "block_count"),
        width=width,
        heads=heads,
        kv_heads=_count(metadata, "attention.head_count_kv", heads),
        head_width=_count(metadata, "attention.key_length", width // heads),
        inner_width=_count(metadata, "feed_forward_length"),
        vocabulary=embedding[0],
        context_tokens=_count(metadata, "context_length"),
        rope_base=_number(metadata, "rope.freq_base", 10_000.0),
        epsilon=_number(metadata, "attention.layer_norm_rms_epsilon", 1e-5),
    )
    if embedding != (shape.vocabulary, width):
        raise StartError(f"{file.path.name}: the embedding has shape {embedding}, width {width}.")
    if heads % shape.kv_heads or shape.head_width % 2:
        raise StartError(f"{file.path.name}: {shape} is not a decoder that we run.")
    scaling = metadata.get(f"{ARCHITECTURE}.rope.scaling.type", "none")
    if scaling != "none":
        raise StartError(f"{file.path.name} scales positions by {scaling!r}, which we do not.")
    return shape


def load_weight(file: GgufFile, name: str, result: Floats) -> None:
    """Write a weight in float32 to `result`; raises StartError unless it has that shape."""
    shape = file.shape(name)
    if shape != result.shape:
        raise StartError(
            f"{file.path.name}: tensor {name!r} has shape {shape}, expected {result.shape}."
        )
    file.dequantise_into(name, result)


def _count(metadata: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = metadata.get(f"{ARCHITECTURE}.{key}", default)
    if not isinstance(value, int) or not 1 <= value <= 1 << 32:
        raise StartError(f"The model file has no usable {ARCHITECTURE}.{key} ({value!r}).")
    return value


def _number(metadata: Mapping[str, Any], key: str, default: float) -> float:
    value = metadata.get(f"{ARCHITECTURE}.{key}", default)
    if not isinstance(value, int | float) or not 0 < value < 1e12:
        raise StartError(f"The model file has no usable {ARCHITECTURE}.{key} ({value!r}).")
    return float(value)
