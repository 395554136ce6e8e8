"""Which device computes, and by which paths of attention; with the reason, for logs and reports.

`read_facts` looks at the machine; `choose_paths` decides from what it saw. Prompt chunks and
decodes are chosen apart: a decode must be capturable in a graph and is bound by memory, where our
split kernel is at home; chunks are bound by arithmetic, where FlashAttention 3 is faster when it is
there. Does not know models.
"""

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch


class AttentionPath(StrEnum):
    """Who computes attention."""

    PLAIN = "plain"
    TRITON = "triton"
    VARLEN = "varlen"


class PathReason(StrEnum):
    """Why a path was chosen for prompt chunks."""

    ASKED = "asked"
    NO_GPU = "no_gpu"
    NO_TRITON = "no_triton"
    # The GPU is not of the generation that FlashAttention 3 is for.
    NOT_HOPPER = "not_hopper"
    # This torch has no variable-length attention over a block table.
    VARLEN_WITHOUT_BLOCKS = "varlen_without_blocks"
    # torch has it, but the package with FlashAttention 3's kernels is not installed.
    FA3_MISSING = "fa3_missing"
    FA3_READY = "fa3_ready"


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the machine has. capability: of the GPU, such as (9, 0); None without one."""

    capability: tuple[int, int] | None
    name: str
    processors: int
    triton: bool
    varlen_blocks: bool
    fa3: bool


@dataclass(frozen=True, slots=True)
class DevicePaths:
    """device: for torch. chunks, decodes: the paths of attention."""

    device: str
    chunks: AttentionPath
    decodes: AttentionPath
    reason: PathReason


def read_facts() -> DeviceFacts:
    """Look at the machine and at what torch brings; compiles and computes nothing."""
    triton = importlib.util.find_spec("triton") is not None
    varlen = _varlen_takes_blocks()
    if not torch.cuda.is_available():
        return DeviceFacts(None, "cpu", 0, triton, varlen, fa3=False)
    properties = torch.cuda.get_device_properties(0)
    return DeviceFacts(
        capability=(properties.major, properties.minor),
        name=properties.name,
        processors=properties.multi_processor_count,
        triton=triton,
        varlen_blocks=varlen,
        fa3=varlen and _activate_fa3(),
    )


def choose_paths(facts: DeviceFacts, asked: AttentionPath | None = None) -> DevicePaths:
    """The paths for these facts. `asked` is for checks: it is taken for chunks as it is."""
    if facts.capability is None:
        return DevicePaths("cpu", asked or AttentionPath.PLAIN, _PLAIN, PathReason.NO_GPU)
    if not facts.triton:
        return DevicePaths("cuda", asked or _PLAIN, _PLAIN, PathReason.NO_TRITON)
    reason = PathReason.FA3_READY
    if asked is not None:
        reason = PathReason.ASKED
    elif facts.capability[0] != HOPPER:
        reason = PathReason.NOT_HOPPER
    elif not facts.varlen_blocks:
        reason = PathReason.VARLEN_WITHOUT_BLOCKS
    elif not facts.fa3:
        reason = PathReason.FA3_MISSING
    chunks = asked or AttentionPath.TRITON
    if reason is PathReason.FA3_READY:
        chunks = AttentionPath.VARLEN
    decodes = _PLAIN if asked is _PLAIN else AttentionPath.TRITON
    return DevicePaths("cuda", chunks, decodes, reason)


HOPPER = 9
_PLAIN = AttentionPath.PLAIN


def _varlen_takes_blocks() -> bool:
    """Whether `torch.nn.attention.varlen` (2.10 on) takes a block table (2.12 on)."""
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415
    except ImportError:
        return False
    return {"block_table", "seqused_k"} <= inspect.signature(varlen_attn).parameters.keys()


def _activate_fa3() -> bool:
    """Make torch use FlashAttention 3 from now on, if its kernels are installed."""
    attention = importlib.import_module("torch.nn.attention")
    activate: Callable[[str], Any] | None = getattr(
        attention, "activate_flash_attention_impl", None
    )
    if activate is None:
        return False
    try:
        activate("FA3")
    except (ImportError, RuntimeError, ValueError, OSError):
        # Each torch says it in its own way that the package is missing or does not fit.
        return False
    return True
