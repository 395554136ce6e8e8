"""The decoder for a device whose cost is launches: as few as the architecture allows.

Llama, Qwen2 (biases), Qwen3 (norms of queries and keys) and Gemma 3 (windows, more norms). A layer
is four matrix products, one or two launches of attention and four small ones; nothing in it asks
the device for a value, so a step of decodes can be captured in a graph. The CPU has its own
decoder, made for other costs.
Does not know sequences, tokens' texts, or how a token is drawn.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.device_operations import Operations
from tokenyard.engine.model.device_weights import DeviceWeights
from tokenyard.engine.model.paged import AttentionRule, PagedStep
from tokenyard.engine.model.rows import Turning


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """One step's rows; all tensors are int32 on the device.

    tokens, positions, slots: (rows,); a slot of -1 is not written. wanted: the rows whose logits
    are asked for; None for all.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    wanted: Tensor | None
    paged: PagedStep


class DeviceDecoder:
    """One model's weights and the way through them, and the memory behind its blocks.

    pool: per layer (2 * kv_heads, slots, head_width); block 0 is never given out.
    """

    def __init__(
        self,
        shape: DecoderShape,
        weights: DeviceWeights,
        operations: Operations,
        *,
        block_count: int,
        block_tokens: int,
    ) -> None:
        self.shape = shape
        self.operations = operations
        self.block_tokens = block_tokens
        self.device = weights.embedding.device
        self.dtype = weights.embedding.dtype
        self._weights = weights
        whole = AttentionRule(shape.score_scale)
        windowed = AttentionRule(shape.score_scale, window=shape.window)
        narrow = shape.windowed or (False,) * shape.layers
        self._rules = [windowed if one else whole for one in narrow]
        slots = (block_count + 1) * block_tokens
        self.pool = [
            torch.zeros(
                2 * shape.kv_heads, slots, shape.head_width, dtype=self.dtype, device=self.device
            )
            for _ in range(shape.layers)
        ]
        turns = make_turns(shape, shape.rope_base, weights.turn_factors, shape.rope_divisor)
        turns = windowed_turns = turns.to(self.device)
        if shape.windowed_rope_base not in (0.0, shape.rope_base):
            windowed_turns = make_turns(shape, shape.windowed_rope_base, None, 1.0).to(self.device)
        self._turning = [
            Turning(
                windowed_turns if one else turns,
                layer.query_key_norms,
                shape.heads,
                weights.neighbours,
                shape.epsilon,
            )
            for layer, one in zip(weights.layers, narrow, strict=True)
        ]

    def forward(self, step: DeviceStep, logits: Tensor | None = None) -> Tensor:
        """(wanted, vocabulary) logits in the type of the weights, written to `logits` if given."""
        shape, operations, weights = self.shape, self.operations, self._weights
        kv_heads, heads = shape.kv_heads, shape.heads
        hidden = embedding(step.tokens, weights.embedding)
        if shape.embedding_scale != 1.0:
            hidden *= shape.embedding_scale
        change: Tensor | None = None
        for layer, pool, turning, rule in zip(
            weights.layers, self.pool, self._turning, self._rules, strict=True
        ):
            rows = operations.add_norm(hidden, change, layer.attention_norm, shape.epsilon)
            qkv = linear(rows, layer.qkv, layer.qkv_bias)
            qkv = qkv.view(-1, heads + 2 * kv_heads, shape.head_width)
            operations.turn_and_store(qkv, step.positions, step.slots, pool, turning)
            mixed = operations.attend(
                qkv[:, :heads], pool[:kv_heads], pool[kv_heads:], step.paged, rule
            )
            change = linear(mixed.view(len(mixed), -1), layer.attention_out)
            if layer.attention_out_norm is not None:
                change = operations.add_norm(change, None, layer.attention_out_norm, shape.epsilon)
            rows = operations.add_norm(hidden, change, layer.inner_norm, shape.epsilon)
            opened = operations.gate(linear(rows, layer.gate_up), shape.gelu)
            change = linear(opened, layer.down)
            if layer.down_norm is not None:
                change = operations.add_norm(change, None, layer.down_norm, shape.epsilon)
        if step.wanted is not None:
            hidden = hidden.index_select(0, step.wanted)
            change = None if change is None else change.index_select(0, step.wanted)
        rows = operations.add_norm(hidden, change, weights.final_norm, shape.epsilon)
        return torch.mm(rows, weights.head.T, out=logits)

    def clear(self, blocks: list[int]) -> None:
        """Set blocks to zero, so that a NaN that was stored there cannot spread."""
        for block in blocks:
            first = block * self.block_tokens
            for pool in self.pool:
                pool[:, first : first + self.block_tokens] = 0


def make_turns(shape: DecoderShape, base: float, factors: Tensor | None, divisor: float) -> Tensor:
    """(context, head_width) float32: the cosines of each position's angles, then the sines."""
    exponents = torch.arange(0, shape.head_width, 2, dtype=torch.float64) / shape.head_width
    speeds = 1.0 / torch.pow(torch.tensor(base, dtype=torch.float64), exponents) / divisor
    if factors is not None:
        speeds = speeds / factors.double()
    angles = torch.outer(torch.arange(shape.context_tokens, dtype=torch.float64), speeds)
    return torch.cat([angles.cos(), angles.sin()], -1).float()
