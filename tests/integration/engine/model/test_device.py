"""Which path of attention is taken where, and why."""

from dataclasses import replace

import pytest

from tokenyard.engine.model.device import (
    AttentionPath,
    DeviceFacts,
    PathReason,
    choose_paths,
)

H200 = DeviceFacts((9, 0), "NVIDIA H200", 132, triton=True, varlen_blocks=True, fa3=True)
PLAIN, TRITON, VARLEN = AttentionPath.PLAIN, AttentionPath.TRITON, AttentionPath.VARLEN


@pytest.mark.parametrize(
    ("facts", "asked", "device", "chunks", "decodes", "reason"),
    [
        (H200, None, "cuda", VARLEN, TRITON, PathReason.FA3_READY),
        (H200, TRITON, "cuda", TRITON, TRITON, PathReason.ASKED),
        (H200, PLAIN, "cuda", PLAIN, PLAIN, PathReason.ASKED),
        (replace(H200, fa3=False), None, "cuda", TRITON, TRITON, PathReason.FA3_MISSING),
        (
            replace(H200, varlen_blocks=False, fa3=False),
            None,
            "cuda",
            TRITON,
            TRITON,
            PathReason.VARLEN_WITHOUT_BLOCKS,
        ),
        (replace(H200, capability=(8, 0)), None, "cuda", TRITON, TRITON, PathReason.NOT_HOPPER),
        (replace(H200, triton=False), None, "cuda", PLAIN, PLAIN, PathReason.NO_TRITON),
        (replace(H200, capability=None), None, "cpu", PLAIN, PLAIN, PathReason.NO_GPU),
    ],
)
def test_paths(
    facts: DeviceFacts,
    asked: AttentionPath | None,
    device: str,
    chunks: AttentionPath,
    decodes: AttentionPath,
    reason: PathReason,
) -> None:
    found = choose_paths(facts, asked)
    assert (found.device, found.chunks, found.decodes) == (device, chunks, decodes)
    assert found.reason is reason
