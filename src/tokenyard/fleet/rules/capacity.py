"""How many tokens a model server can keep in its KV cache: bytes of a token, blocks, sequences.

Knows sizes only. Layers are taken to be alike and to keep every token: a sliding window, a mixture
of experts or a compressed cache needs less than is said here. Source: vLLM's accounting (device
memory x share - weights - overhead, cut into blocks), and shared arithmetic of decoder shapes.
"""

from dataclasses import dataclass
from enum import StrEnum

BLOCK_TOKENS = 16
# What vLLM leaves to itself by default.
SHARE = 0.92
# Activations at their peak, captured graphs and the runtime's own memory.
OVERHEAD_BYTES = 4 * 1024**3


class Dtype(StrEnum):
    """How a number is stored."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"


_BYTES = {Dtype.FP32: 4, Dtype.BF16: 2, Dtype.FP16: 2, Dtype.FP8: 1, Dtype.INT8: 1}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A dense decoder. `tied`: the output layer is the embedding, so that it is counted once."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    tied: bool

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers: q and o, k and v, and the three matrices of the gated MLP."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn)

    @property
    def head_parameters(self) -> int:
        """Parameters of the output layer."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All of them; norms and biases, some thousandth of it, are left out."""
        return self.layer_parameters + self.head_parameters * (1 if self.tied else 2)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is left for the KV cache, and what it holds. No block: the model does not fit."""

    weights_bytes: int
    pool_bytes: int
    token_bytes: int
    block_tokens: int
    blocks: int

    @property
    def tokens(self) -> int:
        return self.blocks * self.block_tokens

    def sequences(self, context_tokens: int) -> int:
        """How many sequences of that length fit at once; a block belongs to one of them."""
        return self.blocks // -(-context_tokens // self.block_tokens)


def number_bytes(dtype: Dtype) -> int:
    """Bytes of one number."""
    return _BYTES[dtype]


def token_bytes(shape: ModelShape, dtype: Dtype) -> int:
    """Bytes that one token takes in the KV cache: a key and a value for each layer and KV head."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * number_bytes(dtype)


def block_bytes(shape: ModelShape, dtype: Dtype, block_tokens: int = BLOCK_TOKENS) -> int:
    """Bytes of one block."""
    return token_bytes(shape, dtype) * block_tokens


def weights_bytes(shape: ModelShape, dtype: Dtype) -> int:
    """Bytes of all weights."""
    return shape.parameters * number_bytes(dtype)


def fit(
    shape: ModelShape,
    memory_bytes: int,
    *,
    weights: Dtype = Dtype.BF16,
    kv: Dtype = Dtype.BF16,
    share: float = SHARE,
    overhead_bytes: int = OVERHEAD_BYTES,
    block_tokens: int = BLOCK_TOKENS,
) -> Capacity:
    """Fill a device's memory: its share for us, less weights and overhead, is the KV cache."""
    used = weights_bytes(shape, weights)
    pool = max(0, int(memory_bytes * share) - used - overhead_bytes)
    return Capacity(
        weights_bytes=used,
        pool_bytes=pool,
        token_bytes=token_bytes(shape, kv),
        block_tokens=block_tokens,
        blocks=pool // block_bytes(shape, kv, block_tokens),
    )


def tokens_that_fit(pool_bytes: int, shape: ModelShape, dtype: Dtype) -> int:
    """How many whole tokens a KV cache of that size holds."""
    return pool_bytes // token_bytes(shape, dtype)


def describe(capacity: Capacity, context_tokens: int) -> str:
    """The sentence that a start prints and an operator looks for."""
    return (
        f"KV cache: {capacity.tokens:,} tokens, at most {capacity.sequences(context_tokens):,} "
        f"sequences of {context_tokens:,} tokens"
    )
