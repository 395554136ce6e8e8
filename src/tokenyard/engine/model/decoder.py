"""The decoder: tokens in, logits out, keys and values into the pool on the way.

Llama's architecture: RMS norms, rotary positions, grouped queries, SwiGLU, a head that may be tied
to the embedding. One call serves any mix of decodes and prompt chunks. Does not know who asked, nor
how a token is drawn from its logits.
Source: the layer structure of Llama 2 (arXiv 2307.09288) with GGUF's interleaved rotary pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from tokenyard.engine.model.attention import StepLayout, attend
from tokenyard.engine.model.checkpoints import DecoderShape, load_weight
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.kv_pool import KvPool
from tokenyard.engine.model.linear import Linear, WeightFormat, make_linear


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of one layer; products over the same input are one."""

    attention_norm: Tensor
    qkv: Linear
    attention_out: Linear
    inner_norm: Tensor
    gate_up: Linear
    down: Linear


class Decoder:
    """The weights of one model and the way through them. Use it from one thread at a time."""

    def __init__(self, file: GgufFile, shape: DecoderShape, kind: WeightFormat) -> None:
        self.shape = shape
        loader = _Loader(file, kind)
        table = torch.empty(shape.vocabulary, shape.width)
        load_weight(file, "token_embd.weight", table.numpy())
        self._embedding = file.open_rows("token_embd.weight")
        if "output.weight" in file.tensors:
            load_weight(file, "output.weight", table.numpy())
        self._head = make_linear(table, kind)
        del table
        self._final_norm = loader.vector("output_norm.weight", shape.width)
        self._layers = [
            _load_layer(f"blk.{number}", shape, loader) for number in range(shape.layers)
        ]
        factors = None
        if "rope_freqs.weight" in file.tensors:
            factors = loader.vector("rope_freqs.weight", shape.head_width // 2)
        self._turns = _rotations(shape, factors)

    def forward(self, tokens: Tensor, layout: StepLayout, pool: KvPool, wanted: Tensor) -> Tensor:
        """Compute a step. tokens: (rows,) ids. wanted: rows whose logits are asked for.

        Gives (wanted, vocabulary) float32.
        """
        shape = self.shape
        heads, kv_heads = shape.heads, shape.kv_heads
        hidden = torch.from_numpy(self._embedding.read(tokens.numpy()))
        rows = len(tokens)
        turn = self._turns[layout.positions].unsqueeze(1)
        norm_shape = (shape.width,)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(rms_norm(hidden, norm_shape, layer.attention_norm, shape.epsilon))
            pairs = qkv.view(rows, heads + 2 * kv_heads, shape.head_width // 2, 2)
            torch.view_as_complex(pairs[:, : heads + kv_heads]).mul_(turn)
            qkv = qkv.view(rows, heads + 2 * kv_heads, shape.head_width)
            pool.write(number, layout.slots, qkv[:, heads:])
            hidden += layer.attention_out(attend(layout, number, pool, qkv, heads))
            inner = layer.gate_up(rms_norm(hidden, norm_shape, layer.inner_norm, shape.epsilon))
            gate, up = inner[:, : shape.inner_width], inner[:, shape.inner_width :]
            hidden += layer.down(silu(gate).mul_(up))
        last = hidden.index_select(0, wanted)
        return self._head(rms_norm(last, norm_shape, self._final_norm, shape.epsilon))


class _Loader:
    """Reads weights through one scratch buffer, so that loading leaves no holes in the heap."""

    def __init__(self, file: GgufFile, kind: WeightFormat) -> None:
        self._file = file
        self._kind = kind
        self._scratch = torch.empty(0)

    def vector(self, name: str, size: int) -> Tensor:
        result = torch.empty(size)
        load_weight(self._file, name, result.numpy())
        return result

    def linear(self, width: int, *parts: tuple[str, int, float]) -> Linear:
        """One product over `width` inputs from parts of (name, outputs, scale), in order."""
        rows = sum(outputs for _, outputs, _ in parts)
        if self._scratch.numel() < rows * width:
            self._scratch = torch.empty(rows * width)
        weight = self._scratch[: rows * width].view(rows, width)
        first = 0
        for name, outputs, scale in parts:
            part = weight[first : first + outputs]
            load_weight(self._file, name, part.numpy())
            if scale != 1.0:
                part.mul_(scale)
            first += outputs
        return make_linear(weight, self._kind)


def _load_layer(start: str, shape: DecoderShape, loader: _Loader) -> _Layer:
    width, inner = shape.width, shape.inner_width
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    return _Layer(
        attention_norm=loader.vector(f"{start}.attn_norm.weight", width),
        qkv=loader.linear(
            width,
            # The attention's scale goes into the queries; for a head width of 64 it is exact.
            (f"{start}.attn_q.weight", queries, shape.head_width**-0.5),
            (f"{start}.attn_k.weight", keys, 1.0),
            (f"{start}.attn_v.weight", keys, 1.0),
        ),
        attention_out=loader.linear(queries, (f"{start}.attn_output.weight", width, 1.0)),
        inner_norm=loader.vector(f"{start}.ffn_norm.weight", width),
        gate_up=loader.linear(
            width,
            (f"{start}.ffn_gate.weight", inner, 1.0),
            (f"{start}.ffn_up.weight", inner, 1.0),
        ),
        down=loader.linear(inner, (f"{start}.ffn_down.weight", width, 1.0)),
    )


def _rotations(shape: DecoderShape, factors: Tensor | None) -> Tensor:
    """(context, head_width / 2) complex numbers of length 1, by position and pair.

    GGUF stores queries and keys of this architecture so that a pair is two neighbours, which makes
    a rotation one complex product.
    """
    exponents = torch.arange(0, shape.head_width, 2, dtype=torch.float64) / shape.head_width
    speeds = 1.0 / torch.pow(torch.tensor(shape.rope_base, dtype=torch.float64), exponents)
    if factors is not None:
        speeds = speeds / factors.double()
    positions = torch.arange(shape.context_tokens, dtype=torch.float64)
    angles = torch.outer(positions, speeds)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
