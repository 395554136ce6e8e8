"""Conversations in other programs' files: there and back, and files that are wrong."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.rules.transfer import BadTransfer, Format, Portable, Turn, read, spell
from tokenyard.vocabulary.messages import Role

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def portables(draw: st.DrawFn) -> Portable:
    turns: list[Turn] = []
    for number in range(draw(st.integers(0, 8))):
        above = draw(st.sampled_from([None, *(turn.id for turn in turns)]))
        role = draw(st.sampled_from([Role.SYSTEM, Role.USER, Role.ASSISTANT]))
        at = float(draw(st.integers(0, 2 * 10**9)))
        turns.append(Turn(f"m{number}", above, role, draw(TEXTS), at))
    leaf = draw(st.sampled_from([turn.id for turn in turns])) if turns else None
    return Portable(
        title=" ".join(draw(st.text("ab ", max_size=9)).split()),
        created_at=float(draw(st.integers(0, 2 * 10**9))),
        updated_at=float(draw(st.integers(0, 2 * 10**9))),
        turns=tuple(turns),
        leaf=leaf,
        pinned=draw(st.booleans()),
        archived=draw(st.booleans()),
    )


@given(portables(), st.sampled_from(list(Format)))
def test_there_and_back(conversation: Portable, form: Format) -> None:
    told = json.loads(json.dumps(spell(conversation, "c", form)))
    received = read(told, now=1.0)
    assert received.skipped == 0
    back = received.conversation
    # Siblings keep their order, and parents come first; cousins may change places.
    assert {turn.id: turn for turn in back.turns} == {turn.id: turn for turn in conversation.turns}
    seen: set[str | None] = {None}
    for turn in back.turns:
        assert turn.parent in seen
        seen.add(turn.id)
    for parent in seen:
        assert [one.id for one in back.turns if one.parent == parent] == [
            one.id for one in conversation.turns if one.parent == parent
        ]
    rest = ("title", "created_at", "updated_at", "leaf", "pinned", "archived")
    assert [getattr(back, name) for name in rest] == [getattr(conversation, name) for name in rest]


def openai(**nodes: Any) -> dict[str, Any]:
    return {"title": "T", "mapping": nodes}


def node(parent: str | None, role: str = "user", kind: str = "text", parts: Any = ("x",)) -> Any:
    content = {"content_type": kind, "parts": list(parts)}
    return {"parent": parent, "message": {"author": {"role": role}, "content": content}}


def test_what_cannot_be_kept_is_counted_and_closed_over() -> None:
    entry = openai(
        root={"parent": None, "message": None},
        a=node("root"),
        tool=node("a", "tool"),
        thought=node("tool", "assistant", "thoughts"),
        b=node("thought", "assistant", "multimodal_text", [{"image": 1}, "seen"]),
    )
    received = read(entry, now=5.0)
    assert received.skipped == 2
    assert [(turn.id, turn.parent, turn.text) for turn in received.conversation.turns] == [
        ("a", None, "x"),
        ("b", "a", "seen"),
    ]
    assert received.conversation.leaf == "b"
    assert received.conversation.created_at == 5.0


@pytest.mark.parametrize(
    "entry",
    [
        None, [], "x", 7, {}, {"mapping": []}, {"chat": {}}, {"chat": {"history": {"messages": 1}}},
        openai(a=1), openai(a=node("b"), b=node("a")), openai(a=node("a")),
        {"chat": {"history": {"messages": {"a": 1}}}},
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(entry: Any) -> None:
    with pytest.raises(BadTransfer):
        read(entry, now=0.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=12,
)
FIELDS = ["parent", "message", "author", "role", "content", "content_type", "parts", "create_time"]


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.dictionaries(st.sampled_from(FIELDS), JSON)))
def test_no_file_breaks_the_reader(mapping: dict[str, Any]) -> None:
    try:
        received = read({"mapping": mapping, "create_time": mapping.get("a")}, now=0.0)
    except BadTransfer:
        return
    assert len(received.conversation.turns) <= len(mapping)


def test_a_very_deep_tree_is_read() -> None:
    entry = openai(**{f"n{number}": node(f"n{number - 1}") for number in range(5_000)})
    assert len(read(entry, now=0.0).conversation.turns) == 5_000


@pytest.mark.parametrize(
    ("told", "at"),
    [(1_700_000_000, 1.7e9), (1_700_000_000_000, 1.7e9), (1.7e18, 1.7e9), ("x", 3.0), (True, 3.0),
     (float("nan"), 3.0), (-1, 3.0)],
)  # fmt: skip
def test_times_are_seconds_whatever_they_were(told: Any, at: float) -> None:
    assert read({"mapping": {}, "create_time": told}, now=3.0).conversation.created_at == at
