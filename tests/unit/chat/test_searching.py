"""What a search finds, and what of it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.rules.searching import SearchQuery, cut_snippet, matches, read_query

TEXT = "The steam engine of James Watt, built in 1776, saved three quarters of the coal."


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ("Steam  Engine", SearchQuery(words=("steam", "engine"))),
        ('"); DROP * -x:y', SearchQuery(words=("drop", "x", "y"))),
        ("…!?", None),
        ("", None),
        (" 蒸汽机  发明", SearchQuery(piece="蒸汽机 发明")),
    ],
)
def test_queries(asked: str, query: SearchQuery | None) -> None:
    assert read_query(asked) == query


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("steam watt", True), ("WATT eng", True), ("eng watt", False), ("stea coal", False),
        ("coal stea", True), ("177", True), ("diesel", False),
    ],
)  # fmt: skip
def test_all_words_and_the_last_as_a_beginning(asked: str, found: bool) -> None:
    query = read_query(asked)
    assert query is not None
    assert matches(query, TEXT) is found


def test_a_snippet_marks_what_was_looked_for() -> None:
    query = SearchQuery(words=("coal",))
    parts = cut_snippet(query, TEXT)
    assert [part.text for part in parts if part.match] == ["coal"]
    assert parts[0].text.startswith("…")
    assert "".join(part.text for part in parts).endswith("of the coal.")


@given(st.text("abc \n.", max_size=400), st.sampled_from(["a", "abc", "b c"]))
def test_a_snippet_is_short_and_of_the_text(text: str, asked: str) -> None:
    query = read_query(asked)
    assert query is not None
    shown = "".join(part.text for part in cut_snippet(query, text))
    assert len(shown) <= 200
    assert shown.strip("…") in " ".join(text.split()) or not shown.strip("… ")
