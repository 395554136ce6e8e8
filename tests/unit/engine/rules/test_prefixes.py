"""Equal names mean equal prefixes under the same salt."""

from hypothesis import given
from hypothesis import strategies as st

from tokenyard.engine.rules.prefixes import BlockName, extend_names, name_block, name_root

TOKENS = st.lists(st.integers(0, 3), max_size=24)


def names_of(tokens: list[int], salt: str = "", size: int = 4) -> list[BlockName]:
    names: list[BlockName] = []
    extend_names(names, name_root(salt), tokens, size)
    return names


@given(TOKENS, TOKENS)
def test_names_agree_exactly_as_far_as_the_tokens_do(left: list[int], right: list[int]) -> None:
    for place, (one, other) in enumerate(zip(names_of(left), names_of(right), strict=False)):
        assert (one == other) == (left[: (place + 1) * 4] == right[: (place + 1) * 4])


@given(TOKENS, st.integers(0, 24))
def test_names_made_in_two_goes_are_the_same(tokens: list[int], cut: int) -> None:
    names = names_of(tokens[:cut])
    extend_names(names, name_root(""), tokens, 4)
    assert names == names_of(tokens)


def test_a_salt_separates_tenants() -> None:
    assert names_of([1, 2, 3, 4], "one")[0] != names_of([1, 2, 3, 4], "two")[0]


def test_large_token_ids_have_names_of_their_own() -> None:
    root = name_root("")
    assert name_block(root, [1, 2**40]) != name_block(root, [1, 2**40 + 2**32])


def test_only_whole_blocks_are_named() -> None:
    assert len(names_of([1] * 7)) == 1
    assert names_of([1] * 3) == []
