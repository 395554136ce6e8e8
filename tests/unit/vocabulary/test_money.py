"""Money is exact or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.vocabulary.money import Money, parse_nanos


@pytest.mark.parametrize(
    ("text", "nanos"),
    [("0", 0), ("0.15", 150_000_000), ("1", 10**9), ("0.000000001", 1), ("12.5", 12_500_000_000)],
)
def test_amounts_are_read_exactly(text: str, nanos: int) -> None:
    assert parse_nanos(text) == nanos


@pytest.mark.parametrize("text", ["0.0000000001", "1e-12", "NaN", "Infinity"])
def test_what_is_no_whole_number_of_nanos_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_nanos(text)


@given(st.integers(-(10**18), 10**18))
def test_spelling_and_reading_are_inverse(nanos: int) -> None:
    spelled = str(Money(nanos)).removesuffix(" USD")
    assert parse_nanos(spelled) == nanos


def test_currencies_never_meet() -> None:
    assert Money(3) + Money(4) - Money(2) == Money(5)
    with pytest.raises(ValueError, match="cannot mix"):
        Money(1, "USD") + Money(1, "EUR")
