"""What tokens cost: prices by model, and exact integer arithmetic on them.

Decides the price of a usage. Knows neither where prices come from nor who pays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.money import TOKENS_PER_PRICE, Money

ANY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-units of a currency for a million tokens of each kind.

    factor: the exact part of these that is billed; 1/2 for the lines of a batch.
    """

    input_nanos: int
    cached_input_nanos: int
    output_nanos: int
    currency: str = "USD"
    factor: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if self.factor < 0 or min(self.input_nanos, self.cached_input_nanos, self.output_nanos) < 0:
            raise ValueError("a price is never negative")


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Rates by model name in one currency; `*` stands for every model that is not named."""

    currency: str
    rates: Mapping[str, Rates]
    # What a line of a batch costs, as a part of the price.
    batch_factor: Fraction = Fraction(1)

    def find(self, model: str) -> Rates | None:
        """The rates of a model, or None when the book has none for it."""
        return self.rates.get(model) or self.rates.get(ANY_MODEL)

    def find_for_batch(self, model: str) -> Rates | None:
        """The rates of a model for lines of a batch."""
        rates = self.find(model)
        return None if rates is None else replace(rates, factor=rates.factor * self.batch_factor)


def bind(
    currency: str, entries: Iterable[tuple[str, Rates]], batch_factor: Fraction = Fraction(1)
) -> PriceBook:
    """Make a book of entries of which the first that matches a model counts.

    Raises ValueError when an entry has another currency.
    """
    rates: dict[str, Rates] = {}
    for model, entry in entries:
        if entry.currency != currency:
            raise ValueError(f"cannot mix {currency} and {entry.currency} (price of {model})")
        if ANY_MODEL not in rates:
            rates.setdefault(model, entry)
    return PriceBook(currency, rates, batch_factor)


def price(usage: Usage, rates: Rates) -> Money:
    """The cost of a usage, in whole nano-units; half a nano is rounded up, once, on the sum.

    Cached tokens are a part of the prompt tokens and reasoning tokens a part of the completion
    tokens. Raises ValueError when the counts contradict that or are negative.
    """
    check_counts(usage)
    per_million = (
        (usage.prompt_tokens - usage.cached_tokens) * rates.input_nanos
        + usage.cached_tokens * rates.cached_input_nanos
        + usage.completion_tokens * rates.output_nanos
    )
    above = per_million * rates.factor.numerator
    below = TOKENS_PER_PRICE * rates.factor.denominator
    nanos = (2 * above + below) // (2 * below)
    return Money(nanos, rates.currency)


def check_counts(usage: Usage) -> None:
    """Raise ValueError when the counts of a usage cannot be true."""
    if not 0 <= usage.cached_tokens <= usage.prompt_tokens:
        raise ValueError(f"cached tokens are a part of the prompt tokens: {usage}")
    if not 0 <= usage.reasoning_tokens <= usage.completion_tokens:
        raise ValueError(f"reasoning tokens are a part of the completion tokens: {usage}")
