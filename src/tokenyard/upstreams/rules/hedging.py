"""Whether a second server is asked while the first is still silent, and how often that may be.

Decides from a call's words and a credit that calls earn and hedges spend, so that of many calls no
more than a set share is asked twice. Knows neither servers nor time.

Source: J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Credit beyond this is not kept: a quiet day does not pay for a storm of second requests.
CREDIT_MAX = 10.0
# A part of a credit that rounding took away is no reason to refuse.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class HedgeRule:
    """After so many seconds without an event, and for which share of the calls at most."""

    seconds: float
    share_max: float


def earn(credit: float, rule: HedgeRule) -> float:
    """The credit after one more call that may be hedged."""
    return min(credit + rule.share_max, CREDIT_MAX)


def spend(credit: float) -> float | None:
    """The credit after a hedge; None when there is not enough for one."""
    return None if credit < 1.0 - _ROUNDING else max(credit - 1.0, 0.0)


def may_hedge(request: Mapping[str, Any]) -> bool:
    """Whether asking twice changes nothing but the time: a stream that no server keeps.

    A whole answer is heard of only at its end, when the second one would be whole as well. What
    another server has begun goes on at one only, and what is stored would be stored twice.
    """
    return (
        request.get("stream") is True
        and not request.get("store")
        and not request.get("continue_token_ids")
    )
