"""Which model server answers a request: a ready one that has the model, the least busy first.

Knows counts and names; does not know addresses, nor how health is found out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Readiness(StrEnum):
    """Whether a model server may be asked."""

    READY = "ready"
    LOADING = "loading"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What routing knows of one model server."""

    name: str
    readiness: Readiness
    models: frozenset[str]
    in_flight: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Ask this one."""

    name: str


class NoChoice(StrEnum):
    """Why nobody can be asked."""

    # No server has or is meant to have the model.
    UNKNOWN_MODEL = "unknown_model"
    LOADING = "loading"
    DOWN = "down"


def choose(candidates: Sequence[Candidate], model: str) -> Chosen | NoChoice:
    """The ready server of that model with the fewest answers in flight, ties by name."""
    serving = [candidate for candidate in candidates if model in candidate.models]
    if not serving:
        return NoChoice.UNKNOWN_MODEL
    ready = [candidate for candidate in serving if candidate.readiness is Readiness.READY]
    if ready:
        return Chosen(min(ready, key=lambda candidate: (candidate.in_flight, candidate.name)).name)
    if any(candidate.readiness is Readiness.LOADING for candidate in serving):
        return NoChoice.LOADING
    return NoChoice.DOWN
