"""The bounds of one H200 are those that a sheet worked out by hand gives, to its last digit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.fleet.rules.capacity import Dtype, ModelShape, token_bytes
from tokenyard.fleet.rules.roofline import H200, Device, decode, prefill, read_bytes
from tokenyard.fleet.rules.shapes import KNOWN_SHAPES, find_shape

# Decode at a context of 1,024: sequences, ms of linear layers, of attention, of both, tokens a
# second for each and for all.
DECODE = {
    "Qwen3-0.6B": [
        (1, "0.277", "0.027", "0.305", "3284", "3,284"),
        (8, "0.277", "0.218", "0.496", "2017", "16,139"),
        (32, "0.277", "0.874", "1.151", "869", "27,798"),
        (64, "0.277", "1.748", "2.025", "494", "31,603"),
        (128, "0.277", "3.496", "3.773", "265", "33,924"),
        (256, "0.386", "6.992", "7.378", "136", "34,697"),
    ],
    "Qwen3-8B": [
        (1, "3.520", "0.035", "3.555", "281", "281"),
        (8, "3.520", "0.281", "3.801", "263", "2,105"),
        (32, "3.520", "1.124", "4.644", "215", "6,891"),
        (64, "3.520", "2.247", "5.767", "173", "11,097"),
        (128, "3.520", "4.495", "8.015", "125", "15,970"),
        (256, "4.905", "8.989", "13.894", "72", "18,425"),
    ],
    "Llama-3.1-8B": [
        (1, "3.491", "0.031", "3.522", "284", "284"),
        (8, "3.491", "0.250", "3.740", "267", "2,139"),
        (32, "3.491", "0.999", "4.489", "223", "7,128"),
        (64, "3.491", "1.998", "5.488", "182", "11,661"),
        (128, "3.491", "3.995", "7.486", "134", "17,099"),
        (256, "4.864", "7.991", "12.854", "78", "19,915"),
    ],
    "Qwen3-14B": [
        (1, "6.507", "0.039", "6.546", "153", "153"),
        (32, "6.507", "1.249", "7.755", "129", "4,126"),
        (256, "9.067", "9.988", "19.055", "52", "13,435"),
    ],
    "SmolLM2-135M": [
        (1, "0.063", "0.005", "0.068", "14698", "14,698"),
        (32, "0.063", "0.176", "0.238", "4199", "134,384"),
        (256, "0.087", "1.405", "1.492", "670", "171,609"),
    ],
    "SmolLM2-360M": [
        (1, "0.168", "0.010", "0.178", "5618", "5,618"),
        (32, "0.168", "0.312", "0.480", "2082", "66,612"),
        (256, "0.234", "2.497", "2.732", "366", "93,720"),
    ],
    "Llama-3.2-1B": [
        (1, "0.575", "0.008", "0.583", "1717", "1,717"),
        (32, "0.575", "0.250", "0.824", "1213", "38,813"),
        (256, "0.801", "1.998", "2.799", "357", "91,476"),
    ],
}
# Prompts: tokens, ms, tokens a second.
PREFILL = {
    "Qwen3-0.6B": [
        (128, "0.28", "456,139"), (1024, "1.29", "791,149"),
        (8192, "18.88", "433,979"), (32768, "192.41", "170,299"),
    ],
    "Qwen3-8B": [
        (128, "3.52", "36,318"), (1024, "18.40", "55,654"),
        (8192, "169.10", "48,444"), (32768, "977.04", "33,538"),
    ],
    "Llama-3.1-8B": [
        (128, "3.49", "36,630"), (1024, "18.44", "55,524"),
        (8192, "167.02", "49,049"), (32768, "935.28", "35,035"),
    ],
    "Qwen3-14B": [(1024, "34.80", "29,428"), (32768, "1652.75", "19,826")],
    "SmolLM2-135M": [(128, "0.06", "2,024,208"), (8192, "5.14", "1,594,481")],
    "SmolLM2-360M": [(1024, "0.90", "1,141,367"), (32768, "109.60", "298,969")],
    "Llama-3.2-1B": [(128, "0.58", "222,322"), (8192, "25.75", "318,152")],
}  # fmt: skip
# Parameters and bytes of the weights that a step reads, in billions; KiB a token in the cache; the
# context at which both are equal.
SIZES = {
    "Qwen3-0.6B": ("0.596", "1.192", "112", "10,393"),
    "Qwen3-8B": ("8.190", "15.136", "144", "102,649"),
    "Llama-3.1-8B": ("8.030", "15.009", "128", "114,512"),
    "Qwen3-14B": ("14.768", "27.980", "160", "170,776"),
    "SmolLM2-135M": ("0.134", "0.269", "22.5", "11,674"),
    "SmolLM2-360M": ("0.362", "0.724", "40", "17,664"),
    "Llama-3.2-1B": ("1.236", "2.471", "32", "75,424"),
}


@pytest.mark.parametrize("name", DECODE)
def test_decode_steps(name: str) -> None:
    for row in DECODE[name]:
        step = decode(find_shape(name), H200, sequences=row[0], context_tokens=1024)
        assert row == (
            step.sequences,
            f"{step.linear_seconds * 1e3:.3f}",
            f"{step.attention_seconds * 1e3:.3f}",
            f"{step.seconds * 1e3:.3f}",
            f"{step.tokens_per_second_each:.0f}",
            f"{step.tokens_per_second:,.0f}",
        )


@pytest.mark.parametrize("name", PREFILL)
def test_prefill(name: str) -> None:
    for row in PREFILL[name]:
        done = prefill(find_shape(name), H200, tokens=row[0])
        assert row == (
            done.tokens,
            f"{done.seconds * 1e3:.2f}",
            f"{done.tokens_per_second:,.0f}",
        )


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    shape = find_shape(name)
    read, token = read_bytes(shape, Dtype.BF16), token_bytes(shape, Dtype.BF16)
    assert SIZES[name] == (
        f"{shape.parameters / 1e9:.3f}",
        f"{read / 1e9:.3f}",
        f"{token / 1024:g}",
        f"{read / token:,.0f}",
    )


def test_the_ridge() -> None:
    assert f"{H200.ridge:.1f}" == "183.7"


@given(
    shape=st.sampled_from(KNOWN_SHAPES),
    sequences=st.integers(1, 4096),
    context=st.integers(1, 131_072),
    faster=st.floats(1.0, 10.0),
)
def test_more_work_never_takes_less_time_and_a_faster_device_never_more(
    shape: ModelShape, sequences: int, context: int, faster: float
) -> None:
    step = decode(shape, H200, sequences=sequences, context_tokens=context)
    more = decode(shape, H200, sequences=sequences + 1, context_tokens=context)
    longer = decode(shape, H200, sequences=sequences, context_tokens=context + 1)
    quick = Device("quick", H200.bandwidth_bytes * faster, H200.peak_flops * faster)
    assert step.seconds <= more.seconds
    assert step.seconds <= longer.seconds
    assert decode(shape, quick, sequences=sequences, context_tokens=context).seconds <= step.seconds
    assert more.tokens_per_second_each <= step.tokens_per_second_each
