"""Weights as the device's decoder wants them: products over the same input joined, in one type.

Decides how a checkpoint's tensors are put together, or how random ones are drawn for measuring.
Does not know what is computed with them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenyard.engine.model.checkpoints import Checkpoint, DecoderShape
from tokenyard.vocabulary.errors import StartError

# Of a normal distribution, as models are initialised; keeps activations finite in any depth.
RANDOM_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class DeviceLayer:
    """qkv: (heads + 2 * kv_heads) * head_width rows, in this order. query_key_norms: (2, width)."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    query_key_norms: Tensor | None
    attention_out: Tensor
    inner_norm: Tensor
    gate_up: Tensor
    down: Tensor
    # Of what attention and the inner product give, before it is added (Gemma 3).
    attention_out_norm: Tensor | None = None
    down_norm: Tensor | None = None


@dataclass(frozen=True, slots=True)
class DeviceWeights:
    """All weights of one model. neighbours, turn_factors: see `rows.Turning`."""

    embedding: Tensor
    final_norm: Tensor
    head: Tensor
    layers: tuple[DeviceLayer, ...]
    neighbours: bool
    turn_factors: Tensor | None = None

    @property
    def step_bytes(self) -> int:
        """Bytes that each step reads: everything but the embedding, of which it reads rows."""
        tensors = [self.final_norm, self.head]
        for layer in self.layers:
            tensors += [layer.attention_norm, layer.qkv, layer.attention_out]
            tensors += [layer.inner_norm, layer.gate_up, layer.down]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def read_weights(
    file: Checkpoint, shape: DecoderShape, device: str, dtype: torch.dtype
) -> DeviceWeights:
    """The weights of a checkpoint.

    Raises StartError when one is missing or has another shape than expected.
    """

    def weight(name: str, *expected: int) -> Tensor:
        found = file.dequantised(name)
        if found.shape != expected:
            raise StartError(
                f"{file.path.name}: tensor {name!r} has shape {found.shape}, expected {expected}."
            )
        return torch.from_numpy(found).to(device, dtype)

    table = weight("token_embd.weight", shape.vocabulary, shape.width)
    tied = "output.weight" not in file.tensors
    factors = "rope_freqs.weight"
    return DeviceWeights(
        embedding=table,
        final_norm=weight("output_norm.weight", shape.width),
        head=table if tied else weight("output.weight", shape.vocabulary, shape.width),
        layers=tuple(_read_layer(number, shape, weight) for number in range(shape.layers)),
        neighbours=shape.neighbours,
        turn_factors=(
            torch.from_numpy(file.dequantised(factors)) if factors in file.tensors else None
        ),
    )


def draw_weights(
    shape: DecoderShape,
    device: str,
    dtype: torch.dtype,
    *,
    seed: int,
    tied: bool = False,
    normed: bool = False,
) -> DeviceWeights:
    """Random weights of any shape, made on the device. normed: with Qwen3's norms."""
    chance = torch.Generator(device).manual_seed(seed)

    def draw(*sizes: int) -> Tensor:
        made = torch.empty(sizes, device=device, dtype=dtype)
        return made.normal_(0.0, RANDOM_SPREAD, generator=chance)

    def ones(*sizes: int) -> Tensor:
        return torch.ones(sizes, device=device, dtype=dtype)

    width, inner = shape.width, shape.inner_width
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    table = draw(shape.vocabulary, width)
    layers = tuple(
        DeviceLayer(
            attention_norm=ones(width),
            qkv=draw(queries + 2 * keys, width),
            qkv_bias=None,
            query_key_norms=ones(2, shape.head_width) if normed else None,
            attention_out=draw(width, queries),
            inner_norm=ones(width),
            gate_up=draw(2 * inner, width),
            down=draw(width, inner),
        )
        for _ in range(shape.layers)
    )
    head = table if tied else draw(shape.vocabulary, width)
    return DeviceWeights(table, ones(width), head, layers, neighbours=False)


def _read_layer(number: int, shape: DecoderShape, weight: Callable[..., Tensor]) -> DeviceLayer:
    width, inner = shape.width, shape.inner_width
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    start = f"blk.{number}."
    sizes = (("attn_q", queries), ("attn_k", keys), ("attn_v", keys))
    bias = norms = None
    if shape.qkv_bias:
        bias = torch.cat([weight(f"{start}{name}.bias", size) for name, size in sizes])
    if shape.query_key_norms:
        names = ("attn_q_norm.weight", "attn_k_norm.weight")
        norms = torch.stack([weight(start + name, shape.head_width) for name in names])
    post_norms = {}
    if shape.post_norms:
        post_norms = {
            "attention_out_norm": weight(start + "post_attention_norm.weight", width),
            "down_norm": weight(start + "post_ffw_norm.weight", width),
        }
    gate = weight(start + "ffn_gate.weight", inner, width)
    up = weight(start + "ffn_up.weight", inner, width)
    return DeviceLayer(
        attention_norm=weight(start + "attn_norm.weight", width),
        qkv=torch.cat([weight(f"{start}{name}.weight", size, width) for name, size in sizes]),
        qkv_bias=bias,
        query_key_norms=norms,
        attention_out=weight(start + "attn_output.weight", width, queries),
        inner_norm=weight(start + "ffn_norm.weight", width),
        gate_up=torch.cat([gate, up]),
        down=weight(start + "ffn_down.weight", width, inner),
        **post_norms,
    )
