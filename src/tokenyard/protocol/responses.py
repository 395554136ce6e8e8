"""Responses and Conversations on the wire: requests with their ranges, objects, lists.

Source: OpenAI API reference, `CreateResponse`, `Response`, `ConversationResource`, `Message`. The
fields after the blank line of a struct are ours. A request field that is not listed is refused by
name, and so is a value that we do not serve yet (`refuse_unsupported`).
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tokenyard.protocol.chat_completions import (
    Name,
    Seed,
    Temperature,
    Timings,
    TokenCount,
    TopK,
    TopP,
)
from tokenyard.protocol.models import SamplingDefaults
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.generation import SamplingParameters, Usage
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason

ITEMS_MAX = 20

Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]


class InputText(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A piece of text in a message that is sent to us; an answer may be sent back as it came."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class InputMessage(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One message that is asked, or added to a conversation."""

    role: Role
    content: str | Annotated[list[InputText], Meta(min_length=1)]
    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None

    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ConversationReference(msgspec.Struct, forbid_unknown_fields=True):
    """A conversation named by its id."""

    id: str


class CreateResponseRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/responses`."""

    model: Name
    input: str | Annotated[list[InputMessage], Meta(min_length=1)]
    conversation: str | ConversationReference | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_output_tokens: TokenCount | None = None
    metadata: Metadata | None = None
    truncation: Literal["auto", "disabled"] | None = None
    previous_response_id: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    user: str | None = None

    top_k: TopK | None = None
    seed: Seed | None = None

    def conversation_id(self) -> str | None:
        """The conversation that the answer belongs to, if any."""
        if isinstance(self.conversation, ConversationReference):
            return self.conversation.id
        return self.conversation

    def messages(self) -> list[InputMessage]:
        """What is asked, as messages."""
        if isinstance(self.input, str):
            return [InputMessage(role=Role.USER, content=self.input)]
        return self.input

    def sampling(self, defaults: SamplingDefaults) -> SamplingParameters:
        """The drawing parameters."""
        return SamplingParameters(
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=defaults.top_p if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            seed=self.seed,
            max_tokens=self.max_output_tokens,
        )

    def refuse_unsupported(self) -> None:
        """Raise InvalidRequest for the first parameter whose value we do not serve."""
        refused = {
            "previous_response_id": self.previous_response_id is not None,
            "store": self.store is False,
            "tools": bool(self.tools),
            "tool_choice": self.tool_choice not in (None, "auto", "none"),
            "truncation": self.truncation == "auto",
            "text": self.text not in (None, {}, {"format": {"type": "text"}}),
        }
        for name, present in refused.items():
            if present:
                raise InvalidRequest(
                    f"'{name}' with this value is not supported.",
                    reason=Reason.UNSUPPORTED_PARAMETER,
                    param=name,
                )


class CreateConversationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/conversations`."""

    metadata: Metadata | None = None
    items: Annotated[list[InputMessage], Meta(max_length=ITEMS_MAX)] | None = None


class AddItemsRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[list[InputMessage], Meta(min_length=1, max_length=ITEMS_MAX)]


class UpdateConversationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/conversations/{id}`."""

    metadata: Metadata


class InputTokensDetails(msgspec.Struct):
    """Where the prompt's tokens came from."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct):
    """What the answer's tokens were spent on."""

    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, kw_only=True):
    """Token counts of a response."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "ResponseUsage":
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(usage.cached_tokens),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(usage.reasoning_tokens),
            total_tokens=usage.total_tokens,
        )


class Cost(msgspec.Struct, kw_only=True):
    """Our extension: what an answer cost, in billionths of the currency's unit."""

    nanos: int
    currency: str


class OutputText(msgspec.Struct, kw_only=True, tag_field="type", tag="output_text"):
    """A piece of text in an answer."""

    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class InputTextBody(msgspec.Struct, kw_only=True, tag_field="type", tag="input_text"):
    """A piece of text that was asked."""

    text: str


class MessageBody(msgspec.Struct, kw_only=True):
    """One message as we give it out."""

    id: str
    role: str
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText | InputTextBody]
    type: Literal["message"] = "message"

    response_id: str | UnsetType = UNSET


class ResponseErrorBody(msgspec.Struct, kw_only=True):
    """Why a response failed; `code` is one of OpenAI's few, `reason` is ours."""

    code: Literal["server_error", "rate_limit_exceeded"]
    message: str

    reason: str


class IncompleteDetails(msgspec.Struct):
    """Why a response stopped short."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseBody(msgspec.Struct, kw_only=True):
    """A response as we give it out."""

    id: str
    created_at: int
    status: Literal["completed", "failed", "in_progress", "cancelled", "incomplete"]
    model: str
    output: list[MessageBody]
    instructions: str | None
    metadata: dict[str, str]
    temperature: float
    top_p: float
    max_output_tokens: int | None
    conversation: ConversationReference | None
    error: ResponseErrorBody | None = None
    incomplete_details: IncompleteDetails | None = None
    completed_at: int | None = None
    usage: ResponseUsage | UnsetType = UNSET
    object: Literal["response"] = "response"
    background: bool = False
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    tools: list[Any] = []
    tool_choice: Literal["auto"] = "auto"
    truncation: Literal["disabled"] = "disabled"
    text: dict[str, Any] = msgspec.field(default_factory=lambda: {"format": {"type": "text"}})

    cost: Cost | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class ConversationBody(msgspec.Struct, kw_only=True):
    """A conversation as we give it out."""

    id: str
    created_at: int
    metadata: dict[str, str]
    object: Literal["conversation"] = "conversation"

    updated_at: int
    active_response_id: str | None = None


class ConversationDeleted(msgspec.Struct, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class ResponseDeleted(msgspec.Struct, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["response.deleted"] = "response.deleted"
    deleted: Literal[True] = True


class MessageList(msgspec.Struct, kw_only=True):
    """A page of messages; the ids are empty strings when the page is empty."""

    data: list[MessageBody]
    has_more: bool
    first_id: str
    last_id: str
    object: Literal["list"] = "list"


class ConversationList(msgspec.Struct, kw_only=True):
    """A page of conversations, the most recently used first."""

    data: list[ConversationBody]
    has_more: bool
    first_id: str
    last_id: str
    object: Literal["list"] = "list"
