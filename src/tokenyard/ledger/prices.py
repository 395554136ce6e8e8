"""The price book as the settings spell it, turned into exact numbers."""

from fractions import Fraction

from tokenyard.ledger.rules.pricing import PriceBook, Rates, bind
from tokenyard.runtime.settings import LedgerSettings, PriceSettings
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.money import Money, parse_nanos


def read_prices(settings: LedgerSettings) -> PriceBook:
    """The price book of the settings; their pattern has made sure that every price is exact."""
    entries = [(entry.model, _read_rates(entry, settings.currency)) for entry in settings.prices]
    return bind(settings.currency, entries, Fraction(settings.batch_factor))


def read_monthly_budget(settings: LedgerSettings) -> Money | None:
    """What each project may spend in a calendar month; None when the setting is empty."""
    if not settings.monthly_budget:
        return None
    return Money(_read(settings.monthly_budget, "ledger.monthly_budget"), settings.currency)


def _read_rates(entry: PriceSettings, currency: str) -> Rates:
    return Rates(
        input_nanos=_read(entry.input, "ledger.prices.input"),
        cached_input_nanos=_read(entry.cached_input, "ledger.prices.cached_input"),
        output_nanos=_read(entry.output, "ledger.prices.output"),
        currency=currency,
    )


def _read(text: str, name: str) -> int:
    try:
        return parse_nanos(text)
    except (ValueError, ArithmeticError):
        raise StartError(
            f"A setting is wrong: `{name}` is {text!r} and not an amount such as 0.15."
        ) from None
