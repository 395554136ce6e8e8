"""What decides a draw: the rule of one row, and the number that belongs to a seed and a position.

No generator's state is shared, so a request draws the same alone, in a crowd, after a preemption
and on another replica. Does not know logits.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrawRule:
    """How one row of logits becomes a token.

    temperature: 0 is greedy. top_p: in (0, 1]. top_k: 0 means all.
    position: the place of the drawn token in its sequence, prompt included.
    """

    temperature: float
    top_p: float
    top_k: int
    seed: int
    position: int


def uniform_at(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits: a hash of the two."""
    text = f"{seed}:{position}".encode()
    return (int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11) / (1 << 53)
