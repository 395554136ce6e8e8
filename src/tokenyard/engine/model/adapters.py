"""LoRA adapters beside one model: several at once, each row of a step with its own or with none.

The small matrices of all adapters stand side by side, so each product of a layer gets two thin ones
more, whatever the number of sequences: the first gives numbers for every adapter, a mask keeps
those of the row's own, the second brings them back to the layer's width. Decides how PEFT's files
become these matrices. Does not know names of models or requests.
Source: LoRA (arXiv 2106.09685); `adapter_config.json` and tensor names of the PEFT library.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokenyard.engine.model import quantisation
from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.gguf import TensorEntry
from tokenyard.engine.model.safetensors import read_header, read_json
from tokenyard.vocabulary.errors import StartError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_NAME = re.compile(
    r"base_model\.model\.model\.layers\.(?P<layer>\d+)\.(?:self_attn|mlp)\."
    r"(?P<part>[a-z]+_proj)\.lora_(?P<side>[AB])\.weight"
)
# What would change the model in ways that two thin products cannot.
_UNKNOWN: dict[str, tuple[Any, ...]] = {
    "use_dora": (False,),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "modules_to_save": ([],),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "lora_bias": (False,),
}


class Product(Enum):
    """The products of a layer that adapters change, with the parts that each one joins."""

    QKV = ("q_proj", "k_proj", "v_proj")
    ATTENTION_OUT = ("o_proj",)
    GATE_UP = ("gate_proj", "up_proj")
    DOWN = ("down_proj",)


@dataclass(frozen=True, slots=True)
class Pair:
    """down: (columns, inputs). up: (outputs, columns), scaled already."""

    down: Tensor
    up: Tensor


Layers = tuple[Mapping[Product, Pair], ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter's matrices by layer; a product it does not change has none."""

    rank: int
    layers: Layers


class AdapterBank:
    """All adapters that are loaded, by number; 0 stands for none. Never changes once made."""

    def __init__(self, shape: DecoderShape, adapters: Mapping[int, Adapter]) -> None:
        self._shape = shape
        self._adapters = dict(adapters)
        self._layers = tuple(
            {kind: self._join(layer, kind) for kind in Product} for layer in range(shape.layers)
        )
        self._owners = {
            kind: torch.tensor(
                [
                    number
                    for number, one in self._adapters.items()
                    for _ in range(one.rank * len(kind.value))
                ]
            )
            for kind in Product
        }

    def having(self, number: int, adapter: Adapter) -> "AdapterBank":
        """A bank with one more."""
        return AdapterBank(self._shape, {**self._adapters, number: adapter})

    def without(self, number: int) -> "AdapterBank":
        """A bank with one fewer."""
        left = {key: one for key, one in self._adapters.items() if key != number}
        return AdapterBank(self._shape, left)

    def chosen(self, numbers: Sequence[int]) -> "StepAdapters":
        """For a step whose rows have these adapters."""
        rows = torch.tensor(numbers).unsqueeze(1)
        masks = {kind: (rows == owners).float() for kind, owners in self._owners.items()}
        return StepAdapters(self._layers, masks)

    def _join(self, layer: int, kind: Product) -> Pair | None:
        """The pairs of all adapters side by side; zeros for one that leaves this product alone."""
        inputs, outputs = _sizes(self._shape, kind)
        pairs = []
        for one in self._adapters.values():
            columns = one.rank * len(kind.value)
            nothing = Pair(torch.zeros(columns, inputs), torch.zeros(sum(outputs), columns))
            pairs.append(one.layers[layer].get(kind, nothing))
        if not any(kind in one.layers[layer] for one in self._adapters.values()):
            return None
        return Pair(
            torch.cat([one.down for one in pairs]), torch.cat([one.up for one in pairs], dim=1)
        )


@dataclass(frozen=True, slots=True)
class StepAdapters:
    """A step's view of a bank. masks: (rows, columns), 1 where a column is the row's own."""

    layers: tuple[Mapping[Product, Pair | None], ...]
    masks: Mapping[Product, Tensor]

    def add(self, layer: int, kind: Product, rows: Tensor, result: Tensor) -> None:
        """Add what the adapters make of (rows, inputs) to (rows, outputs), in place."""
        pair = self.layers[layer][kind]
        if pair is not None:
            result.addmm_((rows @ pair.down.T).mul_(self.masks[kind]), pair.up.T)


def read_adapter(folder: Path, shape: DecoderShape, *, rank_max: int) -> Adapter:
    """A folder as PEFT writes it. Raises StartError when it is not whole or not for this model."""
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise StartError(
            f"{folder} holds an adapter of type {config.get('peft_type')!r}; not LORA."
        )
    for name, usual in _UNKNOWN.items():
        if config.get(name) and config[name] not in usual:
            raise StartError(f"{folder} has {name} = {config[name]!r}, which we do not do.")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or not 1 <= rank <= rank_max:
        raise StartError(
            f"{folder}: r = {rank!r} with lora_alpha = {alpha!r}; r is at most {rank_max}."
        )
    scale = float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)
    file = folder / WEIGHTS
    sides: dict[tuple[int, str], dict[str, TensorEntry]] = {}
    for entry in read_header(file):
        match = _NAME.fullmatch(entry.name)
        if match is None or int(match["layer"]) >= shape.layers:
            raise StartError(f"{file} has a tensor {entry.name!r}, which is not for this model.")
        sides.setdefault((int(match["layer"]), match["part"]), {})[match["side"]] = entry
    reader = _Reader(file, shape, rank, scale, sides)
    layers = tuple(
        {kind: pair for kind in Product if (pair := reader.read_pair(layer, kind)) is not None}
        for layer in range(shape.layers)
    )
    if not any(layers):
        raise StartError(f"{file} changes nothing.")
    return Adapter(rank, layers)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One adapter's file. sides: its matrices by layer and part."""

    file: Path
    shape: DecoderShape
    rank: int
    scale: float
    sides: Mapping[tuple[int, str], Mapping[str, TensorEntry]]

    def read_pair(self, layer: int, kind: Product) -> Pair | None:
        """The parts of a product as one: each has columns of its own, for its outputs only."""
        inputs, outputs = _sizes(self.shape, kind)
        down = torch.zeros(self.rank * len(kind.value), inputs)
        up = torch.zeros(sum(outputs), self.rank * len(kind.value))
        found, first = False, 0
        for place, (part, size) in enumerate(zip(kind.value, outputs, strict=True)):
            both = self.sides.get((layer, part))
            if both is not None:
                found = True
                columns = slice(self.rank * place, self.rank * (place + 1))
                down[columns] = _read(self.file, both.get("A"), (self.rank, inputs), part)
                up[first : first + size, columns] = self._read_up(both.get("B"), size, part)
            first += size
        return Pair(down, up) if found else None

    def _read_up(self, entry: TensorEntry | None, size: int, part: str) -> Tensor:
        rows = _read(self.file, entry, (size, self.rank), part) * self.scale
        if part in ("q_proj", "k_proj"):
            rows = rows[_neighbours(size, self.shape.head_width)]
        if part == "q_proj" and not self.shape.query_key_norms:
            # The queries' weights have taken over attention's scale.
            rows = rows * self.shape.score_scale
        return rows


def _sizes(shape: DecoderShape, kind: Product) -> tuple[int, tuple[int, ...]]:
    """Inputs of a product, and outputs of its parts."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    match kind:
        case Product.QKV:
            return shape.width, (queries, keys, keys)
        case Product.ATTENTION_OUT:
            return queries, (shape.width,)
        case Product.GATE_UP:
            return shape.width, (shape.inner_width, shape.inner_width)
        case Product.DOWN:
            return shape.inner_width, (shape.width,)


def _neighbours(size: int, head_width: int) -> Tensor:
    """Hugging Face's rows of queries or keys in the order in which the decoder keeps them."""
    rows = torch.arange(size).view(-1, 2, head_width // 2)
    return rows.transpose(1, 2).flatten()


def _read(file: Path, entry: TensorEntry | None, shape: tuple[int, int], part: str) -> Tensor:
    if entry is None or entry.shape != shape:
        told = None if entry is None else entry.shape
        raise StartError(f"{file}: {part} has a matrix of shape {told}; expected {shape}.")
    raw = np.fromfile(file, np.uint8, entry.size_bytes, offset=entry.offset)
    if len(raw) != entry.size_bytes:
        raise StartError(f"{file} ends in the middle of tensor {entry.name!r}.")
    result = np.empty(shape, dtype=np.float32)
    quantisation.dequantise(raw, entry.kind, result.reshape(-1))
    return torch.from_numpy(result)
