"""What the CPU's decoder does between its products, in torch; and what any other way has to give.

One object serves one step: it knows the rows' places and the pool. `TorchStep` is what the compiled
kernels are held to, and serves where there are none. Does not know weights of products.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from tokenyard.engine.model.attention import Span, attend, lay_out
from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.kv_pool import KvPool
from tokenyard.engine.model.linear import Linear


@dataclass(frozen=True, slots=True)
class Turns:
    """(context, head_width / 2) complex numbers of length 1, by position and pair of neighbours.

    windowed: of layers that see a window; the same where a model has none.
    """

    whole: Tensor
    windowed: Tensor

    def of(self, *, windowed: bool) -> Tensor:
        return self.windowed if windowed else self.whole


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one layer; products over the same input are one."""

    attention_norm: Tensor
    qkv: Linear
    # (heads + kv_heads, head_width), or None for families that have none.
    query_key_norm: Tensor | None
    attention_out: Linear
    # Of what attention gives, before it is added (Gemma 3).
    attention_out_norm: Tensor | None
    inner_norm: Tensor
    gate_up: Linear
    down: Linear
    down_norm: Tensor | None
    windowed: bool


class StepOperations(Protocol):
    """The rows of one step between products. All numbers are float32."""

    def run_layers(self, hidden: Tensor) -> bool:
        """Take (rows, width) through all layers in place, if that can be done in one piece.

        False leaves `hidden` as it was: the decoder then goes layer by layer.
        """
        ...

    def add_norm(self, hidden: Tensor, change: Tensor | None, weight: Tensor) -> Tensor:
        """Add `change` to `hidden` in place, and give its root-mean-square norm times `weight`.

        All are (rows, width), the weight (width,).
        """
        ...

    def turn_and_store(
        self, layer: int, qkv: Tensor, norms: Tensor | None, *, windowed: bool
    ) -> None:
        """Turn queries and keys by position, in place, after a norm of each head if `norms` are.

        qkv: (rows, heads + 2 * kv_heads, head_width). norms: (heads + kv_heads, head_width).
        Keys and values go into the pool.
        """
        ...

    def attend(self, layer: int, qkv: Tensor, *, windowed: bool) -> Tensor:
        """(rows, heads * head_width): attention of the turned queries over what is stored."""
        ...

    def gate(self, both: Tensor) -> Tensor:
        """SiLU (or GELU) of the first half times the second: (rows, 2 * width) to (rows, width)."""
        ...


# Makes the operations of a step whose rows are the tokens of these spans in order.
BeginStep = Callable[[Sequence[Span]], StepOperations]


class TorchStep:
    """`StepOperations` by torch's own operators."""

    def __init__(
        self, shape: DecoderShape, turns: Turns, pool: KvPool, spans: Sequence[Span]
    ) -> None:
        self._shape = shape
        self._pool = pool
        self._layout = lay_out(spans, pool, window=shape.window)
        self._epsilon = torch.tensor(shape.epsilon)
        if len(self._layout.stale):
            pool.clear(self._layout.stale)
        self._turn = turns.whole[self._layout.positions].unsqueeze(1)
        self._windowed_turn = self._turn
        if turns.windowed is not turns.whole:
            self._windowed_turn = turns.windowed[self._layout.positions].unsqueeze(1)

    def run_layers(self, hidden: Tensor) -> bool:
        return False

    def add_norm(self, hidden: Tensor, change: Tensor | None, weight: Tensor) -> Tensor:
        if change is not None:
            hidden += change
        return normalise(hidden, weight, self._epsilon)

    def turn_and_store(
        self, layer: int, qkv: Tensor, norms: Tensor | None, *, windowed: bool
    ) -> None:
        shape, rows = self._shape, len(qkv)
        turned = qkv[:, : shape.heads + shape.kv_heads]
        if norms is not None:
            torch.mul(normalise(turned, None, self._epsilon), norms, out=turned)
        pairs = torch.view_as_complex(turned.view(rows, -1, shape.head_width // 2, 2))
        pairs.mul_(self._windowed_turn if windowed else self._turn)
        self._pool.write(layer, self._layout.slots, qkv[:, shape.heads :])

    def attend(self, layer: int, qkv: Tensor, *, windowed: bool) -> Tensor:
        view = self._layout.windowed if windowed else self._layout.whole
        return attend(view, layer, self._pool, qkv, self._shape.heads)

    def gate(self, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, -1)
        opened = gelu(gate, approximate="tanh") if self._shape.gelu else silu(gate)
        return opened.mul_(up)


def normalise(rows: Tensor, weight: Tensor | None, epsilon: Tensor) -> Tensor:
    """The root-mean-square norm over the last dimension, times `weight`.

    Four calls into torch, where its own norm makes ten: on few rows each call costs more than its
    arithmetic, and a step has two norms a layer. A row's result does not depend on the others.
    """
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    level = torch.addcmul(epsilon, length, length, value=1 / rows.shape[-1]).rsqrt_()
    result = torch.mul(rows, level)
    return result if weight is None else result.mul_(weight)
