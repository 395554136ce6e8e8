"""Draws: the filters keep what they should, and a draw knows only its seed and position."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.model import sampler
from tokenyard.engine.model.sampler import History
from tokenyard.engine.rules.drawing import Adjustment, DrawRule, make_rule, uniform_at
from tokenyard.vocabulary.generation import SamplingParameters

NO_HISTORY = History([], 0)


def draw(logits: torch.Tensor, rules: list[DrawRule]) -> list[int | None]:
    return sampler.draw(logits, rules, [NO_HISTORY] * len(rules))


def rule(
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    position: int = 0,
    min_p: float = 0.0,
) -> DrawRule:
    return DrawRule(temperature, top_p, top_k, seed, position, min_p)


def many(logits: list[float], count: int, **how: float) -> list[int]:
    rows = torch.tensor([logits] * count)
    rules = [rule(position=place, **how) for place in range(count)]  # type: ignore[arg-type]
    return [token for token in draw(rows, rules) if token is not None]


def test_temperature_zero_takes_the_highest_and_the_first_of_equals() -> None:
    assert draw(torch.tensor([[0.0, 3.0, 3.0, 1.0]]), [rule(temperature=0)]) == [1]


def test_frequencies_follow_the_distribution() -> None:
    chances = np.array([0.5, 0.3, 0.15, 0.05])
    drawn = many(list(np.log(chances)), 20_000)
    found = np.bincount(drawn, minlength=4) / len(drawn)
    # Four standard deviations of a share of one half in 20,000 draws.
    assert np.abs(found - chances).max() < 4 * 0.5 / np.sqrt(20_000)


def test_temperature_sharpens() -> None:
    logits = list(np.log([0.5, 0.3, 0.2]))
    assert many(logits, 2000, temperature=0.2).count(0) > 1700
    assert many(logits, 2000, temperature=2.0).count(0) < 900


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 1}, {0}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.51}, {0, 1}),
        ({"top_p": 0.79}, {0, 1}),
        ({"top_p": 0.96}, {0, 1, 2, 3}),
        ({"top_p": 1e-9}, {0}),
        ({"top_k": 3, "top_p": 0.6}, {0, 1}),
        ({"top_k": 99}, {0, 1, 2, 3}),
        ({"min_p": 0.25}, {0, 1, 2}),
        ({"min_p": 0.5}, {0, 1}),
        ({"min_p": 1.0}, {0}),
        ({"min_p": 0.25, "top_k": 2}, {0, 1}),
    ],
)
def test_filters_keep_the_fewest_likeliest(how: dict[str, float], kept: set[int]) -> None:
    assert set(many(list(np.log([0.5, 0.3, 0.15, 0.05])), 800, **how)) == kept


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=40),
    st.floats(0.05, 1.0),
    st.integers(0, 2**40),
)
def test_top_p_agrees_with_sorting_everything(logits: list[float], top_p: float, seed: int) -> None:
    values = np.array(logits, dtype=np.float32)
    weights = np.exp((values - values.max()).astype(np.float64))
    order = np.argsort(-weights, kind="stable")
    count = int(np.searchsorted(np.cumsum(weights[order]), top_p * weights.sum())) + 1
    (token,) = draw(torch.from_numpy(values).unsqueeze(0), [rule(top_p=top_p, seed=seed)])
    assert token in order[:count]


@settings(max_examples=40, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10_000))
def test_a_draw_is_the_same_alone_and_in_a_crowd(seed: int, position: int) -> None:
    logits = torch.linspace(-1, 1, 50)
    one = rule(seed=seed, position=position, top_p=0.9)
    crowd = torch.stack([logits.flip(0), logits, logits * 3])
    others = [rule(seed=seed + 1), one, rule(temperature=0)]
    assert draw(crowd, others)[1] == draw(logits.unsqueeze(0), [one])[0]


def test_positions_and_seeds_are_independent() -> None:
    numbers = {uniform_at(seed, place) for seed in range(30) for place in range(30)}
    assert len(numbers) == 900
    assert 0.45 < sum(numbers) / 900 < 0.55
    assert all(0 <= number < 1 for number in numbers)


def test_a_row_with_a_nan_draws_nothing_and_spares_the_others() -> None:
    logits = torch.tensor([[0.0, float("nan"), 1.0], [0.0, 5.0, 1.0], [1.0, 2.0, float("nan")]])
    assert draw(logits, [rule(temperature=0)] * 3) == [None, 1, None]
    assert draw(logits, [rule()] * 3)[0] is None


def test_a_banned_token_is_never_drawn() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]])
    for place in range(50):
        assert draw(logits, [rule(position=place, temperature=2.0)]) == [1]


LOGITS = [1.0, 2.0, -3.0, 0.5, 0.25]


def adjusted(history: History, **how: Any) -> list[float]:
    logits = torch.tensor([LOGITS, LOGITS])
    rules = [DrawRule(0.0, 1.0, 0, 0, 0, adjustment=Adjustment(**how)), rule(temperature=0)]
    sampler.draw(logits, rules, [history, NO_HISTORY])
    assert logits[1].tolist() == LOGITS
    values: list[float] = logits[0].tolist()
    return values


def test_penalties_are_openai_s_and_hugging_face_s() -> None:
    history = History([4, 0, 1, 1, 2], prompt_count=2)
    assert adjusted(history, frequency=0.5) == [1.0, 1.0, -3.5, 0.5, 0.25]
    assert adjusted(history, presence=0.5) == [1.0, 1.5, -3.5, 0.5, 0.25]
    assert adjusted(history, repetition=2.0) == [0.5, 1.0, -6.0, 0.5, 0.125]
    assert adjusted(History([4, 0], 2), frequency=2.0, presence=2.0) == LOGITS


def test_biases_add_up_with_penalties_and_bans_win() -> None:
    found = adjusted(History([0, 3], 1), bias=((3, 5.0), (0, 100.0)), banned=(0,), presence=0.25)
    assert found == [float("-inf"), 2.0, -3.0, 5.25, 0.25]


def test_greedy_draws_from_the_adjusted_row() -> None:
    logits = torch.tensor([LOGITS])
    how = DrawRule(0.0, 1.0, 0, 0, 0, adjustment=Adjustment(banned=(1,)))
    assert draw(logits, [how]) == [0]


def test_ends_are_banned_until_the_answer_is_long_enough() -> None:
    sampling = SamplingParameters(min_tokens=2, stop_token_ids=(9,))

    def banned(generated: int) -> tuple[int, ...]:
        made = make_rule(
            sampling, seed=0, position=5, generated=generated, end_ids=frozenset({2, 0})
        )
        return made.adjustment.banned if made.adjustment else ()

    assert [banned(count) for count in range(4)] == [(0, 2, 9), (0, 2, 9), (), ()]


def test_without_wishes_a_row_is_left_alone() -> None:
    made = make_rule(
        SamplingParameters(temperature=0.5, min_p=0.1),
        seed=3,
        position=5,
        generated=0,
        end_ids=frozenset({2}),
    )
    assert made == DrawRule(0.5, 1.0, 0, 3, 5, 0.1)


def test_reports_are_of_the_raw_logits_and_only_where_asked() -> None:
    logits = torch.tensor([LOGITS, LOGITS, LOGITS])
    asked = DrawRule(0.0, 1.0, 0, 0, 0, adjustment=Adjustment(bias=((3, 50.0),)), report_top=2)
    none_of_top = DrawRule(0.7, 1.0, 1, 0, 0, report_top=0)
    rules = [asked, rule(temperature=0), none_of_top]
    raw = sampler.keep_raw(logits, rules)
    drawn = draw(logits, rules)
    reports = sampler.report(raw, drawn, rules)
    assert drawn == [3, 1, 1]
    assert reports.keys() == {0, 2}
    expected = torch.log_softmax(torch.tensor(LOGITS), 0).tolist()
    assert reports[0].token == 3
    assert reports[0].logprob == pytest.approx(expected[3])
    assert [token for token, _ in reports[0].top] == [1, 0]
    assert [value for _, value in reports[0].top] == pytest.approx([expected[1], expected[0]])
    assert reports[2].top == ()
    assert reports[2].logprob == pytest.approx(expected[1])


def test_a_mask_leaves_only_what_it_allows() -> None:
    logits = torch.tensor([LOGITS, LOGITS])
    masked = DrawRule(0.0, 1.0, 0, 0, 0, allowed=bytes([0b00011100]))
    assert draw(logits, [masked, rule(temperature=0)]) == [3, 1]
    # Tokens beyond the mask are not allowed; a mask longer than the row is fine.
    assert draw(torch.zeros(1, 9), [DrawRule(0.0, 1.0, 0, 0, 0, allowed=b"\x80")]) == [7]
    assert draw(torch.zeros(1, 3), [DrawRule(1.0, 1.0, 0, 0, 0, allowed=b"\x04\xff")]) == [2]


def test_a_form_and_a_least_length_do_not_forbid_everything() -> None:
    made = make_rule(
        SamplingParameters(min_tokens=5),
        seed=0,
        position=1,
        generated=0,
        end_ids=frozenset({2}),
        allowed=b"\x04",
        formed=True,
    )
    assert made.adjustment is None
    assert draw(torch.zeros(1, 5), [made]) == [2]
