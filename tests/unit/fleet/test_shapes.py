"""Shapes by name, by numbers, and from what a GGUF header says."""

import pytest

from tokenyard.fleet.rules.capacity import ModelShape
from tokenyard.fleet.rules.shapes import (
    KNOWN_SHAPES,
    SHAPE_FORM,
    find_shape,
    parse_shape,
    shape_of_header,
)
from tokenyard.vocabulary.errors import NotFound, StartError

METADATA: dict[str, object] = {
    "general.architecture": "llama",
    "llama.block_count": 30,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.feed_forward_length": 1536,
}


def test_names_are_found_in_any_case() -> None:
    for shape in KNOWN_SHAPES:
        assert find_shape(shape.name.upper()) is shape
    with pytest.raises(NotFound, match=r"Qwen3-8B.*--shape"):
        find_shape("gpt-9")


def test_numbers_that_are_shown_as_the_form_are_those_of_qwen3_8b() -> None:
    given, known = parse_shape(SHAPE_FORM), find_shape("qwen3-8b")
    assert given.parameters == known.parameters
    assert not given.tied


def test_the_head_dimension_is_what_is_left_of_hidden() -> None:
    shape = parse_shape("layers=2,hidden=64,heads=4,kv_heads=2,ffn=128,vocabulary=10,tied=yes")
    assert (shape.head_dim, shape.tied) == (16, True)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("layers=2", "hidden"),
        ("", "''"),
        ("depth=2", "depth"),
        ("layers=2,layers=3", "layers"),
        ("layers=two", "layers"),
        ("layers=0", "layers"),
        ("layers=-1", "layers"),
        ("layers=10000000000", "layers"),
        ("name=x", "name"),
        (SHAPE_FORM.replace("tied=no", "tied=maybe"), "tied"),
        ("layers=2,hidden=4,heads=8,kv_heads=1,ffn=1,vocabulary=1", "head_dim"),
    ],
)
def test_wrong_numbers_are_named(text: str, named: str) -> None:
    with pytest.raises(StartError, match=named):
        parse_shape(text)


def test_a_header_tells_the_shape() -> None:
    shape = shape_of_header("smol", METADATA, {"token_embd.weight"}, 49_152)
    known = find_shape("SmolLM2-135M")
    assert shape == ModelShape("smol", 30, 576, 9, 3, 64, 1536, 49_152, tied=True)
    assert shape.parameters == known.parameters
    untied = shape_of_header("smol", METADATA, {"output.weight"}, 49_152)
    assert not untied.tied


def test_a_header_may_name_the_head_dimension_and_leave_out_kv_heads() -> None:
    metadata = {**METADATA, "llama.attention.key_length": 128}
    del metadata["llama.attention.head_count_kv"]
    shape = shape_of_header("m", metadata, set(), 1)
    assert (shape.head_dim, shape.kv_heads) == (128, 9)


@pytest.mark.parametrize("value", [None, "30", True, 0, -1, 2**40])
def test_a_header_without_a_usable_number_is_told_by_its_key(value: object) -> None:
    with pytest.raises(StartError, match=r"llama\.block_count"):
        shape_of_header("m", {**METADATA, "llama.block_count": value}, set(), 1)
