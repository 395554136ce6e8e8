"""`tokenyard models fit` says what fits and how fast, and names the option that is wrong."""

from pathlib import Path

import pytest

from support.tiny_model import write_model
from tokenyard.cli.fitting import Question, describe_fit, read_bytes
from tokenyard.vocabulary.errors import NotFound, StartError

ASKED = {
    "name": "Qwen3-8B", "shape": None, "memory": "139GiB", "context": 8192, "dtype": "bf16",
    "kv_dtype": "bf16", "overhead": "4GiB", "bandwidth": None, "peak": None,
}  # fmt: skip


def fit(home: Path, **changes: object) -> str:
    return describe_fit(Question(**{**ASKED, **changes}), home)  # type: ignore[arg-type]


def test_both_answers_in_a_few_lines(tmp_path: Path) -> None:
    lines = fit(tmp_path).splitlines()
    assert lines[1] == "KV cache: 790,976 tokens, at most 96 sequences of 8,192 tokens"
    assert "3.801 ms a step, 263 tokens/s" in lines[3]
    assert "more than fit" in lines[5]
    assert "more than fit" not in lines[4]
    assert lines[6].endswith("169.10 ms, 48,444 tokens/s")
    assert len(lines) == 7


def test_a_file_tells_its_own_shape(tmp_path: Path) -> None:
    path = write_model(tmp_path / "Tiny.gguf")
    text = fit(tmp_path, name=str(path), memory="1GiB", overhead="0B", context=256)
    # 2 layers x 2 KV heads x 8 wide x key and value x 2 bytes.
    assert "0.125 KiB a token" in text
    assert text.startswith("tiny: 0.000 billion parameters")


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    assert "it does not fit into 12GB" in fit(tmp_path, memory="12GB")


def test_another_device_and_narrower_numbers(tmp_path: Path) -> None:
    text = fit(tmp_path, bandwidth="2.15TB", peak=790.0, kv_dtype="fp8")
    assert "72 KiB a token" in text
    assert "2.15 TB/s and 790 TFLOP/s (as given)" in text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("141GB", 141 * 10**9),
        ("80GiB", 80 * 2**30),
        ("1.5 MiB", 3 * 2**19),
        ("512", 512),
        ("0B", 0),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert read_bytes(text, "--memory") == size


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"memory": "lots"}, "--memory"),
        ({"memory": "-1GB"}, "--memory"),
        ({"overhead": "4gb"}, "--overhead"),
        ({"bandwidth": "fast", "peak": 1.0}, "--bandwidth"),
        ({"bandwidth": "1TB"}, "go together"),
        ({"peak": 1.0}, "go together"),
        ({"name": None}, "--shape"),
        ({"shape": "layers=2"}, "either a name or --shape"),
        ({"name": None, "shape": "layers=2"}, "hidden is missing"),
        ({"name": "smollm2-135m-instruct"}, "models pull"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(StartError, match=named):
        fit(tmp_path, **changes)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"Qwen3-0\.6B"):
        fit(tmp_path, name="gpt-9")
