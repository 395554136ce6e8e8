"""Prices: exact, additive, never negative."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tokenyard.ledger.prices import read_monthly_budget, read_prices
from tokenyard.ledger.rules.pricing import (
    PriceEntry,
    Rates,
    Tier,
    bind,
    price,
    price_gpu,
    saved_nanos,
)
from tokenyard.ledger.rules.reservation import worst_cost
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.money import TOKENS_PER_PRICE, Money

TOKENS = st.integers(0, 10_000_000)
NANOS = st.integers(0, 10**14)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, completion = draw(TOKENS), draw(TOKENS)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=draw(st.integers(0, prompt)),
        reasoning_tokens=draw(st.integers(0, completion)),
    )


RATES = st.builds(Rates, input_nanos=NANOS, cached_input_nanos=NANOS, output_nanos=NANOS)


def add(one: Usage, other: Usage) -> Usage:
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        (Usage(0, 0), 0),
        (Usage(1_000_000, 0), 150_000_000),
        (Usage(1, 0), 150),
        (Usage(0, 1), 600),
        (Usage(1_000_000, 0, cached_tokens=1_000_000), 75_000_000),
        (Usage(1_000, 500, cached_tokens=400, reasoning_tokens=200), 90_000 + 30_000 + 300_000),
    ],
)
def test_known_amounts_at_published_prices(usage: Usage, nanos: int) -> None:
    rates = Rates(150_000_000, 75_000_000, 600_000_000)
    assert price(usage, rates) == Money(nanos, "USD")


@pytest.mark.parametrize(
    ("rate", "tokens", "nanos"),
    [(1, 499_999, 0), (1, 500_000, 1), (1, 1_500_000, 2), (3, 500_000, 2), (1, 0, 0)],
)
def test_half_a_nano_is_rounded_up(rate: int, tokens: int, nanos: int) -> None:
    assert price(Usage(tokens, 0), Rates(rate, 0, 0)).nanos == nanos


def test_rounding_happens_once_on_the_sum() -> None:
    # Each part alone would round up to 1; the sum of all three is 1.2 nanos.
    rates = Rates(400_000, 400_000, 400_000)
    assert price(Usage(2, 1, cached_tokens=1), rates).nanos == 1


@given(usages(), RATES)
def test_within_half_a_nano_of_the_exact_value(usage: Usage, rates: Rates) -> None:
    exact = Fraction(
        (usage.prompt_tokens - usage.cached_tokens) * rates.input_nanos
        + usage.cached_tokens * rates.cached_input_nanos
        + usage.completion_tokens * rates.output_nanos,
        TOKENS_PER_PRICE,
    )
    nanos = price(usage, rates).nanos
    assert nanos >= 0
    assert abs(nanos - exact) <= Fraction(1, 2)


@given(usages(), usages(), RATES)
def test_additive_within_one_nano(one: Usage, other: Usage, rates: Rates) -> None:
    together = price(add(one, other), rates).nanos
    apart = price(one, rates).nanos + price(other, rates).nanos
    assert abs(together - apart) <= 1


@given(usages(), RATES)
def test_a_cache_hit_is_never_dearer_when_its_price_is_lower(usage: Usage, rates: Rates) -> None:
    assume(rates.cached_input_nanos <= rates.input_nanos)
    missed = Usage(usage.prompt_tokens, usage.completion_tokens)
    assert price(usage, rates) <= price(missed, rates)


@given(usages(), RATES, st.integers(0, 1000), st.integers(0, 1000))
def test_the_worst_cost_bounds_every_usage_within_it(
    usage: Usage, rates: Rates, more_prompt: int, more_completion: int
) -> None:
    worst = worst_cost(
        rates,
        prompt_tokens=usage.prompt_tokens + more_prompt,
        completion_tokens_max=usage.completion_tokens + more_completion,
    )
    assert price(usage, rates) <= worst


@pytest.mark.parametrize(
    "usage",
    [
        Usage(-1, 0),
        Usage(0, -1),
        Usage(1, 0, cached_tokens=2),
        Usage(1, 0, cached_tokens=-1),
        Usage(0, 1, reasoning_tokens=2),
        Usage(0, 1, reasoning_tokens=-1),
    ],
)
def test_counts_that_cannot_be_true_are_refused(usage: Usage) -> None:
    with pytest.raises(ValueError, match="tokens"):
        price(usage, Rates(1, 1, 1))


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Rates(1, -1, 1)


def test_the_first_match_counts_and_the_star_ends_the_book() -> None:
    cheap, dear, rest = Rates(1, 1, 1), Rates(2, 2, 2), Rates(3, 3, 3)
    names = [("a", cheap), ("a", dear), ("*", rest), ("b", dear)]
    book = bind("USD", [PriceEntry(model, rates) for model, rates in names])
    assert book.find("a", 0) is cheap
    assert book.find("b", 0) is rest
    assert book.find("other", 0) is rest
    assert bind("USD", [PriceEntry("a", cheap)]).find("b", 0) is None


def test_a_free_model_does_not_fall_through_to_the_star() -> None:
    free = Rates(0, 0, 0)
    book = bind("USD", [PriceEntry("a", free), PriceEntry("*", Rates(3, 3, 3))])
    assert book.find("a", 0) is free


def test_a_price_holds_from_its_day_until_the_next_one() -> None:
    first, second = Rates(1, 1, 1), Rates(2, 2, 2)
    book = bind("USD", [PriceEntry("a", first, since=100), PriceEntry("a", second, since=200)])
    assert [book.find("a", at) for at in (99.9, 100, 199.9, 200, 1e9)] == [
        None, first, first, second, second,
    ]  # fmt: skip


def test_a_price_of_one_upstream_holds_there_only_and_is_set_aside_for() -> None:
    dear, rest = Rates(9, 9, 9), Rates(1, 1, 1)
    book = bind("USD", [PriceEntry("a", dear, upstream="far"), PriceEntry("*", rest)])
    assert book.find("a", 0, upstream="far") is dear
    assert book.find("a", 0, upstream="near") is rest
    assert book.find("a", 0) is rest
    assert set(book.find_all("a", 0)) == {dear, rest}


def test_a_tier_is_billed_at_its_part_of_the_price() -> None:
    rates = Rates(2, 2, 2)
    book = bind("USD", [PriceEntry("*", rates)], {Tier.FLEX: Fraction(1, 2)})
    flex, default = book.find("a", 0, tier=Tier.FLEX), book.find("a", 0)
    assert flex == replace(rates, factor=Fraction(1, 2))
    assert default == rates


def test_reasoning_tokens_may_have_a_price_of_their_own() -> None:
    usage = Usage(0, 3_000_000, reasoning_tokens=1_000_000)
    assert price(usage, Rates(0, 0, 10)).nanos == 30
    assert price(usage, Rates(0, 0, 10, reasoning_nanos=7)).nanos == 27


@given(usages(), RATES)
def test_what_the_cache_saved_is_the_difference_to_a_miss(usage: Usage, rates: Rates) -> None:
    missed = Usage(usage.prompt_tokens, usage.completion_tokens, 0, usage.reasoning_tokens)
    assert price(usage, rates).nanos + saved_nanos(usage, rates) == price(missed, rates).nanos


@pytest.mark.parametrize(
    ("millis", "hour", "nanos"),
    [(3_600_000, 2_000, 2_000), (1, 3_600_000, 1), (1, 1_799_999, 0), (1, 1_800_000, 1), (0, 9, 0)],
)
def test_gpu_time_is_exact_to_the_nano(millis: int, hour: int, nanos: int) -> None:
    assert price_gpu(millis, hour) == nanos


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="cannot mix"):
        bind("USD", [PriceEntry("a", Rates(1, 1, 1, "EUR"))])
    with pytest.raises(ValueError, match="cannot mix"):
        Money(1, "USD") + Money(1, "EUR")


def test_settings_become_exact_numbers() -> None:
    settings = LedgerSettings(
        currency="EUR",
        prices=(PriceSettings(model="m", input="0.15", cached_input="0.000000001", output="12"),),
        monthly_budget="10.5",
    )
    assert read_prices(settings).find("m", 0) == Rates(150_000_000, 1, 12_000_000_000, "EUR")
    assert read_monthly_budget(settings) == Money(10_500_000_000, "EUR")


def test_no_budget_and_the_budget_of_nothing_are_different() -> None:
    assert read_monthly_budget(LedgerSettings()) is None
    assert read_monthly_budget(LedgerSettings(monthly_budget="0")) == Money(0)
