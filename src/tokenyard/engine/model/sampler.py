"""From logits to tokens.

A draw is one number in [0, 1) that belongs to seed and position, sent through the inverse of the
cumulative distribution in the order of token ids.
Order of filters: temperature, top-k, top-p, as vLLM has them. Does not know requests.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokenyard.engine.rules.drawing import DrawRule, uniform_at

# Below this a temperature means greedy; the division would overflow anyway.
TEMPERATURE_GREEDY = 1e-5


def draw(logits: Tensor, rules: Sequence[DrawRule]) -> list[int | None]:
    """One token for each row of (rows, vocabulary) float32 logits; None for a row with a NaN."""
    # The maximum of a row is NaN as soon as one value is.
    highest, best = logits.max(dim=1)
    broken = torch.isnan(highest).tolist()
    greedy = best.tolist()
    drawn: list[int | None] = []
    for row, rule in enumerate(rules):
        if broken[row]:
            drawn.append(None)
        elif rule.temperature < TEMPERATURE_GREEDY:
            drawn.append(greedy[row])
        else:
            drawn.append(_draw_one(logits[row].numpy(), rule))
    return drawn


def _draw_one(logits: NDArray[np.float32], rule: DrawRule) -> int:
    scaled = (logits - logits.max()).astype(np.float64) / rule.temperature
    candidates = np.arange(len(scaled))
    if 0 < rule.top_k < len(scaled):
        threshold = np.partition(scaled, -rule.top_k)[-rule.top_k]
        candidates = np.nonzero(scaled >= threshold)[0]
    weights = np.exp(scaled[candidates])
    if rule.top_p < 1.0:
        kept = _nucleus(weights, rule.top_p)
        candidates, weights = candidates[kept], weights[kept]
    sums = np.cumsum(weights)
    place = np.searchsorted(sums, uniform_at(rule.seed, rule.position) * sums[-1], side="right")
    return int(candidates[min(int(place), len(candidates) - 1)])


def _nucleus(weights: NDArray[np.float64], top_p: float) -> NDArray[np.int64]:
    """Indices, ascending, of the fewest likeliest tokens that hold `top_p` of the weight."""
    total = weights.sum()
    # All tokens below this together hold less than 1 - top_p: they need not be sorted.
    floor = (1.0 - top_p) * total / len(weights)
    likely = np.nonzero(weights >= floor)[0]
    order = likely[np.argsort(-weights[likely], kind="stable")]
    sums = np.cumsum(weights[order])
    count = int(np.searchsorted(sums, top_p * total, side="left")) + 1
    kept: NDArray[np.int64] = np.sort(order[:count])
    return kept
