"""Stored prompts: variables, what fills them, and what changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.rules.prompts import (
    PromptContent,
    Value,
    Variable,
    VariableKind,
    WrongVariable,
    complete_variables,
    diff,
    fill,
    find_variables,
)
from tokenyard.vocabulary.messages import Message, Role

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)


def saying(text: str, *variables: Variable) -> PromptContent:
    return complete_variables(
        PromptContent(messages=(Message(Role.USER, text),), variables=variables)
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hello {{name}}, {{ name }} and {{city}}.", ["name", "city"]),
        ("{name} {{}} {{1st}} {{a b}} {{ {{x}} }}", ["x"]),
        ("", []),
    ],
)
def test_variables_of_a_text(text: str, names: list[str]) -> None:
    assert find_variables(saying(text)) == names


@given(st.dictionaries(NAMES, st.text(max_size=20), max_size=5), st.text(max_size=10))
def test_a_value_is_put_in_as_it_is_and_not_read_again(
    values: dict[str, str], between: str
) -> None:
    between = between.replace("{", "").replace("}", "")
    content = saying(between.join(f"{{{{{name}}}}}" for name in values))
    filled = fill(content, values)
    assert filled.messages[0].content == between.join(values.values())


NUMBER = Variable("n", VariableKind.NUMBER)
FLAG = Variable("n", VariableKind.BOOLEAN)
CHOICE = Variable("n", VariableKind.CHOICE, choices=("red", "blue"))


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        (NUMBER, 3, "3"), (NUMBER, 0.5, "0.5"), (NUMBER, "-1e3", "-1e3"),
        (NUMBER, "three", None), (NUMBER, True, None), (NUMBER, float("nan"), None),
        (FLAG, True, "true"), (FLAG, "false", "false"), (FLAG, "yes", None), (FLAG, 1, None),
        (CHOICE, "red", "red"), (CHOICE, "green", None),
        (Variable("n"), 7, "7"), (Variable("n", default="d"), None, "d"),
        (Variable("n"), None, None),
    ],
)  # fmt: skip
def test_values_are_of_their_kind(
    variable: Variable, value: Value | None, text: str | None
) -> None:
    content = saying("{{n}}", variable)
    values: dict[str, Value] = {} if value is None else {"n": value}
    if text is not None:
        assert fill(content, values).messages[0].content == text
        return
    with pytest.raises(WrongVariable) as wrong:
        fill(content, values)
    assert wrong.value.name == "n"


def test_a_variable_that_the_prompt_does_not_have_is_refused() -> None:
    with pytest.raises(WrongVariable, match="no variable 'other'"):
        fill(saying("{{n}}"), {"n": "1", "other": "2"})


@pytest.mark.parametrize(
    "variables",
    [
        [Variable("a"), Variable("a")],
        [Variable("a", VariableKind.CHOICE)],
        [Variable("a", choices=("x",))],
        [Variable("a", VariableKind.NUMBER, default="many")],
    ],
)
def test_declarations_that_cannot_be_right(variables: list[Variable]) -> None:
    with pytest.raises(WrongVariable):
        saying("{{a}}", *variables)


CONTENTS = st.builds(
    PromptContent,
    instructions=st.text("ab\n", max_size=12),
    messages=st.lists(
        st.builds(Message, st.sampled_from([Role.USER, Role.SYSTEM]), st.text("ab\n", max_size=9)),
        max_size=3,
    ).map(tuple),
    temperature=st.none() | st.just(0.5),
)


@given(CONTENTS, CONTENTS)
def test_a_difference_holds_both_versions(old: PromptContent, new: PromptContent) -> None:
    lines = diff(old, new)
    assert [line.text for line in lines if line.op != "added"] == [
        line.text for line in diff(old, old)
    ]
    assert [line.text for line in lines if line.op != "removed"] == [
        line.text for line in diff(new, new)
    ]
    assert all(line.op == "same" for line in lines) is (diff(old, old) == diff(new, new))
