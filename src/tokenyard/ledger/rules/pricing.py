"""What tokens and GPU-seconds cost: prices by model, date and server, and exact arithmetic on them.

Decides the price of a usage. Knows neither where prices come from nor who pays.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.money import TOKENS_PER_PRICE, Money

ANY = "*"
MILLIS_PER_HOUR = 3_600_000
# Names of models come from callers.
_FOUND_MAX = 1000


class Tier(StrEnum):
    """How work is served, as OpenAI's `service_tier` names it; batches are a tier of their own."""

    DEFAULT = "default"
    FLEX = "flex"
    PRIORITY = "priority"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-units of a currency for a million tokens of each kind.

    reasoning_nanos: of the part of the answer that is not shown; None means as `output_nanos`.
    factor: the exact part of these that is billed; 1/2 for the lines of a batch.
    """

    input_nanos: int
    cached_input_nanos: int
    output_nanos: int
    currency: str = "USD"
    factor: Fraction = Fraction(1)
    reasoning_nanos: int | None = None

    def __post_init__(self) -> None:
        prices = (self.input_nanos, self.cached_input_nanos, self.output_nanos, self.reasoning)
        if self.factor < 0 or min(prices) < 0:
            raise ValueError("a price is never negative")

    @property
    def reasoning(self) -> int:
        """Nano-units for a million reasoning tokens."""
        return self.output_nanos if self.reasoning_nanos is None else self.reasoning_nanos


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """Rates of a model, on one upstream or any, from a time on (Unix seconds)."""

    model: str
    rates: Rates
    upstream: str = ANY
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Entries in one currency; the first that matches counts, of one name the newest.

    tiers: the exact part of the price at which each tier is billed. gpu_hours: nano-units for an
    hour of a GPU by its kind, `*` for any other.
    """

    currency: str
    entries: Sequence[PriceEntry]
    tiers: Mapping[Tier, Fraction] = field(default_factory=dict)
    gpu_hours: Mapping[str, int] = field(default_factory=dict)
    # What was found before; prices change only when another entry begins.
    _found: dict[tuple[str, str, Tier, int], Rates | None] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    _found_all: dict[tuple[str, Tier, int], tuple[Rates, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    _begins: tuple[float, ...] = field(default=(), init=False, compare=False, repr=False)
    _upstreams: tuple[str, ...] = field(default=(), init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        begins = tuple(sorted({entry.since for entry in self.entries}))
        object.__setattr__(self, "_begins", begins)
        upstreams = tuple(sorted({entry.upstream for entry in self.entries} | {""}))
        object.__setattr__(self, "_upstreams", upstreams)

    def find(
        self, model: str, at: float, *, upstream: str = "", tier: Tier = Tier.DEFAULT
    ) -> Rates | None:
        """The rates of a model at that time, or None when the book has none for it.

        upstream: the one that served it; empty while that is not known.
        """
        place = (model, upstream, tier, bisect_right(self._begins, at))
        if place not in self._found:
            if len(self._found) >= _FOUND_MAX:
                self._found.clear()
            self._found[place] = self._look(model, at, upstream, tier)
        return self._found[place]

    def _look(self, model: str, at: float, upstream: str, tier: Tier) -> Rates | None:
        begun = [entry for entry in self.entries if entry.since <= at]
        for entry in begun:
            if entry.model in (model, ANY) and entry.upstream in (upstream, ANY):
                same = (entry.model, entry.upstream)
                newest = max(
                    (one for one in begun if (one.model, one.upstream) == same),
                    key=lambda one: one.since,
                )
                return self._at_tier(newest.rates, tier)
        return None

    def find_all(self, model: str, at: float, *, tier: Tier = Tier.DEFAULT) -> Sequence[Rates]:
        """What the model may be billed at, wherever it is served."""
        place = (model, tier, bisect_right(self._begins, at))
        known = self._found_all.get(place)
        if known is None:
            if len(self._found_all) >= _FOUND_MAX:
                self._found_all.clear()
            known = self._found_all[place] = tuple(self._look_all(model, at, tier))
        return known

    def _look_all(self, model: str, at: float, tier: Tier) -> list[Rates]:
        found: list[Rates] = []
        for name in self._upstreams:
            rates = self.find(model, at, upstream=name, tier=tier)
            if rates is not None and not any(rates is one for one in found):
                found.append(rates)
        return found

    def _at_tier(self, rates: Rates, tier: Tier) -> Rates:
        factor = self.tiers.get(tier)
        return rates if factor is None else replace(rates, factor=rates.factor * factor)


def bind(
    currency: str,
    entries: Iterable[PriceEntry],
    tiers: Mapping[Tier, Fraction] | None = None,
    gpu_hours: Mapping[str, int] | None = None,
) -> PriceBook:
    """Make a book; raises ValueError when an entry has another currency."""
    kept = tuple(entries)
    for entry in kept:
        if entry.rates.currency != currency:
            raise ValueError(
                f"cannot mix {currency} and {entry.rates.currency} (price of {entry.model})"
            )
    return PriceBook(currency, kept, tiers or {}, gpu_hours or {})


def price(usage: Usage, rates: Rates) -> Money:
    """The cost of a usage, in whole nano-units; half a nano is rounded up, once, on the sum.

    Cached tokens are a part of the prompt tokens and reasoning tokens a part of the completion
    tokens. Raises ValueError when the counts contradict that or are negative.
    """
    check_counts(usage)
    per_million = (
        (usage.prompt_tokens - usage.cached_tokens) * rates.input_nanos
        + usage.cached_tokens * rates.cached_input_nanos
        + (usage.completion_tokens - usage.reasoning_tokens) * rates.output_nanos
        + usage.reasoning_tokens * rates.reasoning
    )
    return Money(
        _round(per_million * rates.factor.numerator, TOKENS_PER_PRICE * rates.factor.denominator),
        rates.currency,
    )


def saved_nanos(usage: Usage, rates: Rates) -> int:
    """What the prefix cache saved: the same usage without it, less what it cost."""
    if not usage.cached_tokens:
        return 0
    without = price(replace(usage, cached_tokens=0), rates)
    return without.nanos - price(usage, rates).nanos


def price_gpu(gpu_millis: int, hour_nanos: int) -> int:
    """Nano-units for thousandths of GPU-seconds; half a nano is rounded up."""
    if gpu_millis < 0 or hour_nanos < 0:
        raise ValueError("neither time nor prices are negative")
    return _round(gpu_millis * hour_nanos, MILLIS_PER_HOUR)


def check_counts(usage: Usage) -> None:
    """Raise ValueError when the counts of a usage cannot be true."""
    if not 0 <= usage.cached_tokens <= usage.prompt_tokens:
        raise ValueError(f"cached tokens are a part of the prompt tokens: {usage}")
    if not 0 <= usage.reasoning_tokens <= usage.completion_tokens:
        raise ValueError(f"reasoning tokens are a part of the completion tokens: {usage}")


def _round(above: int, below: int) -> int:
    return (2 * above + below) // (2 * below)
