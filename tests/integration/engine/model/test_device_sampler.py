"""The device's sampler draws what the CPU's draws."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.model import device_sampler, sampler
from tokenyard.engine.rules.drawing import Adjustment, DrawRule

RULES = st.builds(
    DrawRule,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    top_k=st.sampled_from([0, 1, 3, 40, 10_000]),
    seed=st.integers(-(2**63), 2**63 - 1),
    position=st.integers(0, 5000),
    min_p=st.sampled_from([0.0, 0.0, 0.2]),
    allowed=st.sampled_from([None, None, b"\x68", b"\x01\xff\x0f"]),
    adjustment=st.none()
    | st.builds(
        Adjustment,
        banned=st.sampled_from([(), (1,), (0, 5, 100_000)]),
        bias=st.sampled_from([(), ((3, 4.5), (6, -100.0), (100_000, 1.0)), ((0, 1.0), (0, 2.0))]),
        repetition=st.sampled_from([1.0, 1.7, 0.5]),
        frequency=st.sampled_from([0.0, 0.4]),
        presence=st.sampled_from([0.0, -0.6]),
    ),
).filter(lambda rule: not (rule.allowed and rule.adjustment and rule.adjustment.banned))


def draw(
    logits: torch.Tensor, rules: list[DrawRule], histories: list[sampler.History] | None = None
) -> list[int]:
    found = device_sampler.list_adjustments(
        rules, histories or [sampler.History([], 0)] * len(rules), logits.shape[1]
    )
    adjustments = None
    if found is not None:
        adjustments = device_sampler.Adjustments(torch.tensor(found[0]), torch.tensor(found[1]))
    masked = device_sampler.list_masks(rules)
    masks = None
    if masked is not None:
        bits = torch.tensor(masked[1], dtype=torch.uint8)
        masks = device_sampler.Masks(torch.tensor(masked[0]), bits)
    table = device_sampler.DrawTable(
        torch.tensor(device_sampler.number_rules(rules), dtype=torch.float64),
        top_k_max=max(rule.top_k for rule in rules),
        uses_top_p=any(rule.top_p < 1 for rule in rules),
        adjustments=adjustments,
        masks=masks,
    )
    return device_sampler.draw(logits.clone(), table).tolist()


@settings(deadline=None, max_examples=25)
@given(
    rules=st.lists(RULES, min_size=1, max_size=5),
    chance=st.integers(0, 10_000),
    vocabulary=st.sampled_from([7, 8, 300]),
    steps=st.sampled_from([0, 4]),
)
def test_it_draws_as_the_cpu_does(
    rules: list[DrawRule], chance: int, vocabulary: int, steps: int
) -> None:
    generator = torch.Generator().manual_seed(chance)
    logits = torch.randn(len(rules), vocabulary, generator=generator) * 3
    if steps:
        # Many equal logits.
        logits = (logits * steps).round() / steps
    texts = torch.randint(0, 7, (len(rules), 9), generator=generator).tolist()
    histories = [sampler.History(text, 4) for text in texts]
    assert draw(logits, rules, histories) == sampler.draw(logits, rules, histories)


def test_a_nan_breaks_its_own_row() -> None:
    logits = torch.tensor([[1.0, torch.nan, 0.0], [0.0, 3.0, 1.0], [0.0, 0.0, 9.0]])
    rules = [DrawRule(1.0, 0.9, 2, 1, 1), DrawRule(0.0, 1.0, 0, 1, 1), DrawRule(0.1, 1.0, 0, 1, 1)]
    assert draw(logits, rules) == [device_sampler.BROKEN, 1, 2]
    assert device_sampler.draw_greedily(logits).tolist() == [device_sampler.BROKEN, 1, 2]


def test_greedy_is_told_from_its_rules() -> None:
    assert device_sampler.is_greedy([DrawRule(0.0, 0.5, 3, 1, 1)])
    biased = DrawRule(0.0, 1, 0, 1, 1, adjustment=Adjustment(bias=((1, 1.0),)))
    assert not device_sampler.is_greedy([biased])
    assert not device_sampler.is_greedy([DrawRule(0.0, 1, 0, 1, 1, allowed=b"\1")])
    assert not device_sampler.is_greedy([DrawRule(0.0, 1, 0, 1, 1), DrawRule(0.7, 1, 0, 1, 1)])
