"""Thoughts, words and calls: the same parts however the text is cut, and no letter lost."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.engine.rules.speech import (
    CallArguments,
    CallBegun,
    CallStyle,
    Part,
    SpeechParser,
    Thought,
    Words,
)

TAGGED: dict[str, Any] = {"style": CallStyle.TAGGED, "offered": {"add", "get_weather"}}
BARE: dict[str, Any] = {"style": CallStyle.BARE, "offered": {"add", "get_weather"}}
Shown = tuple[str, str, list[tuple[str, str]]]


def show(parts: Iterable[Part]) -> Shown:
    """Thoughts, words, and calls with their arguments."""
    thoughts, words = "", ""
    calls: list[tuple[str, str]] = []
    for part in parts:
        if isinstance(part, Thought):
            thoughts += part.text
        elif isinstance(part, Words):
            words += part.text
        elif isinstance(part, CallBegun):
            assert part.index == len(calls)
            calls.append((part.name, ""))
        else:
            assert isinstance(part, CallArguments)
            assert part.index == len(calls) - 1
            calls[-1] = (calls[-1][0], calls[-1][1] + part.text)
    return thoughts, words, calls


def parse(pieces: Iterable[str], how: dict[str, Any]) -> Shown:
    parser = SpeechParser(**how)
    parts = [part for piece in pieces for part in parser.push(piece)]
    return show([*parts, *parser.finish()])


ARGUMENTS = '{"a": 1, "b": "}\\"{"}'
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "}\\"{"}}\n</tool_call>'
CASES: list[tuple[str, dict[str, Any], Shown]] = [
    ("hello", {}, ("", "hello", [])),
    ("a <tool_call> b", {}, ("", "a <tool_call> b", [])),
    ("hello", TAGGED, ("", "hello", [])),
    ("a <tool", TAGGED, ("", "a <tool", [])),
    (CALL, TAGGED, ("", "", [("add", ARGUMENTS)])),
    (f"I add.\n{CALL}", TAGGED, ("", "I add.\n", [("add", ARGUMENTS)])),
    (
        f"{CALL}\n{CALL}",
        TAGGED,
        ("", "", [("add", ARGUMENTS), ("add", ARGUMENTS)]),
    ),
    # Another order, and SmolLM2's list.
    (
        '<tool_call>{"arguments": {"a": 1}, "name": "add"}</tool_call>',
        TAGGED,
        ("", "", [("add", '{"a": 1}')]),
    ),
    (
        '<tool_call>[{"name": "add", "arguments": {}}, {"name": "get_weather"}]</tool_call>',
        TAGGED,
        ("", "", [("add", "{}"), ("get_weather", "{}")]),
    ),
    # What is no call stays words.
    ("<tool_call>oops</tool_call>", TAGGED, ("", "<tool_call>oops</tool_call>", [])),
    (
        '<tool_call>{"name": "rm", "arguments": {"a": 1}}</tool_call>',
        TAGGED,
        ("", '<tool_call>{"name": "rm", "arguments": {"a": 1}}</tool_call>', []),
    ),
    ('<tool_call>{"name": "ad', TAGGED, ("", '<tool_call>{"name": "ad', [])),
    # Cut off by the limit of tokens: what there is of the arguments.
    ('<tool_call>{"name": "add", "arguments": {"a": 1', TAGGED, ("", "", [("add", '{"a": 1')])),
    ('{"name": "add", "parameters": {"a": [1, {}]}}', BARE, ("", "", [("add", '{"a": [1, {}]}')])),
    (
        '{"name": "add", "parameters": {}}; {"name": "get_weather", "parameters": {}}',
        BARE,
        ("", "", [("add", "{}"), ("get_weather", "{}")]),
    ),
    ('{"a": 1}', BARE, ("", '{"a": 1}', [])),
    ('Use {"name": "add"}', BARE, ("", 'Use {"name": "add"}', [])),
    ("<think>\nwhy\n</think>\n\nso", {"thinks": True}, ("why", "so", [])),
    ("why\n</think>\n\nso", {"thinks": True, "opened": True}, ("why", "so", [])),
    ("why", {"thinks": True, "opened": True}, ("why", "", [])),
    ("no thought", {"thinks": True}, ("", "no thought", [])),
    ("<thin", {"thinks": True}, ("", "<thin", [])),
    (f"<think>w</think>{CALL}!", {"thinks": True, **TAGGED}, ("w", "!", [("add", ARGUMENTS)])),
    (f"{CALL}\n\na\nb\n", TAGGED, ("", "a\nb\n", [("add", ARGUMENTS)])),
    ("<think>\n\na\n\nb\n", {"thinks": True}, ("a\n\nb", "", [])),
]  # fmt: skip


@pytest.mark.parametrize(("text", "how", "expected"), CASES)
def test_whole_and_letter_by_letter(text: str, how: dict[str, Any], expected: Shown) -> None:
    assert parse([text], how) == expected
    assert parse(text, how) == expected


@given(
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "<tool_call>", "</tool_call>", CALL, "\n", "a", "<", "{", '"']
        ),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
    st.sampled_from([{}, TAGGED, BARE, {"thinks": True, **TAGGED}]),
)
def test_cuts_change_nothing(bits: list[str], chance: Any, how: dict[str, Any]) -> None:
    text = "".join(bits)
    cuts = sorted(chance.randrange(len(text) + 1) for _ in range(4))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(pieces, how) == parse([text], how)


@given(st.text(alphabet="<>/abct_ol{}\n", max_size=40))
def test_without_a_mark_all_of_it_is_words(text: str) -> None:
    for how in ({}, TAGGED):
        if "<tool_call>" not in text:
            assert parse(text, how) == ("", text, [])


def test_it_tells_when_it_thinks_and_that_it_called() -> None:
    parser = SpeechParser(thinks=True, **TAGGED)
    parser.push("<think>a")
    assert parser.thinking
    parser.push("b</think>")
    assert not parser.thinking
    assert not parser.called
    parser.push(CALL)
    assert parser.called
