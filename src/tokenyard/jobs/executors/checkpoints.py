"""How a member tells which step its last checkpoint holds, and where it is to go on.

Two variables and a file: the member writes `{"step": 1200}` to the file that
TOKENYARD_CHECKPOINT_FILE names, once that checkpoint is safe; TOKENYARD_RESUMED_STEP is the last
step that an earlier try has told, or empty. `checkpoint` and `resumed_step` are the same for
Python. Only the standard library, since members import it. It does not save anybody's work.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

FILE_VARIABLE = "TOKENYARD_CHECKPOINT_FILE"
STEP_VARIABLE = "TOKENYARD_RESUMED_STEP"
STEP_MAX = 1 << 53
_BYTES_MAX = 4096


def checkpoint(step: int) -> None:
    """Tell that a checkpoint of that step is safe; does nothing outside of a job."""
    name = os.environ.get(FILE_VARIABLE)
    if not name:
        return
    path = Path(name)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps({"step": step}))
    partial.replace(path)


def resumed_step() -> int | None:
    """The step to go on from; None at the beginning, and outside of a job."""
    told = os.environ.get(STEP_VARIABLE)
    return int(told) if told else None


def read_step(path: Path) -> int | None:
    """What a member has told; None when that is nothing, or no step."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        told = json.loads(file.read(_BYTES_MAX))
        step = told.get("step") if isinstance(told, dict) else None
        if type(step) is int and 0 <= step <= STEP_MAX:
            return step
    return None
