"""The least time that a step can take: bytes to move over bandwidth, products over peak speed.

A bound, not a forecast: kernels that are launched, sampled tokens and scheduling come on top.
Knows shapes and two figures of a device. Each part of a step counts as limited by the slower of
memory and arithmetic, and parts follow one another (the roofline model, Williams et al. 2009).
"""

from dataclasses import dataclass

from tokenyard.fleet.rules.capacity import Dtype, ModelShape, number_bytes, token_bytes


@dataclass(frozen=True, slots=True)
class Device:
    """What a device does at best, measured by a large copy and a large matrix product."""

    name: str
    bandwidth_bytes: float
    peak_flops: float

    @property
    def ridge(self) -> float:
        """Products per byte at which memory and arithmetic take equally long."""
        return self.peak_flops / self.bandwidth_bytes


# Copy and bf16 matrix product as measured on one, not the data sheet's figures.
H200 = Device("H200", 4.3e12, 790e12)
DEVICES = (H200,)


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """One token for each of `sequences`; the step is the sum of both parts."""

    sequences: int
    linear_seconds: float
    attention_seconds: float

    @property
    def seconds(self) -> float:
        return self.linear_seconds + self.attention_seconds

    @property
    def tokens_per_second(self) -> float:
        return self.sequences / self.seconds

    @property
    def tokens_per_second_each(self) -> float:
        return 1 / self.seconds


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prompt of `tokens`, read in one go."""

    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def decode(
    shape: ModelShape,
    device: Device,
    *,
    sequences: int,
    context_tokens: int,
    weights: Dtype = Dtype.BF16,
    kv: Dtype = Dtype.BF16,
) -> DecodeStep:
    """One decode step. The weights are read once for all sequences, the cache once for each."""
    cached = sequences * context_tokens
    linear = max(
        read_bytes(shape, weights) / device.bandwidth_bytes,
        2 * _multiplied(shape) * sequences / device.peak_flops,
    )
    attention = max(
        cached * token_bytes(shape, kv) / device.bandwidth_bytes,
        4 * cached * _attended(shape) / device.peak_flops,
    )
    return DecodeStep(sequences, linear, attention)


def prefill(
    shape: ModelShape,
    device: Device,
    *,
    tokens: int,
    weights: Dtype = Dtype.BF16,
    kv: Dtype = Dtype.BF16,
) -> Prefill:
    """One prompt, causal attention counted by half; only its last token passes the output layer."""
    products = 2 * shape.layer_parameters * tokens + 2 * shape.head_parameters
    products += 2 * _attended(shape) * tokens**2
    moved = read_bytes(shape, weights) + tokens * token_bytes(shape, kv)
    return Prefill(tokens, max(products / device.peak_flops, moved / device.bandwidth_bytes))


def read_bytes(shape: ModelShape, dtype: Dtype) -> int:
    """Bytes of the weights that a step reads: all but an embedding that is only looked up."""
    return _multiplied(shape) * number_bytes(dtype)


def _multiplied(shape: ModelShape) -> int:
    return shape.layer_parameters + shape.head_parameters


def _attended(shape: ModelShape) -> int:
    return shape.layers * shape.heads * shape.head_dim
