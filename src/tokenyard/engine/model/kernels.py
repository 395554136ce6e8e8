"""The compiled kernels: which build fits this processor, and its functions by name.

`tools/build-kernels` compiles `kernels.c` when the project is installed; nothing is compiled here.
Without a compiler, or on another processor, torch computes instead. Does not know tensors.
Source of the flags' names: `/proc/cpuinfo` of Linux.
"""

import ctypes
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tokenyard.vocabulary.errors import StartError

FOLDER = Path(__file__).parent / "_kernels"
CPU_FACTS = Path("/proc/cpuinfo")
# Widths and blocks have to be whole vectors.
WIDTH_MULTIPLE = 16


class Kernels(StrEnum):
    """What computes between and in the products of a step on the CPU."""

    AUTO = "auto"
    COMPILED = "compiled"
    TORCH = "torch"


class Instructions(StrEnum):
    """The builds, best first."""

    AVX512 = "avx512"
    AVX2 = "avx2"

    @property
    def lanes(self) -> int:
        """Numbers of 32 bits in one vector."""
        return 16 if self is Instructions.AVX512 else 8


_NEEDED = {
    Instructions.AVX512: {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"},
    Instructions.AVX2: {"avx2", "fma", "f16c"},
}


class Matrix(ctypes.Structure):
    """`Matrix` of kernels.c."""

    _fields_ = (
        ("outputs", c_int),
        ("inputs", c_int),
        ("bits", c_int),
        ("group", c_int),
        ("quants", c_void_p),
        ("scales", c_void_p),
        ("minimums", c_void_p),
    )


class Product(ctypes.Structure):
    """`Product` of kernels.c."""

    _fields_ = (
        ("parts", POINTER(Matrix)),
        ("bias", c_void_p),
        ("part_count", c_int),
        ("outputs", c_int),
    )


class Cache(ctypes.Structure):
    """`Cache` of kernels.c."""

    _fields_ = (
        ("numbers", c_void_p),
        ("scales", c_void_p),
        ("slots", c_int64),
        ("format", c_int),
        ("kv_heads", c_int),
        ("width", c_int),
        ("block_tokens", c_int),
    )


class Step(ctypes.Structure):
    """`Step` of kernels.c."""

    _fields_ = (
        ("positions", c_void_p),
        ("slots", c_void_p),
        ("tables", c_void_p),
        ("lines", c_void_p),
        ("rows", c_int),
        ("blocks", c_int),
        ("heads", c_int),
        ("threads", c_int),
        ("epsilon", c_float),
    )


class Layer(ctypes.Structure):
    """`Layer` of kernels.c."""

    _fields_ = (
        ("qkv", Product),
        ("attention_out", Product),
        ("gate_up", Product),
        ("down", Product),
        ("attention_norm", c_void_p),
        ("query_key_norms", c_void_p),
        ("attention_out_norm", c_void_p),
        ("inner_norm", c_void_p),
        ("down_norm", c_void_p),
        ("turns", c_void_p),
        ("cache", Cache),
        ("window", c_int),
        ("gelu", c_int),
    )


_FLOATS = c_void_p
_SIGNATURES: dict[str, list[type]] = {
    "multiply_rows": [POINTER(Product), _FLOATS, c_int, _FLOATS, c_void_p, c_int],
    "add_norm": [_FLOATS, _FLOATS, _FLOATS, c_float, _FLOATS, c_int, c_int, c_int],
    "gate": [_FLOATS, c_int, _FLOATS, c_int, c_int, c_int],
    "turn_and_store": [POINTER(Step), _FLOATS, _FLOATS, _FLOATS, POINTER(Cache)],
    "attend": [POINTER(Step), _FLOATS, c_int, POINTER(Cache), _FLOATS],
    "run_layers": [POINTER(Step), POINTER(Layer), c_int, _FLOATS, _FLOATS],
}


@dataclass(frozen=True, slots=True)
class Library:
    """One build, loaded. functions: those of kernels.c, called without Python's lock."""

    instructions: Instructions
    functions: ctypes.CDLL


def fitting(facts: Path = CPU_FACTS) -> list[Instructions]:
    """The builds that this processor runs, best first."""
    try:
        lines = facts.read_text().splitlines()
    except OSError:
        return []
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return [one for one in Instructions if flags >= _NEEDED[one]]


def open_library(instructions: Instructions, folder: Path = FOLDER) -> Library:
    """Load a build. Raises StartError when there is none, or one that cannot be loaded."""
    path = folder / f"{instructions}.so"
    try:
        functions = ctypes.CDLL(str(path))
        for name, arguments in _SIGNATURES.items():
            function = getattr(functions, name)
            function.argtypes, function.restype = arguments, None
    except (OSError, AttributeError) as error:
        raise StartError(f"The compiled kernels {path} cannot be used: {error}.") from None
    return Library(instructions, functions)


def choose_library(asked: Kernels) -> Library | None:
    """The best build for this processor; None for torch. Raises StartError for what is not had."""
    if asked is Kernels.TORCH:
        return None
    problem = "this processor has neither AVX2 with FMA nor AVX-512 with VNNI"
    for instructions in fitting():
        try:
            return open_library(instructions)
        except StartError as error:
            problem = error.message
    if asked is Kernels.COMPILED:
        raise StartError(
            f"engine.kernels = compiled cannot be had: {problem} Install a C compiler (cc) and "
            "run `tools/build-kernels`, or use engine.kernels = torch."
        )
    return None
