"""What decides a draw: the rule of one row, and the number that belongs to a seed and a position.

No generator's state is shared, so a request draws the same alone, in a crowd, after a preemption
and on another replica. Does not know logits.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenyard.vocabulary.generation import SamplingParameters


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is done to a row of logits before anything is drawn from it.

    banned: tokens that cannot be drawn now. bias: (token, what is added to its logit).
    repetition: divides the positive and multiplies the negative logits of tokens seen before.
    frequency, presence: subtracted for each, and for any, occurrence in the answer.
    """

    banned: tuple[int, ...] = ()
    bias: tuple[tuple[int, float], ...] = ()
    repetition: float = 1.0
    frequency: float = 0.0
    presence: float = 0.0


@dataclass(frozen=True, slots=True)
class DrawRule:
    """How one row of logits becomes a token.

    temperature: 0 is greedy. top_p: in (0, 1]. top_k: 0 means all. min_p: 0 means all.
    position: the place of the drawn token in its sequence, prompt included.
    """

    temperature: float
    top_p: float
    top_k: int
    seed: int
    position: int
    min_p: float = 0.0
    # None when there is nothing to do, which is the usual case and the fast one.
    adjustment: Adjustment | None = None
    # One bit for each token, lowest first, that may be drawn; None allows all.
    allowed: bytes | None = None
    # Likeliest tokens to report beside the drawn one; None reports nothing.
    report_top: int | None = None


@dataclass(frozen=True, slots=True)
class TokenReport:
    """Natural logarithms of probabilities, before bans, biases, penalties and temperature."""

    token: int
    logprob: float
    # The likeliest first.
    top: tuple[tuple[int, float], ...]
    # 1 when no token was likelier; 0 when nobody counted.
    rank: int = 0


def make_rule(
    sampling: SamplingParameters,
    *,
    seed: int,
    position: int,
    generated: int,
    end_ids: frozenset[int],
    banned: tuple[int, ...] = (),
    allowed: bytes | None = None,
    formed: bool = False,
) -> DrawRule:
    """The rule for the token after the `generated`-th one of an answer.

    formed: the answer has a form, which decides by itself when it may end.
    """
    # With a form, both at once could leave nothing to draw.
    if generated < sampling.min_tokens and not formed:
        banned = tuple(sorted(end_ids.union(sampling.stop_token_ids, banned)))
    adjustment = Adjustment(
        banned,
        sampling.logit_bias,
        sampling.repetition_penalty,
        sampling.frequency_penalty,
        sampling.presence_penalty,
    )
    return DrawRule(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=seed,
        position=position,
        min_p=sampling.min_p,
        adjustment=None if adjustment == _NOTHING else adjustment,
        allowed=allowed,
        report_top=sampling.report_top,
    )


_NOTHING = Adjustment()


def ban_next(sequences: Iterable[tuple[int, ...]], answer: Sequence[int]) -> tuple[int, ...]:
    """Tokens that would complete one of the sequences at the end of `answer`."""
    return tuple(
        sorted(
            {
                one[-1]
                for one in sequences
                if len(one) == 1 or tuple(answer[1 - len(one) :]) == one[:-1]
            }
        )
    )


def pack_tokens(tokens: Iterable[int], vocabulary: int) -> bytes:
    """`DrawRule.allowed` for these tokens."""
    bits = bytearray(-(-vocabulary // 8))
    for token in tokens:
        bits[token // 8] |= 1 << token % 8
    return bytes(bits)


def derive_seed(seed: int, choice: int) -> int:
    """The seed of one of several answers to a request; the first one has the request's own."""
    if choice == 0:
        return seed
    text = f"{seed}/{choice}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)


def uniform_at(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits: a hash of the two."""
    text = f"{seed}:{position}".encode()
    return (int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11) / (1 << 53)
