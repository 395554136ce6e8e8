"""The compiled kernels against plain arithmetic and against torch, in each build that runs here."""

import random
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from support import tiny_model
from support.greedy import continue_greedily
from support.kernels import NEEDS_KERNELS
from tokenyard.engine.model.attention import Span
from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.compiled import CompiledOperations
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.grid_linear import GridLinear, Scratch
from tokenyard.engine.model.kernels import (
    Instructions,
    Kernels,
    Library,
    choose_library,
    fitting,
    open_library,
)
from tokenyard.engine.model.kv_pool import KvFormat, KvPool
from tokenyard.engine.model.linear import WeightFormat
from tokenyard.engine.model.operations import TorchStep, Turns
from tokenyard.engine.model.quantisation import Grid
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.rules.batching import BatchLimits, Chunk, Sequence
from tokenyard.vocabulary.errors import StartError

pytestmark = NEEDS_KERNELS
BLOCK = 16
SHAPE = DecoderShape(
    layers=2,
    width=96,
    heads=6,
    kv_heads=2,
    head_width=48,
    inner_width=112,
    vocabulary=32,
    context_tokens=512,
    rope_base=10_000.0,
    epsilon=1e-5,
    window=40,
    windowed=(True, False),
)


@pytest.fixture(scope="module", params=fitting())
def library(request: pytest.FixtureRequest) -> Library:
    instructions: Instructions = request.param
    return open_library(instructions)


def draw_grid(
    chance: np.random.Generator, outputs: int, inputs: int, bits: int, group: int
) -> Grid:
    groups = (outputs, inputs // group)
    return Grid(
        bits,
        chance.integers(0, 2**bits, (outputs, inputs), dtype=np.uint8),
        chance.uniform(0.001, 0.1, groups).astype(np.float32),
        chance.uniform(-0.1, 0.01, groups).astype(np.float32),
    )


def weights_of(grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    numbers = grid.quants.astype(np.float64).reshape(*grid.scales.shape, grid.group)
    scaled = numbers * grid.scales[..., None] + grid.minimums[..., None]
    return scaled.reshape(grid.quants.shape)


def allowed(rows: Tensor, grid: Grid) -> Tensor:
    """How far results may be off: a number is rounded by at most half a step of its group."""
    steps = rows.view(len(rows), -1, grid.group).abs().amax(-1).double() / 8128
    sizes = torch.from_numpy(weights_of(grid)).abs().view(*grid.scales.shape, grid.group).sum(-1)
    return steps / 2 @ sizes.T + 1e-3


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 32), (8, 16)])
@pytest.mark.parametrize("outputs", [5, 16, 200])
@pytest.mark.parametrize("rows", [1, 3, 8, 79])
def test_a_product_is_exact_but_for_the_rounding_of_rows(
    library: Library, bits: int, group: int, outputs: int, rows: int
) -> None:
    chance = np.random.default_rng(rows)
    grid = draw_grid(chance, outputs, 96, bits, group)
    bias = torch.randn(outputs)
    given = torch.from_numpy(chance.standard_normal((rows, 96)).astype(np.float32))
    # Rows and groups of different sizes have scales of their own.
    given[:, :32] *= 1000
    given[0, 64:] = 0
    product = GridLinear(library, 2, Scratch(), [grid], bias)
    weights = torch.from_numpy(weights_of(grid))
    expected = given.double() @ weights.T + bias.double()
    difference = (product(given).double() - expected).abs()
    assert (difference <= allowed(given, grid) + 1e-5 * expected.abs()).all()


def test_parts_of_several_forms_stand_side_by_side(library: Library) -> None:
    chance = np.random.default_rng(1)
    forms = [(7, 4, 32), (16, 4, 32), (3, 8, 16), (20, 8, 32)]
    grids = [draw_grid(chance, outputs, 64, bits, group) for outputs, bits, group in forms]
    bias, rows = torch.randn(46), torch.randn(9, 64)
    product = GridLinear(library, 1, Scratch(), grids, bias)
    weights = torch.from_numpy(np.concatenate([weights_of(grid) for grid in grids]))
    expected = rows.double() @ weights.T + bias
    limits = torch.cat([allowed(rows, grid) for grid in grids], dim=1)
    assert ((product(rows).double() - expected).abs() <= limits).all()


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 32), (8, 16)])
def test_the_largest_numbers_do_not_overflow(library: Library, bits: int, group: int) -> None:
    numbers = np.full((16, 64), 2**bits - 1, np.uint8)
    ones = np.ones((16, 64 // group), np.float32)
    product = GridLinear(library, 1, Scratch(), [Grid(bits, numbers, ones, -ones)], None)
    for sign in (1.0, -1.0):
        rows = torch.full((3, 64), sign)
        assert torch.allclose(product(rows), torch.full((3, 16), sign * 64 * (2**bits - 2)))


def test_a_row_is_the_same_alone_and_in_a_crowd_on_any_number_of_threads(library: Library) -> None:
    chance = np.random.default_rng(2)
    grid = draw_grid(chance, 300, 128, 4, 32)
    rows = torch.randn(150, 128)
    crowd = GridLinear(library, 1, Scratch(), [grid], None)(rows)
    several = GridLinear(library, 3, Scratch(), [grid], None)
    assert torch.equal(several(rows), crowd)
    for row in (0, 77, 149):
        assert torch.equal(several(rows[row : row + 1])[0], crowd[row])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_spoils_its_own_row_alone(library: Library, bad: float) -> None:
    grid = draw_grid(np.random.default_rng(3), 32, 64, 4, 32)
    product = GridLinear(library, 1, Scratch(), [grid], None)
    rows = torch.randn(12, 64)
    sound = product(rows)
    rows[5, 40] = bad
    spoilt = product(rows)
    assert spoilt[5].isnan().all()
    others = [row for row in range(12) if row != 5]
    assert torch.equal(spoilt[others], sound[others])


def make_turns(seed: int) -> Tensor:
    angles = torch.rand(SHAPE.context_tokens, SHAPE.head_width // 2, generator=chance(seed)) * 6
    return torch.polar(torch.ones_like(angles), angles)


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Pair:
    """A step by torch and the same by the kernels, over pools with the same texts."""

    def __init__(self, library: Library, kind: KvFormat, lengths: dict[int, int]) -> None:
        self.turns = Turns(make_turns(1), make_turns(2))
        self.pools = [KvPool(SHAPE, 100, BLOCK, kind) for _ in range(2)]
        self.compiled = CompiledOperations(library, 2, SHAPE, self.turns, self.pools[1])
        numbers = list(range(1, 101))
        random.Random(4).shuffle(numbers)
        self.blocks = {
            text: [numbers.pop() for _ in range(-(-length // BLOCK))]
            for text, length in lengths.items()
        }

    def step(self, spans: list[Span], seed: int) -> tuple[list[Tensor], list[Tensor]]:
        """For each layer what is turned, and what attention gives, by torch and by the kernels."""
        rows = sum(span.end - span.start for span in spans)
        both = (
            TorchStep(SHAPE, self.turns, self.pools[0], spans),
            self.compiled.begin(spans),
        )
        turned, mixed = [], []
        for layer, windowed in enumerate(SHAPE.windowed):
            qkv = torch.randn(rows, 10, SHAPE.head_width, generator=chance(seed + layer))
            qkv[:, :6] *= SHAPE.score_scale
            norms = torch.rand(8, SHAPE.head_width, generator=chance(9)) if layer else None
            for one in both:
                own = qkv.clone()
                one.turn_and_store(layer, own, norms, windowed=windowed)
                turned.append(own)
                mixed.append(one.attend(layer, own, windowed=windowed))
        return turned, mixed


@pytest.mark.parametrize("kind", KvFormat)
def test_turning_storing_and_attention_equal_torch(library: Library, kind: KvFormat) -> None:
    lengths = {0: 300, 1: 1, 2: 41, 3: 16}
    pair = Pair(library, kind, lengths)
    tolerance = {KvFormat.FP32: 1e-5, KvFormat.FP16: 4e-3, KvFormat.INT8: 3e-2}[kind]
    # Prompts in chunks that end inside blocks, beside decodes of other texts.
    steps = [
        {0: (0, 100), 1: (0, 1)},
        {0: (100, 299), 2: (0, 40)},
        {2: (40, 41), 0: (299, 300), 3: (0, 15)},
        {3: (15, 16)},
    ]
    for number, parts in enumerate(steps):
        spans = [Span(start, end, pair.blocks[text]) for text, (start, end) in parts.items()]
        spans.sort(key=lambda span: (span.end - span.start > 1, span.end))
        turned, mixed = pair.step(spans, 10 * number)
        for values, allowed in ((turned, 1e-5), (mixed, tolerance)):
            for ours, theirs in zip(values[1::2], values[::2], strict=True):
                assert torch.allclose(ours, theirs, atol=allowed), number


def test_what_another_text_left_in_a_block_is_not_seen(library: Library) -> None:
    pair = Pair(library, KvFormat.FP32, {0: 20})
    numbers, _ = pair.pools[1].memory_of(1)
    numbers.fill_(float("nan"))
    spans = [Span(0, 20, pair.blocks[0])]
    step = pair.compiled.begin(spans)
    qkv = torch.randn(20, 10, SHAPE.head_width)
    step.turn_and_store(1, qkv, None, windowed=False)
    assert step.attend(1, qkv, windowed=False).isfinite().all()


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("rows", [1, 400])
def test_norms_and_gates_equal_torch(library: Library, gelu: bool, rows: int) -> None:
    shape = DecoderShape(
        **{**{name: getattr(SHAPE, name) for name in SHAPE.__slots__}, "gelu": gelu}
    )
    turns, pool = Turns(make_turns(1), make_turns(1)), KvPool(shape, 2, BLOCK)
    spans = [Span(0, 1, [1])]
    torch_step = TorchStep(shape, turns, pool, spans)
    step = CompiledOperations(library, 2, shape, turns, pool).begin(spans)
    both = torch.randn(rows, 2 * shape.inner_width) * 10
    both[0, :3] = torch.tensor([-200.0, 200.0, 0.0])
    assert torch.allclose(step.gate(both), torch_step.gate(both.clone()), atol=1e-5, rtol=1e-5)
    hidden, change, weight = torch.randn(rows, 96), torch.randn(rows, 96), torch.randn(96)
    for added in (change, None):
        ours, theirs = hidden.clone(), hidden.clone()
        normal = step.add_norm(ours, added, weight)
        assert torch.allclose(normal, torch_step.add_norm(theirs, added, weight), atol=1e-5)
        assert torch.equal(ours, theirs)


FORMS = [
    gguf.GGMLQuantizationType.Q4_0,
    gguf.GGMLQuantizationType.Q4_1,
    gguf.GGMLQuantizationType.Q5_0,
    gguf.GGMLQuantizationType.Q5_1,
    gguf.GGMLQuantizationType.Q8_0,
]


def write(path: Path, form: gguf.GGMLQuantizationType) -> Path:
    return tiny_model.write_model(path, heads=4, head_width=16, inner=96, quantised=form)


def make_runner(path: Path, weights: str, kernels: str) -> TorchRunner:
    with GgufFile(path) as file:
        return TorchRunner(
            file,
            weights=weights,
            threads=2,
            kv_cache_bytes=4 * 2**20,
            block_tokens=BLOCK,
            kv_format=KvFormat.FP32,
            kernels=kernels,
        )


@pytest.mark.parametrize("form", FORMS)
def test_a_quantised_file_gives_the_logits_of_its_weights_in_fp32(
    form: gguf.GGMLQuantizationType, tmp_path: Path
) -> None:
    path = write(tmp_path / "model.gguf", form)
    quantised, reference = make_runner(path, "auto", "auto"), make_runner(path, "fp32", "torch")
    assert quantised.weight_format is WeightFormat.QUANTISED
    text = Sequence(0, list(range(20, 60)), blocks=[2, 1, 3])
    for start, count in ((0, 33), (33, 6), (39, 1)):
        chunk = [Chunk(text, start, count, draws=True)]
        ours, theirs = (one._compute(chunk).logits for one in (quantised, reference))
        assert torch.allclose(ours, theirs, atol=5e-3 * theirs.abs().max().item())


def generate(
    runner: TorchRunner, *, step: int, prefix_cache: bool, together: int
) -> list[list[int]]:
    """Greedy texts of five prompts, so many at a time."""
    draw = random.Random(6)
    prompts = [[draw.randrange(3, 250) for _ in range(length)] for length in (3, 16, 40, 21, 5)]
    limits = BatchLimits(step, together, BLOCK, step)
    return continue_greedily(runner, prompts, 12, limits, prefix_cache=prefix_cache)


def test_texts_are_equal_for_all_chunks_and_crowds(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q4_1)
    runner = make_runner(path, "quantised", "compiled")
    expected = generate(runner, step=64, prefix_cache=False, together=1)
    for step in (1, 7, 16, 64):
        for prefix_cache in (False, True):
            found = generate(runner, step=max(step, 5), prefix_cache=prefix_cache, together=5)
            assert found == expected, (step, prefix_cache)


def test_logits_are_equal_to_the_bit_whatever_the_chunks(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q4_1)
    tokens = list(range(30, 100))
    found = []
    for count in (1, 7, 16, 70):
        runner = make_runner(path, "quantised", "compiled")
        text = Sequence(0, list(tokens), blocks=[4, 2, 5, 1, 3])
        for start in range(0, 70, count):
            end = min(start + count, 70)
            logits = runner._compute([Chunk(text, start, end - start, draws=True)]).logits
        found.append(logits)
    assert all(torch.equal(found[0], one) for one in found[1:])


def test_kernels_that_cannot_be_had_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_model.write_model(tmp_path / "narrow.gguf", head_width=8)
    with pytest.raises(StartError, match=r"engine\.kernels = compiled does not fit"):
        make_runner(path, "auto", "compiled")
    assert make_runner(path, "auto", "auto").instructions is None
    with pytest.raises(StartError, match=r"engine\.weights = quantised needs"):
        make_runner(path, "quantised", "torch")
    monkeypatch.setattr("tokenyard.engine.model.kernels.fitting", list)
    assert choose_library(Kernels.AUTO) is None
    with pytest.raises(StartError, match="neither AVX2 with FMA nor AVX-512"):
        choose_library(Kernels.COMPILED)


def test_a_build_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"avx2\.so cannot be used"):
        open_library(Instructions.AVX2, tmp_path)
    (tmp_path / "avx2.so").write_bytes(b"not a library")
    with pytest.raises(StartError, match=r"avx2\.so cannot be used"):
        open_library(Instructions.AVX2, tmp_path)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu sse2", []),
        ("flags\t\t: avx2 fma f16c avx512f", [Instructions.AVX2]),
        (
            "flags\t\t: avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni",
            [Instructions.AVX512, Instructions.AVX2],
        ),
        ("Features\t: fp asimd", []),
    ],
)
def test_builds_are_chosen_by_what_the_processor_can(
    flags: str, expected: list[Instructions], tmp_path: Path
) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"processor\t: 0\n{flags}\n")
    assert fitting(facts) == expected
    assert fitting(tmp_path / "nothing") == []
