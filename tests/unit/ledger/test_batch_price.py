"""Lines of batches cost an exact part of the price, rounded once."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.ledger.prices import read_prices
from tokenyard.ledger.rules.pricing import Rates, Tier, price
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.money import TOKENS_PER_PRICE

RATES = {"input": "0.15", "cached_input": "0.075", "output": "0.6"}


def batch_rates(factor: str) -> Rates:
    settings = LedgerSettings(prices=(PriceSettings(model="m", **RATES),), batch_factor=factor)
    found = read_prices(settings).find("m", 0.0, tier=Tier.BATCH)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("factor", "usage", "nanos"),
    [
        ("1/2", Usage(1_000_000, 0), 75_000_000),
        ("1/2", Usage(1, 0), 75),
        # Half of 75 is rounded up, once.
        ("1/2", Usage(1, 0, cached_tokens=1), 38),
        ("1/2", Usage(3, 1, cached_tokens=3), 113 + 300),
        ("1/3", Usage(1, 0), 50),
        ("2/3", Usage(1, 0), 100),
        ("1", Usage(1, 0), 150),
        ("0", Usage(1_000_000, 9), 0),
    ],
)
def test_known_amounts(factor: str, usage: Usage, nanos: int) -> None:
    assert price(usage, batch_rates(factor)).nanos == nanos


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.integers(0, 10**12),
    st.fractions(min_value=0, max_value=2, max_denominator=999_999),
)
def test_it_is_the_nearest_nano_to_the_exact_amount(
    prompt: int, completion: int, rate: int, factor: Fraction
) -> None:
    cost = price(Usage(prompt, completion), Rates(rate, rate, rate, factor=factor)).nanos
    exact = Fraction((prompt + completion) * rate, TOKENS_PER_PRICE) * factor
    assert -Fraction(1, 2) < cost - exact <= Fraction(1, 2)


def test_a_model_without_a_price_has_none_for_batches() -> None:
    settings = LedgerSettings(prices=(PriceSettings(model="m", **RATES),))
    assert read_prices(settings).find("other", 0.0, tier=Tier.BATCH) is None


def test_the_ordinary_price_does_not_change() -> None:
    settings = LedgerSettings(prices=(PriceSettings(model="m", **RATES),))
    book = read_prices(settings)
    assert book.find("m", 0.0) == Rates(150_000_000, 75_000_000, 600_000_000)
