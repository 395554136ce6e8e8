"""`tokenyard models fit`: the arithmetic of memory and speed for one model on one device."""

import re
from dataclasses import dataclass
from pathlib import Path

from tokenyard.cli.checkpoints import MODELS_FOLDER
from tokenyard.engine.catalogue import GGUF_SUFFIX, KNOWN_MODELS, find_file
from tokenyard.engine.header import read_header
from tokenyard.fleet.rules.capacity import Capacity, Dtype, ModelShape, describe, fit
from tokenyard.fleet.rules.roofline import H200, Device, decode, prefill
from tokenyard.fleet.rules.shapes import VOCABULARY_KEY, find_shape, parse_shape, shape_of_header
from tokenyard.vocabulary.errors import StartError

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BINARY_UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}
_BYTES = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*((?:[KMGT]i?)?)B?")
_GIBIBYTE = 1024**3
_SEQUENCES = (1, 32, 256)


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, as it was typed."""

    name: str | None
    shape: str | None
    memory: str
    context: int
    dtype: str
    kv_dtype: str
    overhead: str
    bandwidth: str | None
    peak: float | None


def describe_fit(asked: Question, home: Path) -> str:
    """The answer in a few lines; raises an error of ours that names the option at fault."""
    shape = _find_shape(asked, home)
    weights, kv = Dtype(asked.dtype), Dtype(asked.kv_dtype)
    capacity = fit(
        shape,
        read_bytes(asked.memory, "--memory"),
        weights=weights,
        kv=kv,
        overhead_bytes=read_bytes(asked.overhead, "--overhead"),
    )
    lines = [
        f"{shape.name}: {shape.parameters / 1e9:.3f} billion parameters, weights "
        f"{capacity.weights_bytes / _GIBIBYTE:.2f} GiB in {weights}, "
        f"{capacity.token_bytes / 1024:g} KiB a token in the KV cache",
        describe(capacity, asked.context) if capacity.blocks else _does_not_fit(capacity, asked),
    ]
    device = _find_device(asked)
    lines.append(
        f"At best, {device.bandwidth_bytes / 1e12:g} TB/s and {device.peak_flops / 1e12:g} TFLOP/s "
        f"({device.name}):"
    )
    lines += _speeds(shape, device, capacity, asked)
    return "\n".join(lines)


def read_bytes(text: str, option: str) -> int:
    """A size: GB is a billion bytes, GiB is 1024 MiB; raises StartError naming the option."""
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise StartError(f"{option}: {text!r} is not a size such as 141GB or 80GiB.")
    unit = {**_UNITS, **_BINARY_UNITS}[match[2]]
    return int(float(match[1]) * unit)


def _find_shape(asked: Question, home: Path) -> ModelShape:
    if (asked.name is None) == (asked.shape is None):
        raise StartError("Give either a name or --shape.")
    if asked.shape is not None:
        return parse_shape(asked.shape)
    name = asked.name or ""
    if not name.endswith(GGUF_SUFFIX) and name not in {model.name for model in KNOWN_MODELS}:
        return find_shape(name)
    file = find_file(name, home / MODELS_FOLDER)
    header = read_header(file.path)
    vocabulary = header.lengths.get(VOCABULARY_KEY, 0)
    return shape_of_header(file.name, header.metadata, header.tensors, vocabulary)


def _find_device(asked: Question) -> Device:
    if asked.bandwidth is None and asked.peak is None:
        return H200
    if asked.bandwidth is None or asked.peak is None:
        raise StartError("--bandwidth and --peak go together.")
    return Device("as given", read_bytes(asked.bandwidth, "--bandwidth"), asked.peak * 1e12)


def _does_not_fit(capacity: Capacity, asked: Question) -> str:
    needed = capacity.weights_bytes / _GIBIBYTE
    return (
        f"KV cache: none, it does not fit into {asked.memory}: the weights take {needed:.2f} GiB, "
        f"and {asked.overhead} are kept for the rest"
    )


def _speeds(shape: ModelShape, device: Device, capacity: Capacity, asked: Question) -> list[str]:
    weights, kv = Dtype(asked.dtype), Dtype(asked.kv_dtype)
    lines = []
    for sequences in _SEQUENCES:
        step = decode(
            shape, device, sequences=sequences, context_tokens=asked.context, weights=weights, kv=kv
        )
        room = "" if sequences <= capacity.sequences(asked.context) else "  (more than fit)"
        lines.append(
            f"  decode, {sequences:3} x {asked.context:,} tokens: {step.seconds * 1e3:.3f} ms a "
            f"step, {step.tokens_per_second:,.0f} tokens/s, {step.tokens_per_second_each:,.0f} "
            f"each{room}"
        )
    first = prefill(shape, device, tokens=asked.context, weights=weights, kv=kv)
    lines.append(
        f"  prefill of {asked.context:,} tokens: {first.seconds * 1e3:.2f} ms, "
        f"{first.tokens_per_second:,.0f} tokens/s"
    )
    return lines
