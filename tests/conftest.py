"""For all tests: how hard properties are tried, and where Triton's kernels run."""

import gc
import os

from hypothesis import settings

# Triton reads this when it is first imported, and which test imports it first is a matter of order.
os.environ["TRITON_INTERPRET"] = "1"

# `make fast` looks for what is plainly broken; `make test` tries each property a hundred times.
settings.register_profile("fast", max_examples=15)
settings.register_profile("whole", max_examples=100, deadline=None)
settings.load_profile("whole")


def pytest_collection_finish() -> None:
    """What is loaded by now stays; the collector need not look through torch again and again."""
    gc.collect()
    gc.freeze()
