"""Stored prompts: which variables a text has, what fills them, and what changed between versions.

`{{name}}` marks a variable, as in OpenAI's prompt objects. A value is put in as it is and not read
again, so that a value cannot bring variables of its own. Knows no store and no model.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Literal

from tokenyard.vocabulary.messages import Message

Value = str | int | float | bool

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,63})\s*\}\}")


class VariableKind(StrEnum):
    """What a value must be."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    # One of `choices`.
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Variable:
    """A hole in a prompt; without a default it must be filled."""

    name: str
    kind: VariableKind = VariableKind.TEXT
    default: str | None = None
    description: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptContent:
    """What a version of a prompt says, and how it is to be answered where it says so."""

    instructions: str = ""
    messages: tuple[Message, ...] = ()
    variables: tuple[Variable, ...] = ()
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None


class WrongVariable(ValueError):
    """A variable is missing, unknown or of the wrong kind; `name` says which."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of two versions side by side."""

    op: Literal["same", "added", "removed"]
    text: str


def find_variables(content: PromptContent) -> list[str]:
    """Names in the order in which they first occur."""
    found = (name for text in _texts(content) for name in _VARIABLE.findall(text))
    return list(dict.fromkeys(found))


def complete_variables(content: PromptContent) -> PromptContent:
    """Declare every variable that occurs; raises WrongVariable for a declaration that is wrong."""
    names = [variable.name for variable in content.variables]
    for place, variable in enumerate(content.variables):
        if variable.name in names[:place]:
            raise WrongVariable(variable.name, f"The variable '{variable.name}' is there twice.")
        if (variable.kind is VariableKind.CHOICE) is not bool(variable.choices):
            raise WrongVariable(
                variable.name,
                f"The variable '{variable.name}' needs choices exactly if it is of kind 'choice'.",
            )
        if variable.default is not None:
            spell_value(variable, variable.default)
    missing = [Variable(name) for name in find_variables(content) if name not in names]
    return replace(content, variables=(*content.variables, *missing))


def fill(content: PromptContent, values: Mapping[str, Value]) -> PromptContent:
    """The content with its holes filled; raises WrongVariable."""
    spelled = spell_values(content.variables, values)

    def put(text: str) -> str:
        return _VARIABLE.sub(lambda match: spelled[match[1]], text)

    return replace(
        content,
        instructions=put(content.instructions),
        messages=tuple(replace(turn, content=put(turn.content)) for turn in content.messages),
    )


def spell_values(variables: Sequence[Variable], values: Mapping[str, Value]) -> dict[str, str]:
    """Each variable's text, defaults included; raises WrongVariable."""
    known = {variable.name for variable in variables}
    for name in values:
        if name not in known:
            raise WrongVariable(name, f"The prompt has no variable '{name}'.")
    spelled = {}
    for variable in variables:
        value = values.get(variable.name, variable.default)
        if value is None:
            raise WrongVariable(variable.name, f"The variable '{variable.name}' needs a value.")
        spelled[variable.name] = spell_value(variable, value)
    return spelled


def spell_value(variable: Variable, value: Value) -> str:
    """A value as text; raises WrongVariable when it is not of the variable's kind."""
    text = _spell(value)
    fits = True
    match variable.kind:
        case VariableKind.NUMBER:
            fits = not isinstance(value, bool) and _is_number(text)
        case VariableKind.BOOLEAN:
            fits = text in ("true", "false")
        case VariableKind.CHOICE:
            fits = text in variable.choices
        case VariableKind.TEXT:
            pass
    if not fits:
        raise WrongVariable(variable.name, f"'{variable.name}' must be {_wanted(variable)}.")
    return text


def diff(old: PromptContent, new: PromptContent) -> list[DiffLine]:
    """What changed, line by line; what did not change is there too."""
    before, after = _lines(old), _lines(new)
    lines: list[DiffLine] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, from_old, to_old, from_new, to_new in matcher.get_opcodes():
        if kind == "equal":
            lines += [DiffLine("same", text) for text in before[from_old:to_old]]
            continue
        lines += [DiffLine("removed", text) for text in before[from_old:to_old]]
        lines += [DiffLine("added", text) for text in after[from_new:to_new]]
    return lines


def _texts(content: PromptContent) -> Iterable[str]:
    yield content.instructions
    for message in content.messages:
        yield message.content


def _lines(content: PromptContent) -> list[str]:
    """A version as lines that a person would compare."""
    settings = {
        "model": content.model,
        "temperature": content.temperature,
        "top_p": content.top_p,
        "max_output_tokens": content.max_output_tokens,
    }
    lines = [f"{name}: {value}" for name, value in settings.items() if value is not None]
    for variable in content.variables:
        choices = f" of {', '.join(variable.choices)}" if variable.choices else ""
        default = "" if variable.default is None else f" = {variable.default}"
        lines.append(f"variable {variable.name}: {variable.kind}{choices}{default}")
    if content.instructions:
        lines += ["instructions:", *content.instructions.split("\n")]
    for message in content.messages:
        lines += [f"{message.role}:", *message.content.split("\n")]
    return lines


def _spell(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,3})?", text) is not None


def _wanted(variable: Variable) -> str:
    if variable.kind is VariableKind.CHOICE:
        return "one of " + ", ".join(variable.choices)
    return {VariableKind.NUMBER: "a number", VariableKind.BOOLEAN: "true or false"}.get(
        variable.kind, "text"
    )
