"""From logits to tokens.

A draw is one number in [0, 1) that belongs to seed and position, sent through the inverse of the
cumulative distribution in the order of token ids.
Order, as vLLM has it: bans, biases, penalties; then greedy, or temperature, min-p, top-k and top-p.
Does not know requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokenyard.engine.rules.drawing import Adjustment, DrawRule, TokenReport, uniform_at

# Below this a temperature means greedy; the division would overflow anyway.
TEMPERATURE_GREEDY = 1e-5


@dataclass(frozen=True, slots=True)
class History:
    """The tokens before a row's, for penalties; the first `prompt_count` are the prompt."""

    tokens: Sequence[int]
    prompt_count: int


def draw(
    logits: Tensor, rules: Sequence[DrawRule], histories: Sequence[History]
) -> list[int | None]:
    """One token for each row of (rows, vocabulary) float32 logits; None where none can be drawn:
    for a row with a NaN, or when nothing is allowed.

    Changes the logits of rows whose rule has an adjustment or does not allow all tokens.
    """
    for row, rule in enumerate(rules):
        if rule.adjustment is not None:
            _adjust(logits[row].numpy(), rule.adjustment, histories[row])
        if rule.allowed is not None:
            _mask(logits[row].numpy(), rule.allowed)
    # The maximum of a row is NaN as soon as one value is, and -inf when no token may be drawn.
    highest, best = logits.max(dim=1)
    broken = torch.logical_or(torch.isnan(highest), torch.isneginf(highest)).tolist()
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


def keep_raw(logits: Tensor, rules: Sequence[DrawRule]) -> dict[int, Tensor]:
    """Copies of the rows to report on, as `draw` may change them."""
    return {
        row: logits[row].clone() for row, rule in enumerate(rules) if rule.report_top is not None
    }


def report(
    raw: dict[int, Tensor], drawn: Sequence[int | None], rules: Sequence[DrawRule]
) -> dict[int, TokenReport]:
    """Reports by row, of rows that drew a token."""
    reports = {}
    for row, logits in raw.items():
        token = drawn[row]
        if token is None:
            continue
        logprobs = torch.log_softmax(logits, dim=0)
        values, tokens = logprobs.topk(rules[row].report_top or 0)
        top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        reports[row] = TokenReport(token, float(logprobs[token]), top)
    return reports


def report_all(logits: Tensor, tokens: Sequence[int], top: int) -> list[TokenReport]:
    """Reports on tokens that are known, with their ranks; one for each row of logits."""
    logprobs = torch.log_softmax(logits, dim=1)
    drawn = logprobs.gather(1, torch.tensor(tokens).unsqueeze(1))
    ranks = (logprobs > drawn).sum(dim=1) + 1
    values, likely = logprobs.topk(top, dim=1)
    return [
        TokenReport(token, logprob, tuple(zip(ids, numbers, strict=True)), rank)
        for token, logprob, ids, numbers, rank in zip(
            tokens,
            drawn[:, 0].tolist(),
            likely.tolist(),
            values.tolist(),
            ranks.tolist(),
            strict=True,
        )
    ]


def _adjust(row: NDArray[np.float32], how: Adjustment, history: History) -> None:
    """Change a row in place."""
    size = len(row)
    for token, bias in how.bias:
        if token < size:
            row[token] += bias
    if how.repetition != 1.0:
        seen = np.unique(np.asarray(history.tokens, dtype=np.int64))
        row[seen] = np.where(row[seen] > 0, row[seen] / how.repetition, row[seen] * how.repetition)
    if how.frequency or how.presence:
        answer = np.asarray(history.tokens[history.prompt_count :], dtype=np.int64)
        used, counts = np.unique(answer, return_counts=True)
        row[used] -= (how.frequency * counts + how.presence).astype(np.float32)
    row[[token for token in how.banned if token < size]] = -np.inf


def _mask(row: NDArray[np.float32], allowed: bytes) -> None:
    """Make all other tokens impossible, in place."""
    bits = np.unpackbits(np.frombuffer(allowed, np.uint8), bitorder="little")[: len(row)]
    row[: len(bits)][bits == 0] = -np.inf
    row[len(bits) :] = -np.inf


def _draw_one(logits: NDArray[np.float32], rule: DrawRule) -> int:
    scaled = (logits - logits.max()).astype(np.float64) / rule.temperature
    candidates = np.arange(len(scaled))
    if 0 < rule.top_k < len(scaled):
        threshold = np.partition(scaled, -rule.top_k)[-rule.top_k]
        candidates = np.nonzero(scaled >= threshold)[0]
    if rule.min_p > 0.0:
        # The likeliest has weight 1 here, so its part is the weight itself.
        candidates = candidates[scaled[candidates] >= np.log(rule.min_p)]
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
