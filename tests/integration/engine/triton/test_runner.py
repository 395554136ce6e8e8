"""A whole model through the Triton kernels, interpreted, says what the CPU's own runner says."""

from pathlib import Path

import pytest

from support.device_yard import generate, make_cpu, make_device, mixed
from support.tiny_model import write_model
from tokenyard.engine.model.device import AttentionPath, DevicePaths, PathReason

TRITON = DevicePaths("cpu", AttentionPath.TRITON, AttentionPath.TRITON, PathReason.ASKED)
PROMPTS = [[7], [9, 40, 41, 42, 43, 44, 45, 46, 47], [9, 40, 41, 42, 11]]


@pytest.mark.parametrize("graph_sizes", [(), (4,)], ids=str)
def test_kernels_give_the_same_texts(tmp_path: Path, graph_sizes: tuple[int, ...]) -> None:
    path = write_model(tmp_path / "model.gguf", heads=4, kv_heads=2, head_width=16, layers=2)
    expected, _ = generate(make_cpu(path), PROMPTS, mixed, count=4)
    device = make_device(path, paths=TRITON, graph_sizes=graph_sizes)
    assert generate(device, PROMPTS, mixed, count=4, step=6)[0] == expected
