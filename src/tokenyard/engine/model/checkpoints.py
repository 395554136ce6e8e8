"""What a checkpoint says about its model: shape, and where each weight is.

Decides which architectures we run and refuses the rest by name. Does not know what is computed.
Source: the architecture's keys (`llama.*`, `qwen3.*`) and tensor names of the GGUF specification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokenyard.engine.model.gguf import GgufFile, Rows, TensorEntry
from tokenyard.engine.model.quantisation import Floats, Grid
from tokenyard.engine.model.safetensors import SafetensorsFolder
from tokenyard.vocabulary.errors import StartError

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")
# Gemma 3: five layers with a window, then one that sees everything (arXiv 2503.19786, section 2).
GEMMA_PATTERN = 6
GEMMA_WINDOWED_ROPE_BASE = 10_000.0
# The one size whose queries are scaled by the model's width for each head, not by the head's own.
GEMMA_27B_LAYERS = 62


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

    def grid(self, name: str) -> Grid | None:
        """A matrix on the grid that the file stores it on; None where it stores plain numbers."""
        ...

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
    # What comes out of attention and of the inner product is normalised too (Gemma 3).
    post_norms: bool = False
    # The inner product is gated by GELU in its tanh form (Gemma 3), else by SiLU.
    gelu: bool = False
    embedding_scale: float = 1.0
    # Scores are queries times keys times this; 0 is for one over the root of the head width.
    score_scale: float = 0.0
    # Positions are divided by it where nothing is windowed ("linear" scaling).
    rope_divisor: float = 1.0
    # Tokens that a windowed layer sees, the newest included; 0 when no layer is windowed.
    window: int = 0
    # By layer; empty when none is.
    windowed: tuple[bool, ...] = ()
    windowed_rope_base: float = 0.0

    def __post_init__(self) -> None:
        if not self.score_scale:
            object.__setattr__(self, "score_scale", self.head_width**-0.5)

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
        rope_divisor=_read_rope_divisor(file, keys),
        **(_read_gemma(file, keys) if architecture == "gemma3" else _read_windows(keys, None)),
    )
    if embedding != (shape.vocabulary, width):
        raise StartError(f"{file.path.name}: the embedding has shape {embedding}, width {width}.")
    if heads % shape.kv_heads or shape.head_width % 2:
        raise StartError(f"{file.path.name}: {shape} is not a decoder that we run.")
    return shape


def _read_rope_divisor(file: Checkpoint, keys: "_Keys") -> float:
    scaling = keys.get("rope.scaling.type", "none")
    if scaling == "none":
        return 1.0
    if scaling != "linear":
        raise StartError(f"{file.path.name} scales positions by {scaling!r}, which we do not.")
    return keys.number("rope.scaling.factor", 1.0)


def _read_gemma(file: Checkpoint, keys: "_Keys") -> dict[str, Any]:
    if keys.get("final_logit_softcapping") or keys.get("attn_logit_softcapping"):
        raise StartError(f"{file.path.name} caps its scores or logits, which we do not.")
    width, layers = keys.count("embedding_length"), keys.count("block_count")
    head_width = keys.count("attention.key_length")
    if layers == GEMMA_27B_LAYERS:
        head_width = width // keys.count("attention.head_count")
    return {
        "post_norms": True,
        "gelu": True,
        "embedding_scale": width**0.5,
        "score_scale": keys.number("attention.scale", head_width**-0.5),
        **_read_windows(keys, GEMMA_PATTERN),
    }


def _read_windows(keys: "_Keys", pattern: int | None) -> dict[str, Any]:
    """Which layers see only a window. pattern: that many layers, of which the last sees all.

    Without one in the file or in the family, a window that the file names is for nobody.
    """
    layers = keys.count("block_count")
    told = keys.get("attention.sliding_window_pattern", pattern)
    if not keys.get("attention.sliding_window") or told is None:
        return {}
    if isinstance(told, int) and told > 0:
        told = [(number + 1) % told != 0 for number in range(layers)]
    if not isinstance(told, list) or len(told) != layers:
        raise StartError(f"The model file's sliding_window_pattern ({told!r}) is not usable.")
    gemma = keys.architecture == "gemma3"
    base = GEMMA_WINDOWED_ROPE_BASE if gemma else keys.number("rope.freq_base", 10_000.0)
    return {
        "window": keys.count("attention.sliding_window"),
        "windowed": tuple(map(bool, told)),
        "windowed_rope_base": keys.number("rope.freq_base_swa", base),
    }


def load_weight(file: Checkpoint, name: str, result: Floats) -> None:
    """Write a weight in float32 to `result`; raises StartError unless it has that shape."""
    _check_shape(file, name, result.shape)
    file.dequantise_into(name, result)


def load_grid(file: Checkpoint, name: str, outputs: int, inputs: int) -> Grid | None:
    """A matrix on its grid, if the file has one; raises StartError unless it has that shape."""
    _check_shape(file, name, (outputs, inputs))
    return file.grid(name)


def _check_shape(file: Checkpoint, name: str, expected: tuple[int, ...]) -> None:
    shape = file.shape(name)
    if shape != expected:
        raise StartError(
            f"{file.path.name}: tensor {name!r} has shape {shape}, expected {expected}."
        )


@dataclass(frozen=True, slots=True)
class _Keys:
    """Metadata under the architecture's name."""

    metadata: Mapping[str, Any]
    architecture: str

    def get(self, key: str, default: Any = None) -> Any:
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def count(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or not 1 <= value <= 1 << 32:
            raise StartError(f"The model file has no usable {self.architecture}.{key} ({value!r}).")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key, default)
        if not isinstance(value, int | float) or not 0 < value < 1e12:
            raise StartError(f"The model file has no usable {self.architecture}.{key} ({value!r}).")
        return float(value)
