"""Items of conversations and responses on the wire: messages, calls of functions, thoughts.

Source: OpenAI API reference, `InputItem` and `ItemResource`. The fields after the blank line of a
struct are ours.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.messages import Role

PARTS_MAX = 64

Word = Annotated[str, Meta(min_length=1, max_length=256)]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class InputText(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag="input_text"):
    """A piece of text in a message that is sent to us."""

    text: str


class AnswerText(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag="output_text"):
    """A piece of an answer that is sent back as it came."""

    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    # OpenAI's clients put what they have read from the text beside it.
    parsed: Any = None


class ThoughtText(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag="reasoning_text"):
    """A piece of a thought that is sent back as it came."""

    text: str


class InputFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag="input_file"):
    """A file that is read as text: one that was uploaded, or its bytes as a base64 `data:` URL."""

    file_id: Word | None = None
    file_data: str | None = None
    filename: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


InputPart = InputText | AnswerText | ThoughtText | InputFile
# What each kind of item cannot do without.
_NEEDED = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "reasoning": (),
}


class InputItem(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One item that is asked, or added to a conversation; a message need not say its type.

    One struct for all types, because a message without a type has no tag to tell it by.
    """

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Role | None = None
    content: str | Annotated[list[InputPart], Meta(max_length=PARTS_MAX)] | None = None
    # Of a call and of its answer.
    call_id: Word | None = None
    name: Word | None = None
    arguments: str | None = None
    # OpenAI's clients put what they have read from the arguments beside them.
    parsed_arguments: Any = None
    output: str | Annotated[list[InputText], Meta(max_length=PARTS_MAX)] | None = None
    # Of a thought.
    summary: list[Any] | None = None
    encrypted_content: None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None
    # As we give items out.
    response_id: str | None = None
    parent_id: str | None = None

    def check(self, path: str) -> None:
        """Raise InvalidRequest when a part of it is missing. path: where it stands."""
        for name in _NEEDED[self.type]:
            if getattr(self, name) in (None, []):
                raise InvalidRequest(f"'{path}.{name}' is missing.", param=f"{path}.{name}")
        if self.role is Role.TOOL:
            raise InvalidRequest(
                "What a tool gave is an item of type 'function_call_output'.", param=f"{path}.role"
            )

    def text(self) -> str:
        """The text of it, files left out."""
        if self.type == "function_call":
            return self.arguments or ""
        told = self.output if self.type == "function_call_output" else self.content
        if isinstance(told, str):
            return told
        return "".join(part.text for part in told or () if not isinstance(part, InputFile))

    def files(self) -> list[InputFile]:
        """The files of it."""
        if isinstance(self.content, str):
            return []
        return [part for part in self.content or () if isinstance(part, InputFile)]


class OutputText(msgspec.Struct, kw_only=True, tag_field="type", tag="output_text"):
    """A piece of text in an answer."""

    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class ReasoningText(msgspec.Struct, kw_only=True, tag_field="type", tag="reasoning_text"):
    """A piece of what a model wrote for itself."""

    text: str


class InputTextBody(msgspec.Struct, kw_only=True, tag_field="type", tag="input_text"):
    """A piece of text that was asked."""

    text: str


class InputFileBody(msgspec.Struct, kw_only=True, tag_field="type", tag="input_file"):
    """A file that was given with a message; its text is left out."""

    filename: str
    file_id: str | None = None

    characters: int


class _Body(msgspec.Struct, kw_only=True, tag_field="type"):
    """What all items have. parent_id: the item before it."""

    id: str
    status: ItemStatus

    response_id: str | UnsetType = UNSET
    parent_id: str | None = None


class MessageBody(_Body, kw_only=True, tag="message"):
    """One message as we give it out. summary_through: of a summary, the last item it stands for."""

    role: str
    content: list[OutputText | InputTextBody | InputFileBody]

    summary_through: str | UnsetType = UNSET
    # What a summary cost, in billionths of the ledger's currency.
    cost_nanos: int | UnsetType = UNSET


class FunctionCallBody(_Body, kw_only=True, tag="function_call"):
    """A function that the model calls. arguments: JSON text, as the model wrote it."""

    call_id: str
    name: str
    arguments: str


class FunctionOutputBody(_Body, kw_only=True, tag="function_call_output"):
    """What the caller's function gave."""

    call_id: str
    output: str


class ReasoningBody(_Body, kw_only=True, tag="reasoning"):
    """What the model wrote for itself; nobody summarises it here."""

    content: list[ReasoningText]
    summary: list[Any] = []


ItemBody = MessageBody | FunctionCallBody | FunctionOutputBody | ReasoningBody
