"""Stored prompts on the wire. Ours but for `prompt` in a response; OpenAI's can be imported.

Source of the import: the prompt object of OpenAI's API reference, as the dashboard shows it until
its end on 30 November 2026. What of it we do not serve is refused by name.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenyard.protocol.chat_completions import Name, Temperature, TokenCount, TopP
from tokenyard.vocabulary.messages import Role

TEXT_MAX = 262_144
Text = Annotated[str, Meta(max_length=TEXT_MAX)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
Note = Annotated[str, Meta(max_length=2_000)]
Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]
VariableName = Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Choice = Annotated[str, Meta(min_length=1, max_length=1_000)]
PromptName = Annotated[str, Meta(pattern="^pmpt_[A-Za-z0-9_-]{1,128}$")]


class PromptMessageBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A turn that comes before the history."""

    role: Role
    content: Text


class VariableBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A hole in the text, `{{name}}`; without a default it must be filled."""

    name: VariableName
    kind: Literal["text", "number", "boolean", "choice"] = "text"
    default: Annotated[str, Meta(max_length=65_536)] | None = None
    description: Annotated[str, Meta(max_length=1_000)] = ""
    choices: Annotated[list[Choice], Meta(max_length=64)] = []


class PromptContentBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a version says. Variables that occur and are not declared are text without a default."""

    instructions: Text = ""
    messages: Annotated[list[PromptMessageBody], Meta(max_length=64)] = []
    variables: Annotated[list[VariableBody], Meta(max_length=64)] = []
    model: Name | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_output_tokens: TokenCount | None = None


class CreatePromptRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /api/prompts`."""

    name: Title
    content: PromptContentBody
    note: Note = ""


class RenamePromptRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /api/prompts/{id}`."""

    name: Title


class CreateVersionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /api/prompts/{id}/versions`: new content, or an older version again."""

    content: PromptContentBody | None = None
    from_version: Number | None = None
    note: Note = ""


class SetLabelRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `PUT /api/prompts/{id}/labels/{label}`."""

    version: Number


class ForeignText(msgspec.Struct, kw_only=True):
    """A part of a message in OpenAI's form."""

    type: str
    text: str = ""


class ForeignMessage(msgspec.Struct, kw_only=True):
    """A message in OpenAI's form."""

    role: Role
    content: str | list[ForeignText]


class ForeignPrompt(msgspec.Struct, kw_only=True):
    """A prompt object of OpenAI's; only what we can serve is named, `tools` to refuse them."""

    id: PromptName | None = None
    name: str | None = None
    version: str | int | None = None
    instructions: Text | None = None
    messages: Annotated[list[ForeignMessage], Meta(max_length=64)] | None = None
    variables: dict[str, Any] | list[str] | None = None
    model: Name | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_output_tokens: TokenCount | None = None
    tools: list[Any] | None = None


class ImportPromptsRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /api/prompts/import`; a prompt keeps its id if that is free."""

    prompts: Annotated[list[ForeignPrompt], Meta(min_length=1, max_length=100)]


class StoredPromptBody(msgspec.Struct, kw_only=True):
    """A stored prompt."""

    id: str
    name: str
    created_at: int
    updated_at: int
    newest_version: int
    labels: dict[str, int]
    object: Literal["prompt"] = "prompt"


class PromptList(msgspec.Struct, kw_only=True):
    """A page of prompts, the newest first."""

    data: list[StoredPromptBody]
    has_more: bool
    object: Literal["list"] = "list"


class PromptVersionBody(msgspec.Struct, kw_only=True):
    """A version of a prompt, and how often responses were asked with it."""

    prompt_id: str
    version: int
    content: PromptContentBody
    created_at: int
    user_id: str
    note: str
    uses: int
    last_used_at: int | None
    object: Literal["prompt.version"] = "prompt.version"


class PromptVersionList(msgspec.Struct, kw_only=True):
    """A page of versions, the newest first."""

    data: list[PromptVersionBody]
    has_more: bool
    object: Literal["list"] = "list"


class DiffLineBody(msgspec.Struct, kw_only=True):
    """A line of one version or of both."""

    op: Literal["same", "added", "removed"]
    text: str


class PromptDiff(msgspec.Struct, kw_only=True):
    """What changed between two versions."""

    lines: list[DiffLineBody]
    object: Literal["prompt.diff"] = "prompt.diff"


class PromptDeleted(msgspec.Struct, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["prompt.deleted"] = "prompt.deleted"
    deleted: Literal[True] = True
