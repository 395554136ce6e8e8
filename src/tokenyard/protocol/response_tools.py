"""Functions that a response may call, as the Responses API offers and forces them.

Source: OpenAI API reference, `FunctionTool` and `ToolChoiceParam`. Tools that OpenAI runs itself
(web search, files, code) are not run here, and refused by name.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from tokenyard.protocol.tools import FunctionName
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.generation import Offer
from tokenyard.vocabulary.reasons import Reason

Tree = dict[str, Any]


class FunctionTool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A function that may be called. parameters: a JSON schema of its one object of arguments."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: Tree | None = None
    strict: bool | None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The one function that has to be called, or those of the tools that may be."""

    type: Literal["function", "allowed_tools"]
    name: FunctionName | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[Tree] | None = None


def read_tools(tools: Sequence[Tree]) -> list[Tree]:
    """The tools as they are told again; raises InvalidRequest for one that we do not have."""
    return [_read_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]


def read_choice(choice: str | Tree | None, tools: Sequence[Tree]) -> Offer:
    """What the model is offered of these tools; raises InvalidRequest for a choice that cannot be.

    tools: as `read_tools` gives them.
    """
    offered = tuple(_spell(tool) for tool in tools)
    if choice is None or isinstance(choice, str):
        if choice not in (None, "none", "auto", "required"):
            raise _refused(f"'{choice}' is no choice of tools.")
        if choice == "required" and not tools:
            raise _refused("'tool_choice' needs 'tools'.")
        return Offer(tools=offered, tool_choice=choice if tools else None)
    try:
        told = msgspec.convert(choice, _Choice)
    except msgspec.ValidationError as error:
        raise _refused(f"'tool_choice': {error}.") from None
    if told.type == "function":
        _find(told.name, tools)
        forced = {"type": "function", "function": {"name": told.name}}
        return Offer(tools=offered, tool_choice=forced)
    names = [_find(one.get("name"), tools) for one in told.tools or ()]
    if not names or told.mode is None:
        raise _refused("'allowed_tools' needs a 'mode' and 'tools'.")
    return Offer(
        tools=tuple(one for one in offered if one["function"]["name"] in names),
        tool_choice=told.mode,
    )


def _read_tool(tool: Tree, path: str) -> Tree:
    kind = tool.get("type")
    if kind != "function":
        raise InvalidRequest(
            f"Tools of type '{kind}' are not run here; functions of your own are called.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            param=f"{path}.type",
        )
    try:
        told = msgspec.convert(tool, FunctionTool)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"'{path}': {error}.", param=path) from None
    # Both are required in what is told again.
    return {"parameters": None, "strict": None, **_without_nothing(told)}


def _spell(tool: Tree) -> Tree:
    """The tool one level deeper, as Chat Completions has it."""
    rest = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": rest}


def _without_nothing(told: FunctionTool) -> Tree:
    tree: Tree = msgspec.to_builtins(told)
    return {name: value for name, value in tree.items() if value is not None}


def _find(name: str | None, tools: Sequence[Tree]) -> str:
    if name is None or name not in [tool["name"] for tool in tools]:
        raise _refused(f"'tool_choice' names {name!r}, which is not among the tools.")
    return name


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="tool_choice")
