"""From logits to tokens on the device, without asking it for a value.

The same rule as `sampler`: one number in [0, 1) that belongs to seed and position, sent through the
inverse of the cumulative distribution in the order of token ids; adjustments, temperature, top-k,
min-p, top-p. The nucleus is found without a sort: the smallest weight in it is searched by
bisection over the bits of float32, whose order is that of the numbers. Does not know requests.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenyard.engine.model.sampler import TEMPERATURE_GREEDY, History
from tokenyard.engine.rules.drawing import DrawRule, uniform_at

# What stands for "not a number" among the drawn tokens.
BROKEN = -1
_ONE_BITS = 0x3F800000


@dataclass(frozen=True, slots=True)
class Adjustments:
    """Changes of single logits. places: (2, n) int64, rows and tokens, each pair once. numbers:
    (4, n) float32: what is added, the repetition factor, what is subtracted, 1 for a ban.
    """

    places: Tensor
    numbers: Tensor


@dataclass(frozen=True, slots=True)
class Masks:
    """Which tokens some rows may draw. rows: (n,) int64. bits: (n, bytes) uint8, a bit for each
    token, lowest first; tokens beyond the last bit are not allowed.
    """

    rows: Tensor
    bits: Tensor


@dataclass(frozen=True, slots=True)
class DrawTable:
    """The rules of a step's rows, on the device. numbers: (5, rows) float64: temperature, top_p,
    the uniform number, top_k (0 for all), min_p. The flags say what some row needs.
    """

    numbers: Tensor
    top_k_max: int
    uses_top_p: bool
    adjustments: Adjustments | None = None
    masks: Masks | None = None


def is_greedy(rules: Sequence[DrawRule]) -> bool:
    """Whether no row needs more than the largest logit."""
    return all(
        rule.temperature < TEMPERATURE_GREEDY and rule.adjustment is None and rule.allowed is None
        for rule in rules
    )


def number_rules(rules: Sequence[DrawRule]) -> list[list[float]]:
    """The lines of `DrawTable.numbers`; greedy rows become harmless ones."""
    lines: list[list[float]] = [[], [], [], [], []]
    for rule in rules:
        greedy = rule.temperature < TEMPERATURE_GREEDY
        lines[0].append(0.0 if greedy else rule.temperature)
        lines[1].append(1.0 if greedy else rule.top_p)
        lines[2].append(0.0 if greedy else uniform_at(rule.seed, rule.position))
        lines[3].append(0.0 if greedy else float(rule.top_k))
        lines[4].append(0.0 if greedy else rule.min_p)
    return lines


def list_adjustments(
    rules: Sequence[DrawRule], histories: Sequence[History], vocabulary: int
) -> tuple[list[list[int]], list[list[float]]] | None:
    """`Adjustments.places` and `.numbers` as lists; None when no row has any."""
    changes: dict[tuple[int, int], list[float]] = {}
    for row, (rule, history) in enumerate(zip(rules, histories, strict=True)):
        how = rule.adjustment
        if how is None:
            continue
        changed: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 1.0, 0.0, 0.0])
        for token, bias in how.bias:
            changed[token][0] += bias
        if how.repetition != 1.0:
            for token in set(history.tokens):
                changed[token][1] = how.repetition
        if how.frequency or how.presence:
            for token, count in Counter(history.tokens[history.prompt_count :]).items():
                changed[token][2] = how.frequency * count + how.presence
        for token in how.banned:
            changed[token][3] = 1.0
        changes |= {(row, token): one for token, one in changed.items() if token < vocabulary}
    if not changes:
        return None
    places, numbers = zip(*changes, strict=True), zip(*changes.values(), strict=True)
    return [list(line) for line in places], [list(line) for line in numbers]


def list_masks(rules: Sequence[DrawRule]) -> tuple[list[int], list[list[int]]] | None:
    """`Masks.rows` and `.bits` as lists; None when every row may draw all tokens."""
    masked = [(row, rule.allowed) for row, rule in enumerate(rules) if rule.allowed is not None]
    if not masked:
        return None
    size = max(len(allowed) for _, allowed in masked)
    bits = [list(allowed.ljust(size, b"\0")) for _, allowed in masked]
    return [row for row, _ in masked], bits


def _mask(logits: Tensor, masks: Masks) -> None:
    shifts = torch.arange(8, dtype=torch.uint8, device=logits.device)
    bits = (masks.bits.unsqueeze(-1) >> shifts & 1).flatten(1).bool()[:, : logits.shape[1]]
    allowed = torch.zeros(len(bits), logits.shape[1], dtype=torch.bool, device=logits.device)
    allowed[:, : bits.shape[1]] = bits
    logits[masks.rows] = logits[masks.rows].masked_fill(~allowed, -torch.inf)


def _adjust(logits: Tensor, changes: Adjustments) -> None:
    """In the order of the CPU's sampler: biases, repetition, the other penalties, bans."""
    rows, tokens = changes.places
    added, factor, subtracted, banned = changes.numbers
    values = logits[rows, tokens] + added
    values = torch.where(values > 0, values / factor, values * factor) - subtracted
    logits[rows, tokens] = values.masked_fill(banned > 0, -torch.inf)


def draw_greedily(logits: Tensor) -> Tensor:
    """(rows,) int32: the largest logit's token, BROKEN for a row with a NaN."""
    highest, best = logits.max(dim=1)
    return torch.where(torch.isnan(highest), BROKEN, best).int()


def draw(logits: Tensor, table: DrawTable) -> Tensor:
    """(rows,) int32 for (rows, vocabulary) logits; float32 ones may be changed."""
    temperature, top_p, uniform, top_k, min_p = table.numbers.unsqueeze(-1)
    logits = logits.float()
    if table.adjustments is not None:
        _adjust(logits, table.adjustments)
    if table.masks is not None:
        _mask(logits, table.masks)
    highest, best = logits.max(dim=1, keepdim=True)
    greedy = temperature == 0
    scaled = (logits - highest).double() / torch.where(greedy, 1.0, temperature)
    weights = scaled.exp().float()
    if table.top_k_max:
        weights = _keep_top_k(weights, top_k, table.top_k_max)
    # The likeliest has weight 1, so its part is the weight itself.
    weights = weights.masked_fill(weights < min_p, 0.0)
    if table.uses_top_p:
        weights = _keep_nucleus(weights, top_p)
    sums = weights.cumsum(1, dtype=torch.float64)
    # The first place whose sum is above the number; a zero weight has no such place of its own.
    place = (sums <= uniform * sums[:, -1:]).sum(1, keepdim=True)
    last = (weights > 0).long().mul(torch.arange(weights.shape[1], device=weights.device))
    place = torch.minimum(place, last.amax(1, keepdim=True))
    token = torch.where(greedy, best, place)
    return torch.where(torch.isnan(highest), BROKEN, token).squeeze(1).int()


def _keep_top_k(weights: Tensor, top_k: Tensor, top_k_max: int) -> Tensor:
    """Zero all below each row's k-th largest weight."""
    largest = weights.topk(min(top_k_max, weights.shape[1]), dim=1).values
    places = (top_k.long() - 1).clamp(0, largest.shape[1] - 1)
    limits = torch.where(top_k > 0, largest.gather(1, places).double(), 0.0)
    return weights.masked_fill(weights < limits, 0.0)


def _keep_nucleus(weights: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the fewest likeliest tokens that hold `top_p` of the weight, in each row.

    Of equal weights the lower ids stay. The weights are in [0, 1].
    """
    needed = top_p * weights.sum(1, keepdim=True, dtype=torch.float64)
    low = torch.zeros_like(needed, dtype=torch.int32)
    high = torch.full_like(low, _ONE_BITS + 1)
    # Invariant: tokens of weight >= number(low) hold enough; those >= number(high) do not.
    for _ in range(_ONE_BITS.bit_length() + 1):
        middle = (low + high) // 2
        kept = weights.masked_fill(weights < middle.view(torch.float32), 0.0)
        enough = kept.sum(1, keepdim=True, dtype=torch.float64) >= needed
        low = torch.where(enough, middle, low)
        high = torch.where(enough, high, middle)
    level = low.view(torch.float32)
    above = weights.masked_fill(weights <= level, 0.0)
    missing = needed - above.sum(1, keepdim=True, dtype=torch.float64)
    equal = weights == level
    before = (equal.cumsum(1) - 1).double() * level.double()
    kept = (weights > level) | (equal & (before < missing))
    nucleus = weights.masked_fill(~kept, 0.0)
    return torch.where(top_p < 1.0, nucleus, weights)
