"""The price book as the settings spell it, turned into exact numbers."""

from datetime import UTC, datetime
from fractions import Fraction

from tokenyard.ledger.rules.pricing import ANY, PriceBook, PriceEntry, Rates, Tier, bind
from tokenyard.runtime.ledger_settings import LedgerSettings, PriceSettings
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.money import Money, parse_nanos


def read_prices(settings: LedgerSettings) -> PriceBook:
    """The price book of the settings; raises StartError naming what is no price."""
    entries = [_read_entry(entry, settings.currency) for entry in settings.prices]
    tiers = {
        Tier.BATCH: Fraction(settings.batch_factor),
        Tier.FLEX: Fraction(settings.flex_factor),
        Tier.PRIORITY: Fraction(settings.priority_factor),
    }
    gpu_hours = {
        entry.kind: _read(entry.hour, "ledger.gpu_prices.hour") for entry in settings.gpu_prices
    }
    try:
        return bind(settings.currency, entries, tiers, gpu_hours)
    except ValueError as error:
        raise StartError(f"A setting is wrong: `ledger.prices`: {error}.") from None


def read_monthly_budget(settings: LedgerSettings) -> Money | None:
    """What each project may spend in a calendar month; None when the setting is empty."""
    if not settings.monthly_budget:
        return None
    return Money(_read(settings.monthly_budget, "ledger.monthly_budget"), settings.currency)


def gpu_hour_nanos(book: PriceBook, kind: str) -> int:
    """Nano-units for an hour of a GPU of that kind; 0 when the book has no price for it."""
    return book.gpu_hours.get(kind, book.gpu_hours.get(ANY, 0))


def _read_entry(entry: PriceSettings, currency: str) -> PriceEntry:
    rates = Rates(
        input_nanos=_read(entry.input, "ledger.prices.input"),
        cached_input_nanos=_read(entry.cached_input, "ledger.prices.cached_input"),
        output_nanos=_read(entry.output, "ledger.prices.output"),
        currency=currency,
        reasoning_nanos=(
            _read(entry.reasoning, "ledger.prices.reasoning") if entry.reasoning else None
        ),
    )
    return PriceEntry(entry.model, rates, entry.upstream, _read_day(entry.since))


def _read_day(text: str) -> float:
    if not text:
        return 0.0
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise StartError(
            f"A setting is wrong: `ledger.prices.since` is {text!r} and not a day."
        ) from None


def _read(text: str, name: str) -> int:
    try:
        return parse_nanos(text)
    except (ValueError, ArithmeticError):
        raise StartError(
            f"A setting is wrong: `{name}` is {text!r} and not an amount such as 0.15."
        ) from None
