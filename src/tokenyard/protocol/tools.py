"""Functions that a model may call, on the wire: what is offered, what is forced, what was called.

Source: OpenAI API reference, `ChatCompletionTool`, `ChatCompletionToolChoiceOption` and
`ChatCompletionMessageToolCall`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

TOOLS_MAX = 128
CALLS_MAX = 128
FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class FunctionDefinition(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A function that may be called. parameters: a JSON schema of its one object of arguments."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One tool that is offered; functions are the only kind that a model server has."""

    type: Literal["function"]
    function: FunctionDefinition


class ChosenFunction(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The name of a function that has to be called."""

    name: FunctionName


class ChosenTool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The one tool that has to be called."""

    type: Literal["function"]
    function: ChosenFunction


ToolChoice = Literal["none", "auto", "required"] | ChosenTool
Tools = Annotated[list[Tool], Meta(max_length=TOOLS_MAX)]


class FunctionCall(msgspec.Struct, kw_only=True):
    """A call. arguments: JSON text, as the model wrote it."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, kw_only=True):
    """One call of an assistant's turn."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    function: FunctionCall
    type: Literal["function"] = "function"


class FunctionCallDelta(msgspec.Struct, kw_only=True):
    """What one chunk adds to a call; the name comes whole and first."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct, kw_only=True):
    """What one chunk adds to the call of that index."""

    index: int
    function: FunctionCallDelta
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
