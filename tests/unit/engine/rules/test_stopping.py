"""Stop texts are found wherever the pieces are cut, and never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.engine.rules.stopping import StopScanner, count_tokens_max, decide_finish
from tokenyard.vocabulary.generation import FinishReason

WORDS = st.text("abc", min_size=1, max_size=4)


def scan(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    scanner = StopScanner(stops)
    shown = ""
    for piece in pieces:
        text, stopped = scanner.push(piece)
        shown += text
        if stopped:
            return shown, True
    return shown + scanner.finish(), False


def expected(text: str, stops: list[str]) -> tuple[str, bool]:
    """Letter by letter: the first moment at which any stop text is complete."""
    for end in range(len(text) + 1):
        places = [text[:end].find(stop) for stop in stops if stop in text[:end]]
        if places:
            return text[: min(places)], True
    return text, False


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=3))
def test_letter_by_letter_it_is_the_first_completed_stop(
    pieces: list[str], stops: list[str]
) -> None:
    text = "".join(pieces)
    assert scan(list(text), stops) == expected(text, stops)


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, min_size=1, max_size=3))
def test_pieces_of_any_size_never_show_a_stop(pieces: list[str], stops: list[str]) -> None:
    shown, stopped = scan(pieces, stops)
    text = "".join(pieces)
    assert text.startswith(shown)
    assert stopped == any(stop in text for stop in stops)
    assert not any(stop in shown for stop in stops)


def test_only_what_may_become_a_stop_is_held_back() -> None:
    scanner = StopScanner(["END"])
    assert scanner.push("say E") == ("say ", False)
    assert scanner.push("ven") == ("Even", False)
    assert scanner.push(" EN") == (" ", False)
    assert scanner.push("D more") == ("", True)


def test_without_stops_nothing_is_held_back() -> None:
    assert StopScanner([]).push("x") == ("x", False)


@pytest.mark.parametrize(
    ("token", "generated", "reason"),
    [
        (7, 1, None),
        (2, 1, FinishReason.STOP),
        (7, 5, FinishReason.LENGTH),
        (2, 5, FinishReason.STOP),
    ],
)
def test_finish(token: int, generated: int, reason: FinishReason | None) -> None:
    assert decide_finish(token, generated, end_ids=frozenset({2}), tokens_max=5) is reason


@pytest.mark.parametrize(
    ("prompt", "asked", "capacity", "tokens"),
    [(10, None, 100, 90), (10, 5, 100, 5), (99, 5, 100, 1)],
)
def test_room_for_the_answer(prompt: int, asked: int | None, capacity: int, tokens: int) -> None:
    assert count_tokens_max(prompt, asked, capacity) == tokens
