"""Compiles the attention kernels for GPUs that are not here, and says what came out, as JSON.

Run as `python -m support.compile_kernels`, in a process whose Triton does not interpret.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tokenyard.engine.model import triton_attention, triton_rows

INTEGERS = {"tables", "lines", "row_starts", "lengths", "tile_sequences", "tile_rows"}
INTEGERS |= {"positions", "slots"}
FLOATS = {"parts", "peaks", "turns"}


def compile_one(name: str, capability: int, width: int, group: int) -> dict[str, Any]:
    """bf16, 16-token blocks. Gives shared bytes and counts of some machine instructions."""
    kernel = getattr(triton_attention, name)
    tiling = triton_attention.choose_tiling(width, group, 2, decode=name != "_tiles_kernel")
    constants = {
        "splits": 4,
        "scale": width**-0.5,
        "window": 0,
        "cap": 0.0,
        "products": "16 bit",
        "group": group,
        "width": width,
        "width_padded": triton.next_power_of_2(width),
        "block_tokens": 16,
        "tile_m": tiling.queries,
        "tile_n": tiling.keys,
        "heads": 4 * group,
    }
    made = _compile(kernel, constants, capability, tiling.warps, tiling.stages)
    text = made.asm["ptx"]
    code = _disassemble(made.asm["cubin"])
    return {
        "kernel": name,
        "capability": capability,
        "width": width,
        "shared_bytes": made.metadata.shared,
        "asynchronous_copies": text.count("cp.async.cg"),
        "warp_group_products": text.count("wgmma.mma_async"),
        "warp_products": text.count("mma.sync"),
        "spills": _count_spills(code),
        "instructions": code.count("/*0"),
    }


def compile_rows(name: str, capability: int, **constants: int | float | bool) -> dict[str, Any]:
    """One of the kernels between matrix products, for bf16."""
    made = _compile(getattr(triton_rows, name), constants, capability, 4, 1)
    code = _disassemble(made.asm["cubin"])
    return {"kernel": name, "capability": capability, "spills": _count_spills(code)}


def _compile(
    kernel: Any, constants: dict[str, Any], capability: int, warps: int, stages: int
) -> Any:
    signature, fixed, attributes = {}, {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
            fixed[(place,)] = constants[argument]
            continue
        attributes[(place,)] = [["tt.divisibility", 16]]
        if argument in INTEGERS:
            signature[argument] = "*i32"
        elif argument in FLOATS:
            signature[argument] = "*fp32"
        else:
            signature[argument] = "i32" if argument.endswith("stride") else "*bf16"
    return triton.compile(
        ASTSource(kernel, signature, fixed, attributes),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": warps, "num_stages": stages},
    )


def _count_spills(code: str) -> int:
    return code.count(" STL") + code.count(" LDL")


def _disassemble(cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, file.name], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    found = [
        compile_one(name, capability, width, group)
        for capability, width, group in ((80, 128, 4), (90, 128, 4), (90, 64, 3))
        for name in ("_tiles_kernel", "_split_kernel", "_merge_kernel")
    ]
    found.append(
        compile_rows("_add_norm_kernel", 90, epsilon=1e-6, adds=True, width=4096, width_padded=4096)
    )
    found.append(compile_rows("_gate_kernel", 90, width=12_288, tile=1024))
    for normed in (True, False):
        found.append(
            compile_rows(
                "_turn_and_store_kernel",
                90,
                heads=32,
                kv_heads=8,
                normed=normed,
                neighbours=not normed,
                epsilon=1e-6,
                half=64,
                half_padded=64,
            )
        )
    json.dump(found, sys.stdout)
