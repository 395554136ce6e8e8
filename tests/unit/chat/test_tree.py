"""Trees of items: the branch that is gone to, and what of it the model sees."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.records import Attachment, Item, ItemKind
from tokenyard.chat.rules.context import show_items, spell_turn, spell_turns
from tokenyard.chat.rules.tree import find_leaf
from tokenyard.vocabulary.ids import ItemId
from tokenyard.vocabulary.messages import Message, Role

# The parent of each item is one of those before it, or nothing.
TREES = st.lists(st.integers(0, 10**6), min_size=1, max_size=40).map(
    lambda draws: [
        (f"i{number}", None if draw % (number + 1) == number else f"i{draw % (number + 1)}")
        for number, draw in enumerate(draws)
    ]
)


@given(TREES, st.data())
def test_a_branch_ends_in_a_leaf_below_the_item_and_newest_at_each_step(
    tree: list[tuple[str, str | None]], data: st.DataObject
) -> None:
    start = data.draw(st.sampled_from([item for item, _ in tree]))
    leaf = find_leaf(tree, start)
    parents = dict(tree)
    assert leaf not in parents.values()
    here: str | None = leaf
    while here != start:
        assert here is not None, "the leaf is not below the item"
        siblings = [item for item, parent in tree if parent == parents[here]]
        assert here == siblings[-1]
        here = parents[here]


def test_an_item_of_another_tree_has_no_leaf() -> None:
    with pytest.raises(KeyError):
        find_leaf([("a", None)], "b")


def made(name: str, kind: ItemKind = ItemKind.MESSAGE, through: str | None = None) -> Item:
    return Item(
        ItemId(name), Role.USER, f"text of {name}", 0.0, kind=kind,
        through=None if through is None else ItemId(through),
    )  # fmt: skip


SUMMARY = made("s", ItemKind.SUMMARY, through="b")


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("a b c", "a b c"),
        ("a b c s d", "s c d"),
        # The item that it stands up to was deleted: it stands for nothing.
        ("a c s d", "a c d"),
        ("s", ""),
        ("", ""),
    ],
)
def test_a_summary_stands_for_what_is_above(path: str, seen: str) -> None:
    items = [SUMMARY if name == "s" else made(name) for name in path.split()]
    assert [item.id for item in show_items(items)] == seen.split()


def test_of_two_summaries_the_later_one_counts() -> None:
    later = made("t", ItemKind.SUMMARY, through="d")
    path = [made("a"), made("b"), made("c"), SUMMARY, made("d"), later, made("e")]
    assert [item.id for item in show_items(path)] == ["t", "e"]


def test_an_answer_and_what_goes_on_with_it_are_one_turn() -> None:
    question = made("q")
    stopped = replace(made("a"), role=Role.ASSISTANT, complete=False, parent=question.id)
    more = replace(made("b"), role=Role.ASSISTANT, complete=False, parent=stopped.id)
    rest = replace(made("c"), role=Role.ASSISTANT, parent=more.id)
    turns = spell_turns([question, stopped, more, rest, made("d")])
    assert [turn.content for turn in turns] == [
        "text of q",
        "text of atext of btext of c",
        "text of d",
    ]
    whole = replace(stopped, complete=True)
    assert len(spell_turns([question, whole, more])) == 3
    assert len(spell_turns([stopped, replace(rest, parent=question.id)])) == 2


def test_a_file_comes_before_the_question_about_it() -> None:
    item = replace(made("a"), attachments=(Attachment("notes.txt", "Buy milk."),))
    assert spell_turn(item) == Message(
        Role.USER, "[File: notes.txt]\nBuy milk.\n[End of file]\n\ntext of a"
    )
    assert spell_turn(SUMMARY).role is Role.SYSTEM
