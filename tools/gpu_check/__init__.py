"""Checks and measures the engine on a GPU with one command: `python -m tools.gpu_check`."""

import sys
from pathlib import Path

# A machine with a GPU has torch and Triton, but nothing of ours is installed there.
_ROOT = Path(__file__).resolve().parents[2]
for _folder in ("tests", "src"):
    if str(_ROOT / _folder) not in sys.path:
        sys.path.insert(0, str(_ROOT / _folder))
