"""Which producers are alive: those whose count of beats still moves.

Each process judges by its own monotonic clock, so that no two clocks have to agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tokenyard.vocabulary.ids import ProducerId


@dataclass(frozen=True, slots=True)
class Seen:
    """A producer's count, and when (our monotonic clock) it was first seen."""

    beats: int
    since: float


def observe(
    seen: Mapping[ProducerId, Seen], told: Mapping[ProducerId, int], now: float
) -> dict[ProducerId, Seen]:
    """What is known after hearing `told`; producers that are not told of are forgotten."""
    known = {}
    for producer, beats in told.items():
        before = seen.get(producer)
        moved = before is None or before.beats != beats
        known[producer] = Seen(beats, now) if before is None or moved else before
    return known


def find_dead(
    seen: Mapping[ProducerId, Seen], now: float, lease_seconds: float
) -> frozenset[ProducerId]:
    """Those whose count has stood still for as long as a lease lasts."""
    return frozenset(producer for producer, one in seen.items() if now - one.since >= lease_seconds)
