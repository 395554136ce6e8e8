"""The fast path against a naive one: paged, cached, batched and chunked against full recompute."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tokenyard.engine.model.attention import _bucket
from tokenyard.engine.model.checkpoints import read_shape
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.kv_pool import KvFormat, KvPool
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.rules.batching import Batch, BatchLimits, Chunk, Sequence
from tokenyard.engine.rules.drawing import Adjustment, DrawRule, TokenReport
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.rules.speculation import DraftBook
from tokenyard.vocabulary.errors import StartError

GREEDY = DrawRule(temperature=0.0, top_p=1.0, top_k=0, seed=0, position=0)
BLOCK = 4


def make_runner(
    path: Path, *, weights: str = "fp32", blocks: int = 60, kind: KvFormat = KvFormat.FP32
) -> TorchRunner:
    with GgufFile(path) as file:
        per_block = kind.bytes_per_token(read_shape(file)) * BLOCK
        return TorchRunner(
            file,
            weights=weights,
            threads=1,
            kv_cache_bytes=(blocks + 1) * per_block,
            block_tokens=BLOCK,
            kv_format=kind,
        )


def naive_logits(path: Path, tokens: list[int]) -> Tensor:
    """Llama written down as in its paper: no cache, no batch, no fused weights; (tokens, vocab)."""
    with GgufFile(path) as file:
        shape = read_shape(file)
        weights = {name: torch.from_numpy(file.dequantised(name)) for name in file.tensors}

    def norm(x: Tensor, name: str) -> Tensor:
        mean = (x.double() ** 2).mean(-1, keepdim=True)
        return (x.double() / torch.sqrt(mean + shape.epsilon)).float() * weights[name]

    def rotate(x: Tensor) -> Tensor:
        turned = torch.empty_like(x)
        for position in range(len(tokens)):
            for pair in range(shape.head_width // 2):
                angle = position / shape.rope_base ** (2 * pair / shape.head_width)
                cos, sin = np.cos(angle), np.sin(angle)
                even, odd = x[position, :, 2 * pair], x[position, :, 2 * pair + 1]
                turned[position, :, 2 * pair] = even * cos - odd * sin
                turned[position, :, 2 * pair + 1] = even * sin + odd * cos
        return turned

    x = weights["token_embd.weight"][tokens]
    for layer in range(shape.layers):
        start = f"blk.{layer}."
        h = norm(x, start + "attn_norm.weight")
        q = rotate((h @ weights[start + "attn_q.weight"].T).view(len(tokens), shape.heads, -1))
        k = rotate((h @ weights[start + "attn_k.weight"].T).view(len(tokens), shape.kv_heads, -1))
        v = (h @ weights[start + "attn_v.weight"].T).view(len(tokens), shape.kv_heads, -1)
        mixed = torch.zeros_like(q)
        for head in range(shape.heads):
            shared = head // (shape.heads // shape.kv_heads)
            for row in range(len(tokens)):
                scores = k[: row + 1, shared] @ q[row, head] / shape.head_width**0.5
                mixed[row, head] = torch.softmax(scores, 0) @ v[: row + 1, shared]
        x = x + mixed.reshape(len(tokens), -1) @ weights[start + "attn_output.weight"].T
        h = norm(x, start + "ffn_norm.weight")
        gate = torch.nn.functional.silu(h @ weights[start + "ffn_gate.weight"].T)
        x = (
            x
            + (gate * (h @ weights[start + "ffn_up.weight"].T))
            @ weights[start + "ffn_down.weight"].T
        )
    table = weights.get("output.weight", weights["token_embd.weight"])
    return norm(x, "output_norm.weight") @ table.T


def naive_text(path: Path, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(naive_logits(path, tokens)[-1].argmax()))
    return tokens


def generate(
    runner: TorchRunner,
    prompts: list[list[int]],
    count: int,
    *,
    step: int = 64,
    chunk: int = 64,
    prefix_cache: bool = True,
    pool_blocks: int | None = None,
) -> tuple[list[list[int]], int]:
    """Greedy texts of all prompts at once, and how often a sequence was preempted."""
    limits = BatchLimits(
        step_tokens_max=step, sequences_max=16, block_tokens=BLOCK, chunk_tokens_max=chunk
    )
    pool = BlockPool(pool_blocks or runner.block_count)
    batch = Batch(pool, limits, prefix_cache=prefix_cache)
    sequences = [Sequence(number, list(prompt)) for number, prompt in enumerate(prompts)]
    for sequence in sequences:
        batch.add(sequence)
    while batch.running or batch.waiting:
        plan = batch.plan_step()
        rules = {chunk.sequence.id: GREEDY for chunk in plan.chunks}
        drawn = runner.run(plan.chunks, rules)
        batch.settle(plan, {key: token for key, token in drawn.items() if token is not None})
        for sequence in list(batch.running):
            if len(sequence.tokens) == sequence.prompt_count + count:
                batch.end(sequence)
    pool.check_integrity()
    assert pool.used == 0
    return [one.tokens for one in sequences], sum(one.preemptions for one in sequences)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    chance = random.Random(5)
    shared = [chance.randrange(3, 200) for _ in range(9)]
    return [
        [7],
        [chance.randrange(3, 200) for _ in range(3 * BLOCK)],
        [*shared, 11],
        [*shared, 12, 13],
        [chance.randrange(3, 200) for _ in range(17)],
        list(shared),
    ]


@pytest.fixture(scope="module")
def texts(tiny_model: Path, prompts: list[list[int]]) -> list[list[int]]:
    return [naive_text(tiny_model, prompt, 6) for prompt in prompts]


@pytest.mark.parametrize("step", [1, 7, 16, 64])
@pytest.mark.parametrize("prefix_cache", [True, False])
def test_chunks_and_prefix_cache_change_nothing(
    tiny_model: Path,
    prompts: list[list[int]],
    texts: list[list[int]],
    step: int,
    prefix_cache: bool,
) -> None:
    runner = make_runner(tiny_model)
    found, _ = generate(runner, prompts, 6, step=step, prefix_cache=prefix_cache)
    assert found == texts
    # A second time, now with a warm prefix cache and used blocks.
    assert generate(runner, prompts, 6, step=step, prefix_cache=prefix_cache)[0] == texts


def test_preemption_changes_nothing(
    tiny_model: Path, prompts: list[list[int]], texts: list[list[int]]
) -> None:
    found, preemptions = generate(make_runner(tiny_model), prompts, 6, pool_blocks=13)
    assert preemptions > 0
    assert found == texts


def test_alone_is_as_in_a_crowd(
    tiny_model: Path, prompts: list[list[int]], texts: list[list[int]]
) -> None:
    runner = make_runner(tiny_model)
    for prompt, text in zip(prompts, texts, strict=True):
        assert generate(runner, [prompt], 6)[0] == [text]


@pytest.mark.parametrize(
    "how",
    [
        {"tied": False, "heads": 6, "kv_heads": 2},
        {"heads": 2, "kv_heads": 2, "head_width": 16},
        {"heads": 4, "kv_heads": 1, "layers": 3},
    ],
    ids=["untied", "one group each", "one kv head"],
)
def test_shapes_agree_with_the_naive_decoder(
    write_model: Callable[..., Path], tmp_path: Path, how: dict[str, int]
) -> None:
    path = write_model(tmp_path / "model.gguf", seed=3, **how)
    prompt = [9, 40, 41, 42, 43, 44]
    assert generate(make_runner(path), [prompt], 5, step=4)[0] == [naive_text(path, prompt, 5)]


def test_logits_are_close_and_packed_fp16_is_near(tiny_model: Path) -> None:
    tokens = [5, 6, 7, 8, 9, 10, 11]
    expected = naive_logits(tiny_model, tokens)[-1]
    for weights, tolerance in (("fp32", 1e-4), ("auto", 2e-2)):
        runner = make_runner(tiny_model, weights=weights)
        text = Sequence(0, tokens, blocks=[1, 2])
        logits = runner._compute([Chunk(text, 0, 7, draws=True)]).logits
        assert torch.allclose(logits[0], expected, atol=tolerance * expected.abs().max().item())


@pytest.mark.parametrize("step", [1, 3, 64])
def test_reports_on_a_prompt_are_those_of_the_naive_decoder(tiny_model: Path, step: int) -> None:
    tokens = [5, 6, 7, 8, 9, 10, 11]
    logprobs = torch.log_softmax(naive_logits(tiny_model, tokens), dim=1)
    runner = make_runner(tiny_model)
    batch = Batch(BlockPool(runner.block_count), BatchLimits(step, 4, BLOCK, step))
    batch.add(Sequence(0, list(tokens), prompt_top=2))
    reports: list[TokenReport] = []
    while not reports or len(reports) < len(tokens) - 1:
        plan = batch.plan_step()
        drawn = runner.run(plan.chunks, {0: GREEDY})
        start, some = drawn.prompts[0]
        assert start == len(reports) + 1
        reports += some
        batch.settle(plan, {0: drawn[0] or 0} if 0 in drawn else {})
    for place, report in enumerate(reports):
        row, token = logprobs[place], tokens[place + 1]
        assert report.token == token
        assert report.logprob == pytest.approx(row[token].item(), abs=1e-3)
        assert report.rank == int((row > row[token]).sum()) + 1
        assert [one for one, _ in report.top] == row.topk(2).indices.tolist()


@pytest.mark.parametrize("step", [1, 3, 64])
def test_sums_for_embeddings_do_not_depend_on_chunks(tiny_model: Path, step: int) -> None:
    tokens = [5, 6, 7, 8, 9, 10, 11]
    runner = make_runner(tiny_model)
    sums: list[list[list[float]]] = []
    for size in (64, step):
        batch = Batch(BlockPool(runner.block_count), BatchLimits(size, 4, BLOCK, size))
        batch.add(Sequence(0, list(tokens), embeds=True))
        sums.append([])
        for _ in range(-(-len(tokens) // size)):
            plan = batch.plan_step()
            drawn = runner.run(plan.chunks, {0: GREEDY})
            sums[-1].append(drawn.sums[0])
            batch.settle(plan, {0: drawn[0] or 0} if 0 in drawn else {})
    whole, parts = (torch.tensor(one).sum(dim=0) for one in sums)
    assert torch.allclose(whole, parts, atol=1e-4)
    # The head is linear: applied to the sum it gives the sum of all logits.
    logits = runner._decoder.head(whole.float().unsqueeze(0))[0]
    expected = naive_logits(tiny_model, tokens).sum(dim=0)
    assert torch.allclose(logits, expected, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_guesses_change_no_token(tiny_model: Path, temperature: float) -> None:
    # A random model draws anything; with few tokens to choose from it repeats itself.
    few = Adjustment(bias=tuple((token, 60.0) for token in (5, 6, 7)))
    rule = DrawRule(temperature, top_p=1.0, top_k=0, seed=5, position=0, adjustment=few)
    texts, accepted = {}, 0
    for drafts in (0, 4):
        runner = make_runner(tiny_model)
        limits = BatchLimits(64, 4, BLOCK, 64, draft_tokens_max=drafts)
        batch = Batch(BlockPool(runner.block_count), limits)
        prompts = [[5, 6, 7] * 4, [9, 8] * 5]
        sequences = [
            Sequence(number, list(prompt), full_count=80, book=DraftBook())
            for number, prompt in enumerate(prompts)
        ]
        for one in sequences:
            batch.add(one)
        while batch.running or batch.waiting:
            plan = batch.plan_step()
            rules = {
                chunk.sequence.id: replace(rule, position=len(chunk.sequence.tokens))
                for chunk in plan.chunks
            }
            drawn = runner.run(plan.chunks, rules)
            batch.advance(plan)
            batch.learn(plan, {key: one or 0 for key, one in drawn.items()}, drawn.more)
            accepted += sum(map(len, drawn.more.values()))
            for one in list(batch.running):
                if len(one.tokens) == 80:
                    batch.end(one)
        texts[drafts] = [one.tokens for one in sequences]
    assert texts[0] == texts[4]
    assert accepted > 0


@pytest.mark.parametrize("kind", [KvFormat.FP16, KvFormat.INT8])
def test_a_smaller_cache_is_near_and_the_same_in_any_chunks(
    tiny_model: Path, prompts: list[list[int]], kind: KvFormat
) -> None:
    found = [
        generate(make_runner(tiny_model, kind=kind), prompts, 6, step=step)[0]
        for step in (1, 7, 64)
    ]
    assert found[0] == found[1] == found[2]
    tokens = [5, 6, 7, 8, 9, 10, 11]
    expected = naive_logits(tiny_model, tokens)[-1]
    runner = make_runner(tiny_model, kind=kind)
    text = Sequence(0, tokens, blocks=[1, 2])
    logits = runner._compute([Chunk(text, 0, 7, draws=True)]).logits[0]
    assert torch.allclose(logits, expected, atol=2e-2 * expected.abs().max().item())
    assert not torch.equal(logits, expected)


def test_int8_keeps_each_value_to_half_a_step(tiny_model: Path) -> None:
    with GgufFile(tiny_model) as file:
        shape = read_shape(file)
    pool = KvPool(shape, 4, BLOCK, KvFormat.INT8)
    blocks, slots = torch.tensor([1, 2]), torch.tensor([5, 9, 6])
    values = torch.randn(3, 2 * shape.kv_heads, shape.head_width) * torch.tensor(
        [1e-3, 0.0, 50.0]
    ).view(3, 1, 1)
    pool.write(1, slots, values)
    # The gathered tokens are those of blocks 1 and 2, so the first one is at slot 4.
    read = pool.gather(1, pool.rows_of(blocks))[:, slots - BLOCK].transpose(0, 1).clone()
    steps = values.abs().amax(dim=-1, keepdim=True) / 127
    assert ((read - values).abs() <= 0.5001 * steps + 1e-12).all()
    pool.clear(slots)
    assert pool.gather(1, pool.rows_of(blocks)).abs().max() == 0
    # 3.7 times the tokens at a head width of 64, as with SmolLM2.
    wide = replace(shape, head_width=64)
    sizes = [kind.bytes_per_token(wide) for kind in (KvFormat.FP32, KvFormat.INT8)]
    assert sizes[0] / sizes[1] == pytest.approx(256 / 68)


def test_warming_up_leaves_the_cache_as_it_was(
    tiny_model: Path, prompts: list[list[int]], texts: list[list[int]]
) -> None:
    runner = make_runner(tiny_model)
    runner.warm_up()
    assert generate(runner, prompts, 6)[0] == texts


def test_a_nan_fails_its_own_sequence_and_is_swept_out(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    random_table = np.random.default_rng(1).standard_normal((269, 32), dtype=np.float32)
    random_table[5] = np.nan
    # Untied, so that the poisoned row is in the embedding and not in the head.
    path = write_model(tmp_path / "m.gguf", tied=False, replace={"token_embd": random_table})
    runner = make_runner(path)
    poisoned = Sequence(0, [5, 6], blocks=[1])
    healthy = Sequence(1, [6, 7], blocks=[2])
    chunks = [Chunk(poisoned, 0, 2, draws=True), Chunk(healthy, 0, 2, draws=True)]
    drawn = runner.run(chunks, {0: GREEDY, 1: GREEDY})
    assert drawn[0] is None
    assert drawn[1] is not None
    # The block with the NaN is given to someone else, who uses only a part of it.
    heir = Sequence(2, [6, 7], blocks=[1])
    assert runner.run([Chunk(heir, 0, 2, draws=True)], {2: GREEDY})[2] == drawn[1]


def test_a_nan_of_a_text_that_ended_before_its_draw_reaches_nobody(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    table = np.random.default_rng(1).standard_normal((269, 32), dtype=np.float32)
    table[5] = np.nan
    path = write_model(tmp_path / "m.gguf", tied=False, replace={"token_embd": table})
    expected = make_runner(path).run(
        [Chunk(Sequence(0, [6, 7, 8], blocks=[1]), 0, 2, draws=True)], {0: GREEDY}
    )
    runner = make_runner(path)
    # A chunk of a longer prompt: it draws nothing, so nobody sees the NaN, and then it is aborted.
    runner.run([Chunk(Sequence(0, [6, 6, 6, 5, 6], blocks=[1, 2]), 0, 4, draws=False)], {})
    heir = Sequence(1, [6, 7], blocks=[1])
    for start, count in ((0, 2), (0, 1)):
        drawn = runner.run([Chunk(heir, start, count, draws=True)], {1: GREEDY})
        assert drawn[1] is not None
    runner.run([Chunk(Sequence(2, [6, 6, 6, 5, 6], blocks=[1, 2]), 0, 4, draws=False)], {})
    assert runner.run([Chunk(heir, 0, 2, draws=True)], {1: GREEDY})[1] == expected[0]


def test_the_cache_has_the_format_of_the_weights_unless_told(tiny_model: Path) -> None:
    for weights, kind in (("fp32", KvFormat.FP32), ("fp16", KvFormat.FP16)):
        with GgufFile(tiny_model) as file:
            size = kind.bytes_per_token(read_shape(file)) * BLOCK
            runner = TorchRunner(
                file,
                weights=weights,
                threads=1,
                kv_cache_bytes=11 * size,
                block_tokens=BLOCK,
                kv_format="auto",
            )
        assert runner.block_count == 10


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"architecture": "gpt2"}, "architecture 'gpt2'"),
        ({"leave_out": "blk.1.ffn_up"}, r"no tensor 'blk\.1\.ffn_up"),
        ({"replace": {"blk.0.attn_q": np.zeros((3, 32), np.float32)}}, "has shape"),
        ({"heads": 3, "kv_heads": 2}, "not a decoder that we run"),
    ],
)
def test_a_checkpoint_that_is_no_model_of_ours_is_a_named_error(
    write_model: Callable[..., Path], tmp_path: Path, how: dict[str, object], words: str
) -> None:
    path = write_model(tmp_path / "bad.gguf", **how)
    with pytest.raises(StartError, match=words):
        make_runner(path)


def test_a_step_without_memory_says_so(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = make_runner(tiny_model)
    chunk = Chunk(Sequence(0, [5, 6], blocks=[1]), 0, 2, draws=True)
    for error, kind in (
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes"), MemoryError),
        (RuntimeError("another fault"), RuntimeError),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(runner._decoder, "forward", fail)
        with pytest.raises(kind):
            runner.run([chunk], {0: GREEDY})
    monkeypatch.undo()
    assert runner.run([chunk], {0: GREEDY})[0] is not None


def test_too_little_memory_for_one_block_is_a_named_error(tiny_model: Path) -> None:
    with pytest.raises(StartError, match="kv_cache_bytes"):
        make_runner(tiny_model, blocks=0)


def test_buckets_cover_all_rows_in_order_and_pad_little() -> None:
    lengths = [1, 5, 60, 70, 400, 2000, 2100, 8000]
    edges = _bucket(lengths)
    assert [edge for pair in edges for edge in pair][::2] == [0, *[last for _, last in edges[:-1]]]
    assert edges[-1][1] == len(lengths)
    for first, last in edges:
        longest = lengths[last - 1]
        assert longest - lengths[first] <= max(64, longest // 4)
    assert _bucket([]) == []
    # Many long ones are cut by size, though one alone may pass it.
    assert len(_bucket([8000] * 10)) == 3
    assert _bucket([100_000]) == [(0, 1)]
