"""What a request's `service_tier` means: its price, who is let in first, its place in a queue.

Decides by the word alone. What each costs is the ledger's, how much room it finds `admission`'s.
"""

from dataclasses import dataclass

from tokenyard.gateway.rules.admission import Class
from tokenyard.ledger.rules.pricing import Tier


@dataclass(frozen=True, slots=True)
class Service:
    """How a request is served. queue_place: at the model server, lower first, 0 as usual."""

    tier: Tier
    kind: Class
    queue_place: int = 0


def choose_service(word: str | None, flex_queue_place: int) -> Service:
    """The service for a word of the API; none and `auto` are the default."""
    match word:
        case "flex":
            return Service(Tier.FLEX, Class.LOWER, flex_queue_place)
        case "priority":
            return Service(Tier.PRIORITY, Class.UPPER)
        case _:
            return Service(Tier.DEFAULT, Class.INTERACTIVE)
