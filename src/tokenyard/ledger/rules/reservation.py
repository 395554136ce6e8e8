"""How much to set aside before the work: the most that a request can cost.

Decides nothing about whether the caller may spend it; that is `budget`.
"""

from tokenyard.ledger.rules.pricing import Rates, price
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.money import Money


def worst_cost(rates: Rates, *, prompt_tokens: int, completion_tokens_max: int) -> Money:
    """The cost when every token is of the dearer kind that it may be.

    prompt_tokens: an upper bound of what the engine will count. completion_tokens_max: the most
    that may be generated. No usage within those two bounds costs more.
    """
    dearest_is_cached = rates.cached_input_nanos > rates.input_nanos
    dearest_is_reasoning = rates.reasoning > rates.output_nanos
    usage = Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens_max,
        cached_tokens=prompt_tokens if dearest_is_cached else 0,
        reasoning_tokens=completion_tokens_max if dearest_is_reasoning else 0,
    )
    return price(usage, rates)
