"""Responses on the wire: requests with their ranges, objects, lists of items.

Source: OpenAI API reference, `CreateResponse` and `Response`. The
fields after the blank line of a struct are ours. A request field that is not listed is refused by
name, and so is a value that we do not serve yet (`refuse_unsupported`).
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tokenyard.protocol.chat_completions import (
    Name,
    Seed,
    ServiceTier,
    Temperature,
    Timings,
    TokenCount,
    TopK,
    TopP,
)
from tokenyard.protocol.models import SamplingDefaults
from tokenyard.protocol.response_items import PARTS_MAX, InputItem, ItemBody, Word
from tokenyard.protocol.response_tools import read_choice, read_tools
from tokenyard.protocol.tools import TOOLS_MAX
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.generation import Offer, SamplingParameters, Usage
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason

PromptValue = Annotated[str, Meta(max_length=65_536)] | int | float | bool

Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]


class ConversationReference(msgspec.Struct, forbid_unknown_fields=True):
    """A conversation named by its id."""

    id: str


class TextFormat(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The form of the answer; a schema comes with `json_schema` and a name."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Meta(max_length=64)] | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How the text of the answer is to look."""

    format: TextFormat | None = None
    verbosity: str | None = None


class PromptOption(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A stored prompt. version: a number or a label; the one in production when it is left out."""

    id: Word
    version: Word | None = None
    variables: Annotated[dict[str, PromptValue], Meta(max_length=PARTS_MAX)] | None = None


class Thinking(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How much a model that can is to think; nobody summarises its thoughts here."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class ResponseStreamOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a stream carries beside its text."""

    include_obfuscation: bool | None = None


class CreateResponseRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/responses`.

    parent_item_id: ours; the item of the conversation that the input is put below, or null for a
    new beginning. Empty input asks for another answer to that item.
    """

    model: Name | None = None
    input: str | list[InputItem] = []
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
    prompt: PromptOption | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    include: list[str] | None = None
    reasoning: Thinking | None = None
    service_tier: ServiceTier | None = None
    top_logprobs: int | None = None
    stream_options: ResponseStreamOptions | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    parent_item_id: str | UnsetType | None = UNSET
    top_k: TopK | None = None
    seed: Seed | None = None

    def conversation_id(self) -> str | None:
        """The conversation that the answer belongs to, if any."""
        if isinstance(self.conversation, ConversationReference):
            return self.conversation.id
        return self.conversation

    def items(self) -> list[InputItem]:
        """What is asked, as items."""
        if isinstance(self.input, str):
            return [InputItem(role=Role.USER, content=self.input)]
        return self.input

    def format(self) -> dict[str, Any]:
        """The form of the answer, empty for plain text; raises InvalidRequest for half a schema."""
        form = None if self.text is None else self.text.format
        if form is None or form.type == "text":
            return {}
        if form.type == "json_schema" and (form.schema is None or not form.name):
            raise InvalidRequest(
                "A format of type 'json_schema' needs 'name' and 'schema'.", param="text.format"
            )
        tree: dict[str, Any] = msgspec.to_builtins(form)
        return {name: value for name, value in tree.items() if value is not None}

    def described_tools(self) -> list[dict[str, Any]]:
        """The tools as they are told again; raises InvalidRequest for one that we do not have."""
        return read_tools(self.tools or ())

    def offer(self) -> Offer:
        """What the model is offered of them; raises InvalidRequest for a choice that cannot be."""
        return read_choice(self.tool_choice, self.described_tools())

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
            "text.verbosity": self.text is not None and self.text.verbosity not in (None, "medium"),
            "include": bool(self.include),
            "reasoning.summary": self.reasoning is not None
            and (self.reasoning.summary or self.reasoning.generate_summary) is not None,
            "top_logprobs": bool(self.top_logprobs),
            "stream_options": self.stream_options is not None
            and bool(self.stream_options.include_obfuscation),
        }
        for name, present in refused.items():
            if present:
                raise InvalidRequest(
                    f"'{name}' with this value is not supported.",
                    reason=Reason.UNSUPPORTED_PARAMETER,
                    param=name,
                )
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.parent_item_id is not UNSET and self.conversation is None:
            raise InvalidRequest(
                "'parent_item_id' names an item of a conversation, and none is given.",
                param="parent_item_id",
            )
        if self.store is False and (self.background or self.conversation is not None):
            other = "background" if self.background else "conversation"
            raise InvalidRequest(f"'store' cannot be false with '{other}'.", param="store")


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


class ResponseErrorBody(msgspec.Struct, kw_only=True):
    """Why a response failed; `code` is one of OpenAI's few, `reason` is ours."""

    code: Literal["server_error", "rate_limit_exceeded"]
    message: str

    reason: str


class IncompleteDetails(msgspec.Struct):
    """Why a response stopped short."""

    reason: Literal["max_output_tokens", "content_filter"]


class PromptBody(msgspec.Struct, kw_only=True):
    """The stored prompt that a response was asked with."""

    id: str
    version: str
    variables: dict[str, str]


class ThinkingBody(msgspec.Struct, kw_only=True):
    """How much the model was to think."""

    effort: str | None
    summary: None = None


class ResponseBody(msgspec.Struct, kw_only=True):
    """A response as we give it out."""

    id: str
    created_at: int
    status: Literal["completed", "failed", "in_progress", "cancelled", "incomplete"]
    model: str
    output: list[ItemBody]
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
    previous_response_id: str | None = None
    prompt: PromptBody | None = None
    tools: list[Any] = []
    tool_choice: str | dict[str, Any] = "auto"
    reasoning: ThinkingBody | None = None
    service_tier: str = "default"
    truncation: Literal["auto", "disabled"] = "disabled"
    text: dict[str, Any] = msgspec.field(default_factory=lambda: {"format": {"type": "text"}})

    # Turns of the history that did not fit and were not sent.
    truncated_items: int = 0
    cost: Cost | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class ResponseDeleted(msgspec.Struct, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["response.deleted"] = "response.deleted"
    deleted: Literal[True] = True


class ItemList(msgspec.Struct, kw_only=True):
    """A page of items; the ids are empty strings when the page is empty."""

    data: list[ItemBody]
    has_more: bool
    first_id: str
    last_id: str
    object: Literal["list"] = "list"
