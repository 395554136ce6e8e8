"""Money: integer nano-units of a currency, never a float.

A nano is one billionth of a unit: 1 USD = 1_000_000_000 nanos. A price is stored as nanos per
million tokens, so that "$0.15 per million" is exact for a single token too (150 nanos).
"""

from dataclasses import dataclass
from decimal import Decimal

NANOS_PER_UNIT = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount in nano-units; amounts of two currencies never meet."""

    nanos: int
    currency: str = "USD"

    def __add__(self, other: "Money") -> "Money":
        self._check_currency(other)
        return Money(self.nanos + other.nanos, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._check_currency(other)
        return Money(self.nanos - other.nanos, self.currency)

    def _check_currency(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")

    def __str__(self) -> str:
        amount = Decimal(self.nanos) / NANOS_PER_UNIT
        return f"{amount:.9f}".rstrip("0").rstrip(".") + f" {self.currency}"


def parse_nanos(text: str) -> int:
    """Read a decimal amount ("0.15") as nanos; ValueError when that is no whole number."""
    amount = Decimal(text) * NANOS_PER_UNIT
    if not amount.is_finite() or amount != amount.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number of nano-units")
    return int(amount)
