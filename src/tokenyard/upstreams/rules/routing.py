"""Which model server answers a request, of those that are ready and have the model.

The most wanted class of servers first; in it the one that this conversation's beginning is cached
at, while that is not busier than the others; else by weight, or the least busy. Knows counts and
names; does not know addresses, nor how health is found out.

Sources: D. G. Thaler and C. V. Ravishankar, "Using name-based mappings to increase hit rates",
IEEE/ACM Transactions on Networking 6(1), 1998 (rendezvous hashing); V. Mirrokni, M. Thorup and
M. Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

# How much busier than the mean a server may be and still get what is cached there.
_BOUND = 1.25


class Readiness(StrEnum):
    """Whether a model server may be asked."""

    READY = "ready"
    LOADING = "loading"
    DOWN = "down"


# A tuple, since each request asks for one of every server.
class Candidate(NamedTuple):
    """What routing knows of one model server.

    priority: lower is asked first; the next ones only when none of it can be. weight: its share
    among those of its priority; 0 gets nothing that another can take.
    """

    name: str
    readiness: Readiness
    models: frozenset[str]
    in_flight: int
    weight: int = 1
    priority: int = 0
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Ask this one."""

    name: str


class NoChoice(StrEnum):
    """Why nobody can be asked."""

    # No server has or is meant to have the model.
    UNKNOWN_MODEL = "unknown_model"
    # Those that have it lack a tag that is asked for.
    UNTAGGED = "untagged"
    LOADING = "loading"
    DOWN = "down"


def choose(
    candidates: Sequence[Candidate],
    model: str,
    *,
    affinity: bytes = b"",
    draw: float = 0.0,
    tags: frozenset[str] = frozenset(),
) -> Chosen | NoChoice:
    """The server to ask; only those with all of these tags may be.

    affinity: the same for requests that share a beginning; empty for none. draw: a random number,
    0 <= draw < 1, which decides between different weights.
    """
    serving = [candidate for candidate in candidates if model in candidate.models]
    if not serving:
        return NoChoice.UNKNOWN_MODEL
    if tags:
        serving = [candidate for candidate in serving if tags <= candidate.tags]
        if not serving:
            return NoChoice.UNTAGGED
    ready = [candidate for candidate in serving if candidate.readiness is Readiness.READY]
    if ready:
        first = min(candidate.priority for candidate in ready)
        best = [candidate for candidate in ready if candidate.priority == first]
        weighed = [candidate for candidate in best if candidate.weight > 0] or best
        return Chosen(_pick(weighed, affinity, draw).name)
    if any(candidate.readiness is Readiness.LOADING for candidate in serving):
        return NoChoice.LOADING
    return NoChoice.DOWN


def _pick(ready: Sequence[Candidate], affinity: bytes, draw: float) -> Candidate:
    if len(ready) == 1:
        return ready[0]
    if affinity:
        return _pick_near(ready, affinity)
    if len({candidate.weight for candidate in ready}) > 1:
        return _pick_by_weight(ready, draw)
    return min(ready, key=lambda candidate: (candidate.in_flight, candidate.name))


def _pick_near(ready: Sequence[Candidate], affinity: bytes) -> Candidate:
    """Where the beginning is cached, unless that one is busier than its share allows."""
    total = sum(candidate.in_flight for candidate in ready) + 1
    weights = sum(max(candidate.weight, 1) for candidate in ready)
    by_score = sorted(ready, key=lambda candidate: (-_score(candidate, affinity), candidate.name))
    for candidate in by_score:
        share = _BOUND * total * max(candidate.weight, 1) / weights
        if candidate.in_flight < math.ceil(share):
            return candidate
    return by_score[0]


def _score(candidate: Candidate, affinity: bytes) -> float:
    digest = hashlib.blake2b(candidate.name.encode() + b"\0" + affinity, digest_size=8).digest()
    part = (int.from_bytes(digest, "big") + 0.5) / 2.0**64
    return -max(candidate.weight, 1) / math.log(part)


def _pick_by_weight(ready: Sequence[Candidate], draw: float) -> Candidate:
    ordered = sorted(ready, key=lambda candidate: candidate.name)
    point = draw * sum(candidate.weight for candidate in ordered)
    for candidate in ordered:
        point -= candidate.weight
        if point < 0:
            return candidate
    return ordered[-1]
