"""The decoder: tokens in, logits out, keys and values into the pool on the way.

RMS norms, rotary positions, grouped queries, SwiGLU, a head that may be tied to the embedding:
Llama; with biases Qwen 2; with norms of queries and keys Qwen 3; with more norms, GELU and windows
Gemma 3. One call serves any mix of decodes and prompt chunks. Does not know who asked, nor how a
token is drawn from its logits.
Source: Llama 2 (arXiv 2307.09288), Qwen2 (arXiv 2407.10671), Qwen3 (arXiv 2505.09388), Gemma 3
(arXiv 2503.19786).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from tokenyard.engine.model.adapters import Product, StepAdapters
from tokenyard.engine.model.attention import StepLayout, attend
from tokenyard.engine.model.checkpoints import Checkpoint, DecoderShape, load_weight
from tokenyard.engine.model.kv_pool import KvPool
from tokenyard.engine.model.linear import Linear, WeightFormat, make_linear
from tokenyard.engine.model.padding import PaddingDropper


@dataclass(frozen=True, slots=True)
class _Layer:
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


class Decoder:
    """The weights of one model and the way through them. Use it from one thread at a time."""

    def __init__(self, file: Checkpoint, shape: DecoderShape, kind: WeightFormat) -> None:
        self.shape = shape
        with PaddingDropper() as padding:
            self._load(file, kind, padding)

    def _load(self, file: Checkpoint, kind: WeightFormat, padding: PaddingDropper) -> None:
        shape = self.shape
        loader = _Loader(file, kind, padding)
        table = torch.empty(shape.vocabulary, shape.width)
        load_weight(file, "token_embd.weight", table.numpy())
        self._embedding = file.open_rows("token_embd.weight")
        if "output.weight" in file.tensors:
            load_weight(file, "output.weight", table.numpy())
        self._head = make_linear(table, kind, padding)
        del table
        self._epsilon = torch.tensor(shape.epsilon)
        self._final_norm = loader.vector("output_norm.weight", shape.width)
        self._layers = [_load_layer(number, shape, loader) for number in range(shape.layers)]
        factors = None
        if "rope_freqs.weight" in file.tensors:
            factors = loader.vector("rope_freqs.weight", shape.head_width // 2)
        self._turns = _rotations(shape, shape.rope_base, factors, shape.rope_divisor)
        self._windowed_turns = self._turns
        if shape.windowed_rope_base not in (0.0, shape.rope_base):
            self._windowed_turns = _rotations(shape, shape.windowed_rope_base, None, 1.0)

    def forward(
        self,
        tokens: Tensor,
        layout: StepLayout,
        pool: KvPool,
        adapters: StepAdapters | None = None,
    ) -> Tensor:
        """Compute a step. tokens: (rows,) ids. Gives (rows, width) float32, not normalised."""
        shape = self.shape
        heads, kv_heads = shape.heads, shape.kv_heads
        hidden = torch.from_numpy(self._embedding.read(tokens.numpy()))
        if shape.embedding_scale != 1.0:
            hidden *= shape.embedding_scale
        rows = len(tokens)
        turn = self._turns[layout.positions].unsqueeze(1)
        windowed_turn = turn
        if self._windowed_turns is not self._turns:
            windowed_turn = self._windowed_turns[layout.positions].unsqueeze(1)

        def product(number: int, kind: Product, linear: Linear, given: Tensor) -> Tensor:
            result = linear(given)
            if adapters is not None:
                adapters.add(number, kind, given, result)
            return result

        for number, layer in enumerate(self._layers):
            normal = _normalise(hidden, layer.attention_norm, self._epsilon)
            qkv = product(number, Product.QKV, layer.qkv, normal)
            qkv = qkv.view(rows, heads + 2 * kv_heads, shape.head_width)
            turned = qkv[:, : heads + kv_heads]
            if layer.query_key_norm is not None:
                normal = _normalise(turned, None, self._epsilon)
                torch.mul(normal, layer.query_key_norm, out=turned)
            pairs = torch.view_as_complex(turned.view(rows, -1, shape.head_width // 2, 2))
            pairs.mul_(windowed_turn if layer.windowed else turn)
            pool.write(number, layout.slots, qkv[:, heads:])
            view = layout.windowed if layer.windowed else layout.whole
            mixed = attend(view, number, pool, qkv, heads)
            change = product(number, Product.ATTENTION_OUT, layer.attention_out, mixed)
            if layer.attention_out_norm is not None:
                change = _normalise(change, layer.attention_out_norm, self._epsilon)
            hidden += change
            normal = _normalise(hidden, layer.inner_norm, self._epsilon)
            inner = product(number, Product.GATE_UP, layer.gate_up, normal)
            gate, up = inner[:, : shape.inner_width], inner[:, shape.inner_width :]
            opened = gelu(gate, approximate="tanh") if shape.gelu else silu(gate)
            change = product(number, Product.DOWN, layer.down, opened.mul_(up))
            if layer.down_norm is not None:
                change = _normalise(change, layer.down_norm, self._epsilon)
            hidden += change
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """The final norm of some rows that `forward` gave."""
        return _normalise(hidden, self._final_norm, self._epsilon)

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, vocabulary) float32 for some rows that `forward` gave."""
        return self._head(self.finish(hidden))


def _normalise(rows: Tensor, weight: Tensor | None, epsilon: Tensor) -> Tensor:
    """The root-mean-square norm over the last dimension, times `weight`.

    Four calls into torch, where its own norm makes ten: on few rows each call costs more than its
    arithmetic, and a step has two norms a layer. A row's result does not depend on the others.
    """
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    level = torch.addcmul(epsilon, length, length, value=1 / rows.shape[-1]).rsqrt_()
    result = torch.mul(rows, level)
    return result if weight is None else result.mul_(weight)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some outputs of a joined product: the tensor's name without its ending, and what to do."""

    name: str
    outputs: int
    scale: float = 1.0
    order: Tensor | None = None


class _Loader:
    """Reads weights through one scratch buffer, so that loading leaves no holes in the heap."""

    def __init__(self, file: Checkpoint, kind: WeightFormat, padding: PaddingDropper) -> None:
        self._file = file
        self._kind = kind
        self._padding = padding
        self._scratch = torch.empty(0)

    def vector(self, name: str, size: int) -> Tensor:
        result = torch.empty(size)
        load_weight(self._file, name, result.numpy())
        return result

    def linear(self, width: int, *parts: _Part, biased: bool = False) -> Linear:
        """One product over `width` inputs, with the outputs of all parts in order."""
        rows = sum(part.outputs for part in parts)
        if self._scratch.numel() < rows * width:
            self._scratch = torch.empty(rows * width)
        weight = self._scratch[: rows * width].view(rows, width)
        bias = torch.empty(rows) if biased else None
        first = 0
        for part in parts:
            place = slice(first, first + part.outputs)
            self._fill(f"{part.name}.weight", weight[place], part)
            if bias is not None:
                self._fill(f"{part.name}.bias", bias[place], part)
            first += part.outputs
        return make_linear(weight, self._kind, self._padding, bias)

    def _fill(self, name: str, result: Tensor, part: _Part) -> None:
        load_weight(self._file, name, result.numpy())
        if part.order is not None:
            result.copy_(result[part.order])
        if part.scale != 1.0:
            result.mul_(part.scale)


def _load_layer(number: int, shape: DecoderShape, loader: _Loader) -> _Layer:
    start, width, inner = f"blk.{number}", shape.width, shape.inner_width

    def post_norm(name: str) -> Tensor | None:
        return loader.vector(f"{start}.{name}.weight", width) if shape.post_norms else None

    # Attention's scale goes into the queries' weights; for a head width of 64 it is exact.
    scale = shape.score_scale
    norm = None
    if shape.query_key_norms:
        norm = _load_query_key_norm(start, shape, loader, scale)
        scale = 1.0
    return _Layer(
        attention_norm=loader.vector(f"{start}.attn_norm.weight", width),
        qkv=loader.linear(
            width,
            _Part(
                f"{start}.attn_q", shape.heads * shape.head_width, scale, _order(shape, shape.heads)
            ),
            _Part(
                f"{start}.attn_k",
                shape.kv_heads * shape.head_width,
                order=_order(shape, shape.kv_heads),
            ),
            _Part(f"{start}.attn_v", shape.kv_heads * shape.head_width),
            biased=shape.qkv_bias,
        ),
        query_key_norm=norm,
        attention_out=loader.linear(
            shape.heads * shape.head_width, _Part(f"{start}.attn_output", width)
        ),
        attention_out_norm=post_norm("post_attention_norm"),
        inner_norm=loader.vector(f"{start}.ffn_norm.weight", width),
        gate_up=loader.linear(
            width, _Part(f"{start}.ffn_gate", inner), _Part(f"{start}.ffn_up", inner)
        ),
        down=loader.linear(inner, _Part(f"{start}.ffn_down", width)),
        down_norm=post_norm("post_ffw_norm"),
        windowed=bool(shape.windowed) and shape.windowed[number],
    )


def _load_query_key_norm(start: str, shape: DecoderShape, loader: _Loader, scale: float) -> Tensor:
    """The two norms as one, a row for each head; the queries' take over attention's scale."""
    query = loader.vector(f"{start}.attn_q_norm.weight", shape.head_width) * scale
    key = loader.vector(f"{start}.attn_k_norm.weight", shape.head_width)
    norm = torch.stack([query] * shape.heads + [key] * shape.kv_heads)
    order = _order(shape, 1)
    return norm if order is None else norm[:, order]


def _order(shape: DecoderShape, heads: int) -> Tensor | None:
    """Rows of queries or keys such that what a rotation turns are neighbours; None: they are.

    The same order for queries and keys leaves their products as they were.
    """
    if shape.neighbours:
        return None
    rows = torch.arange(heads * shape.head_width).view(heads, 2, shape.head_width // 2)
    return rows.transpose(1, 2).flatten()


def _rotations(shape: DecoderShape, base: float, factors: Tensor | None, divisor: float) -> Tensor:
    """(context, head_width / 2) complex numbers of length 1, by position and pair.

    GGUF stores queries and keys of this architecture so that a pair is two neighbours, which makes
    a rotation one complex product.
    """
    exponents = torch.arange(0, shape.head_width, 2, dtype=torch.float64) / shape.head_width
    speeds = 1.0 / torch.pow(torch.tensor(base, dtype=torch.float64), exponents) / divisor
    if factors is not None:
        speeds = speeds / factors.double()
    positions = torch.arange(shape.context_tokens, dtype=torch.float64)
    angles = torch.outer(positions, speeds)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
