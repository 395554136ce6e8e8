"""The benchmark names who is absent and what was left out, and its Q4_0 file is the same model."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine import __main__ as benchmark
from benchmarks.engine import peers
from benchmarks.engine.in_process_peer import _build_llama
from tokenyard.engine.model.gguf import GgufFile


async def test_an_absent_peer_is_named_with_its_reason(tmp_path: Path) -> None:
    peer = peers.find_peer("vllm", tmp_path / "m.gguf")
    found = await benchmark.bench_peer(peer, tmp_path / "m.gguf", 1, (1,), 1.0)
    assert found == {"server": "vllm", "absent": peers.NO_VLLM}


async def test_a_peer_that_is_not_installed_says_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "MADE", tmp_path / "nowhere")
    peer = peers.find_peer("openvino", tmp_path / "m.gguf")
    found = await benchmark.bench_peer(peer, tmp_path / "m.gguf", 1, (1,), 1.0)
    assert found["absent"] == peers.NOT_INSTALLED


async def test_a_peer_that_fails_is_named_with_its_last_words(tiny_model: Path) -> None:
    program = "import sys; sys.exit('this machine has no such thing')"
    peer = peers.Peer("broken", (sys.executable, "-c", program), in_process=True)
    found = await benchmark.bench_peer(peer, tiny_model, 1, (1,), 60.0)
    assert found["server"] == "broken"
    assert "this machine has no such thing" in found["absent"]


async def test_what_would_take_too_long_is_left_out_by_name() -> None:
    asked = []

    async def ask(streams: int, number: int) -> benchmark.Figure:
        asked.append(streams)
        return benchmark.Figure("slow", streams, 10.0, 10.0, 1.0, 1.0, 1.0, 1.0, 0.0)

    found = await benchmark.bench("slow", ask, 1, (1, 8, 64), 200.0)
    assert asked == [1, 8]
    assert [one["streams"] for one in found["figures"]] == [1, 8]
    assert list(found["left_out"]) == ["64"]


def test_the_q4_0_file_is_the_same_model_rounded_anew(
    write_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "MADE", tmp_path / "made")
    gguf = pytest.importorskip("gguf")
    kinds = gguf.GGMLQuantizationType
    model = write_model(tmp_path / "m.gguf", inner=64, quantised=kinds.Q4_1)
    made = peers.write_q4_0(model)
    with GgufFile(model) as before, GgufFile(made) as after:
        assert before.metadata == after.metadata
        assert before.tensors["blk.0.attn_q.weight"].kind == kinds.Q4_1
        assert after.tensors["blk.0.attn_q.weight"].kind == kinds.Q4_0
        for name in before.tensors:
            expected = before.dequantised(name)
            if before.tensors[name].kind == kinds.Q4_1:
                rounded = gguf.quants.quantize(expected, kinds.Q4_0)
                expected = gguf.quants.dequantize(rounded, kinds.Q4_0)
            assert np.array_equal(after.dequantised(name), expected), name


def test_transformers_gets_the_same_model(tiny_model: Path) -> None:
    torch = pytest.importorskip("torch")
    network = _build_llama(tiny_model).eval()
    from tokenyard.engine.model.runner import TorchRunner  # noqa: PLC0415
    from tokenyard.engine.rules.batching import Chunk, Sequence  # noqa: PLC0415

    with GgufFile(tiny_model) as file:
        runner = TorchRunner(
            file, weights="fp32", threads=1, kv_cache_bytes=500_000, block_tokens=4
        )
    tokens = [5, 6, 7, 8, 9]
    text = Sequence(0, tokens, blocks=[1, 2])
    ours = runner._compute([Chunk(text, 0, len(tokens), draws=True)]).logits[0]
    with torch.no_grad():
        theirs = network(torch.tensor([tokens])).logits[0, -1]
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))
