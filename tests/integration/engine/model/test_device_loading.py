"""How a GPU's memory is shared out, and what is said where there is none."""

from pathlib import Path

import pytest
import torch

from tokenyard.engine.catalogue import find_file
from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.device_loading import choose_graph_sizes, count_blocks
from tokenyard.engine.server.process import load_model
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.vocabulary.errors import StartError

QWEN3_8B = DecoderShape(36, 4096, 32, 8, 128, 12_288, 151_936, 40_960, 1e6, 1e-6)


def test_without_a_gpu_the_setting_is_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StartError, match=r"engine\.device = cuda"):
        load_model(find_file(str(tiny_model), tmp_path), EngineSettings(device="cuda"))


def test_blocks_fill_what_is_left() -> None:
    free = 110 << 30
    blocks = count_blocks(QWEN3_8B, free, 16, 8192, 256)
    used = (blocks + 1) * 16 * 147_456
    # 147,456 bytes a token; a few GiB go to activations, logits and libraries.
    assert 100 << 30 < used < 107 << 30
    assert count_blocks(QWEN3_8B, free, 16, 16_384, 256) < blocks


def test_too_little_memory_is_a_named_error() -> None:
    with pytest.raises(StartError, match=r"engine\.gpu_memory_share"):
        count_blocks(QWEN3_8B, 3 << 30, 16, 8192, 256)


@pytest.mark.parametrize(
    ("sequences_max", "last"), [(1, 1), (3, 3), (64, 64), (250, 250), (512, 512), (2000, 512)]
)
def test_graphs_reach_the_largest_batch(sequences_max: int, last: int) -> None:
    sizes = choose_graph_sizes(sequences_max)
    assert sizes[-1] == last
    assert list(sizes) == sorted(set(sizes))
