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

from tokenyard.engine.model.adapters import Product, StepAdapters
from tokenyard.engine.model.checkpoints import Checkpoint, DecoderShape, load_grid, load_weight
from tokenyard.engine.model.linear import Linear, LinearMaker
from tokenyard.engine.model.operations import Layer, StepOperations, Turns, normalise
from tokenyard.engine.model.quantisation import Grid


class Decoder:
    """The weights of one model and the way through them. Use it from one thread at a time."""

    def __init__(self, file: Checkpoint, shape: DecoderShape, maker: LinearMaker) -> None:
        self.shape = shape
        loader = _Loader(file, maker)
        self._embedding = file.open_rows("token_embd.weight")
        head = "output" if "output.weight" in file.tensors else "token_embd"
        self.head = loader.linear(shape.width, _Part(head, shape.vocabulary))
        loader.drop_scratch()
        self._epsilon = torch.tensor(shape.epsilon)
        self._final_norm = loader.vector("output_norm.weight", shape.width)
        self.layers = [_load_layer(number, shape, loader) for number in range(shape.layers)]
        factors = None
        if "rope_freqs.weight" in file.tensors:
            factors = loader.vector("rope_freqs.weight", shape.head_width // 2)
        whole = windowed = _rotations(shape, shape.rope_base, factors, shape.rope_divisor)
        if shape.windowed_rope_base not in (0.0, shape.rope_base):
            windowed = _rotations(shape, shape.windowed_rope_base, None, 1.0)
        self.turns = Turns(whole, windowed)

    def forward(
        self, tokens: Tensor, step: StepOperations, adapters: StepAdapters | None = None
    ) -> Tensor:
        """Compute a step. tokens: (rows,) ids. Gives (rows, width) float32, not normalised."""
        shape = self.shape
        hidden = torch.from_numpy(self._embedding.read(tokens.numpy()))
        if shape.embedding_scale != 1.0:
            hidden *= shape.embedding_scale
        if adapters is None and step.run_layers(hidden):
            return hidden
        change: Tensor | None = None

        def product(number: int, kind: Product, linear: Linear, given: Tensor) -> Tensor:
            result = linear(given)
            if adapters is not None:
                adapters.add(number, kind, given, result)
            return result

        for number, layer in enumerate(self.layers):
            normal = step.add_norm(hidden, change, layer.attention_norm)
            qkv = product(number, Product.QKV, layer.qkv, normal)
            qkv = qkv.view(len(tokens), shape.heads + 2 * shape.kv_heads, shape.head_width)
            step.turn_and_store(number, qkv, layer.query_key_norm, windowed=layer.windowed)
            mixed = step.attend(number, qkv, windowed=layer.windowed)
            change = product(number, Product.ATTENTION_OUT, layer.attention_out, mixed)
            if layer.attention_out_norm is not None:
                change = step.add_norm(change, None, layer.attention_out_norm)
            normal = step.add_norm(hidden, change, layer.inner_norm)
            opened = step.gate(product(number, Product.GATE_UP, layer.gate_up, normal))
            change = product(number, Product.DOWN, layer.down, opened)
            if layer.down_norm is not None:
                change = step.add_norm(change, None, layer.down_norm)
        return hidden if change is None else hidden.add_(change)

    def finish(self, hidden: Tensor) -> Tensor:
        """The final norm of some rows that `forward` gave."""
        return normalise(hidden, self._final_norm, self._epsilon)

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, vocabulary) float32 for some rows that `forward` gave."""
        return self.head(self.finish(hidden))


@dataclass(frozen=True, slots=True)
class _Part:
    """Some outputs of a joined product: the tensor's name without its ending, and what to do."""

    name: str
    outputs: int
    scale: float = 1.0
    order: Tensor | None = None


class _Loader:
    """Reads weights through one scratch buffer, so that loading leaves no holes in the heap."""

    def __init__(self, file: Checkpoint, maker: LinearMaker) -> None:
        self._file = file
        self._maker = maker
        self._scratch = torch.empty(0)

    def vector(self, name: str, size: int) -> Tensor:
        result = torch.empty(size)
        load_weight(self._file, name, result.numpy())
        return result

    def linear(self, width: int, *parts: _Part, biased: bool = False) -> Linear:
        """One product over `width` inputs, with the outputs of all parts in order."""
        bias = None
        if biased:
            bias = torch.cat([self._bias(part) for part in parts])
        if self._maker.takes_grids(width):
            grids = [self._grid(part, width) for part in parts]
            found = [grid for grid in grids if grid is not None]
            if len(found) == len(parts):
                return self._maker.make_from_grids(found, bias)
        rows = sum(part.outputs for part in parts)
        if self._scratch.numel() < rows * width:
            self._scratch = torch.empty(rows * width)
        weight = self._scratch[: rows * width].view(rows, width)
        first = 0
        for part in parts:
            self._fill(f"{part.name}.weight", weight[first : first + part.outputs], part)
            first += part.outputs
        return self._maker.make(weight, bias)

    def drop_scratch(self) -> None:
        """Give the buffer back, after a matrix that is much larger than those to come."""
        self._scratch = torch.empty(0)

    def _bias(self, part: _Part) -> Tensor:
        bias = torch.empty(part.outputs)
        self._fill(f"{part.name}.bias", bias, part)
        return bias

    def _grid(self, part: _Part, width: int) -> Grid | None:
        grid = load_grid(self._file, f"{part.name}.weight", part.outputs, width)
        if grid is None:
            return None
        quants, scales, minimums = grid.quants, grid.scales, grid.minimums
        if part.order is not None:
            order = part.order.numpy()
            quants, scales, minimums = quants[order], scales[order], minimums[order]
        return Grid(grid.bits, quants, scales * part.scale, minimums * part.scale)

    def _fill(self, name: str, result: Tensor, part: _Part) -> None:
        load_weight(self._file, name, result.numpy())
        if part.order is not None:
            result.copy_(result[part.order])
        if part.scale != 1.0:
            result.mul_(part.scale)


def _load_layer(number: int, shape: DecoderShape, loader: _Loader) -> Layer:
    start, width, inner = f"blk.{number}", shape.width, shape.inner_width

    def post_norm(name: str) -> Tensor | None:
        return loader.vector(f"{start}.{name}.weight", width) if shape.post_norms else None

    # Attention's scale goes into the queries' weights; for a head width of 64 it is exact.
    scale = shape.score_scale
    norm = None
    if shape.query_key_norms:
        norm = _load_query_key_norm(start, shape, loader, scale)
        scale = 1.0
    return Layer(
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
