"""Triton's kernels run in its interpreter here, on the CPU."""

import os
import sys

# Triton reads this once, when it is first imported, and binds its own functions by it.
if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
    raise RuntimeError("Something imported triton before its interpreter was asked for.")
os.environ["TRITON_INTERPRET"] = "1"
