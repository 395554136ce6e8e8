"""Portions of a long history, what a summary covers, and titles that fit a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.rules.summaries import count_covered, cut_portions, tidy_title
from tokenyard.vocabulary.messages import Message, Role

U, A = Role.USER, Role.ASSISTANT


@pytest.mark.parametrize(
    ("roles", "keep", "covered"),
    [
        ([U, A, U, A, U, A], 2, 2),
        ([U, A, U, A, U, A], 1, 4),
        ([U, A, U, A], 0, 4),
        ([U, A, U, A], 2, 0),
        ([], 1, 0),
        ([A, A], 1, 0),
    ],
)
def test_the_last_questions_stay(roles: list[Role], keep: int, covered: int) -> None:
    assert count_covered(roles, keep) == covered


@given(st.lists(st.text("ab \n", max_size=60), max_size=6), st.integers(10, 40))
def test_portions_are_bounded_and_lose_no_word(texts: list[str], characters_max: int) -> None:
    turns = [Message(U, text) for text in texts]
    portions = cut_portions(turns, characters_max)
    assert all(0 < len(portion) <= characters_max for portion in portions)
    said = "\n\n".join(f"User: {text}" for text in texts)
    assert "".join("".join(portions).split()) == "".join(said.split())


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ('"The  Steam Engine."', "The Steam Engine"),
        ("Title: **Milk**\nMore", "Milk"),
        ("\n\n", ""),
        ("How do I make a cake without any eggs at home", "How do I make a cake…"),
        ("x" * 40, "x" * 23 + "…"),
    ],
)
def test_titles_are_one_short_line(text: str, title: str) -> None:
    assert tidy_title(text, 24) == title
