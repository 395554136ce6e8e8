"""Where the compiled kernels can be had: the same condition for all tests that ask for them."""

import shutil

import pytest

from tokenyard.engine.model.kernels import fitting

# Built by `tools/build-kernels`, which makes nothing without a compiler or on another processor.
NEEDS_KERNELS = pytest.mark.skipif(
    shutil.which("cc") is None or not fitting(), reason="needs a C compiler (cc) and AVX2"
)
COMPILED = pytest.param("compiled", marks=NEEDS_KERNELS)
