"""The kernels compile for GPUs that are not here, to the instructions that make them fast."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = f"{ROOT / 'src'}:{ROOT / 'tests'}"
    # Compiled anew, whatever an earlier run left in the home folder.
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    done = subprocess.run(
        [sys.executable, "-m", "support.compile_kernels"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(found) == 9 + 4
    return found


def test_nothing_spills_on_hopper(made: list[dict[str, Any]]) -> None:
    assert [one for one in made if one["capability"] == 90 and one["spills"]] == []


def attention(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in made if "shared_bytes" in one]


def test_attention_fits_shared_memory(made: list[dict[str, Any]]) -> None:
    for one in attention(made):
        assert one["instructions"] > 20, one
        # sm80 has 163 KiB for one block; two blocks should find room on each processor.
        assert one["shared_bytes"] <= 82 * 1024, one


def test_tiles_use_matrix_units_and_copy_ahead(made: list[dict[str, Any]]) -> None:
    for one in attention(made):
        if one["kernel"] == "_merge_kernel":
            continue
        assert one["asynchronous_copies"] > 0, one
        hopper_tiles = one["capability"] == 90 and one["kernel"] == "_tiles_kernel"
        assert one["warp_group_products" if hopper_tiles else "warp_products"] > 0, one
