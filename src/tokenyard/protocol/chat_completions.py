"""Chat Completions and Completions on the wire: requests with their ranges, answers, stream chunks.

Source: OpenAI API reference, `CreateChatCompletionRequest` and `CreateCompletionRequest`, with the
extensions that vLLM made common (`top_k`, `min_p`, `min_tokens`, `ignore_eos`, …). A field that is
not listed here is refused by name; nothing is dropped in silence.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tokenyard.protocol.logprobs import ChatLogprobs, PromptLogprobs, TextLogprobs
from tokenyard.protocol.models import SamplingDefaults
from tokenyard.protocol.tools import CALLS_MAX, ToolCall, ToolCallDelta, ToolChoice, Tools
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.generation import SamplingParameters, Usage
from tokenyard.vocabulary.messages import Message, Role, ToolUse
from tokenyard.vocabulary.reasons import Reason

OPENAI_DEFAULTS = SamplingDefaults()
STOP_TEXTS_MAX = 4
SEED_MAX = 2**63 - 1

Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(gt=0, le=1)]
TopK = Annotated[int, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=-SEED_MAX - 1, le=SEED_MAX)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenCount = Annotated[int, Meta(ge=1)]
Tokens = Annotated[int, Meta(ge=0, le=2**53)]
StopText = Annotated[str, Meta(min_length=1, max_length=1024)]
Stop = StopText | Annotated[list[StopText], Meta(max_length=STOP_TEXTS_MAX)] | None
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
BIASED_TOKENS_MAX = 1024
STOP_TOKENS_MAX = 64
BAD_WORDS_MAX = 64
ALLOWED_TOKENS_MAX = 4096
CONTINUED_TOKENS_MAX = 1_000_000
# Place in a model server's queue, as in vLLM: lower comes first, and 0 is the usual one.
Priority = Annotated[int, Meta(ge=0, le=1_000_000)]


# `abort` is only seen between our own processes: the gateway asked the engine to stop;
# `content_filter` only from servers of others.
ChatFinish = Literal["stop", "length", "tool_calls", "content_filter", "abort"]
# How work is served: `auto` is `default` here.
ServiceTier = Literal["auto", "default", "flex", "priority"]
BadWord = Annotated[str, Meta(min_length=1, max_length=128)]
FormText = Annotated[str, Meta(min_length=1, max_length=65_536)]


class TextPart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One piece of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One turn of the conversation, text only.

    The fields that are always null are there because clients send an answer back as it came.
    """

    role: Role
    content: str | list[TextPart] | None = None
    name: str | None = None
    # Of an assistant's turn.
    tool_calls: Annotated[list[ToolCall], Meta(max_length=CALLS_MAX)] | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Meta(max_length=0)] | None = None
    # Of a tool's turn: the call that it answers.
    tool_call_id: str | None = None

    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    def check(self, place: int) -> None:
        """Raise InvalidRequest for a turn that says nothing or has what it must not.

        place: its index among the messages.
        """
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise InvalidRequest(
                f"'messages[{place}].content' is missing.", param=f"messages[{place}].content"
            )
        if (self.role is Role.TOOL) != (self.tool_call_id is not None):
            raise InvalidRequest(
                "A turn of a tool names the call that it answers, and no other turn does.",
                param=f"messages[{place}].tool_call_id",
            )
        if self.tool_calls and self.role is not Role.ASSISTANT:
            raise InvalidRequest(
                "Only an assistant calls tools.", param=f"messages[{place}].tool_calls"
            )

    def turn(self, place: int) -> Message:
        """The turn without its wire form; raises as `check`."""
        self.check(place)
        calls = tuple(
            ToolUse(call.id, call.function.name, call.function.arguments)
            for call in self.tool_calls or ()
        )
        return Message(self.role, self.text() or self.refusal or "", calls, self.tool_call_id or "")


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a stream carries beside its text."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The form of the answer. json_schema: an object with a `schema` field, as OpenAI has it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class StructuredOutputs(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """vLLM's extension: what the answer has to look like, in exactly one of these ways.

    json: a JSON schema. grammar: in the syntax of Lark.
    """

    json: dict[str, Any] | str | None = None
    regex: FormText | None = None
    choice: Annotated[list[FormText], Meta(min_length=1, max_length=1024)] | None = None
    grammar: FormText | None = None


class _Sampling(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The parameters that both kinds of completion share."""

    model: Name
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    seed: Seed | None = None
    stop: Stop = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=BIASED_TOKENS_MAX)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=STOP_TOKENS_MAX)] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    # Texts share cached blocks only with texts of the same salt.
    cache_salt: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    structured_outputs: StructuredOutputs | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    user: str | None = None
    # vLLM's extension: each choice carries the tokens that its text was made of.
    return_token_ids: bool | None = None
    # Ours: tokens of this answer that another server has generated, which count as if this one had.
    # Only text that is new is sent; with the same seed it is what the other would have sent.
    continue_token_ids: Annotated[list[TokenId], Meta(max_length=CONTINUED_TOKENS_MAX)] | None = (
        None
    )
    # vLLM's extensions: what may be drawn and shown, and what is told about the prompt.
    bad_words: Annotated[list[BadWord], Meta(max_length=BAD_WORDS_MAX)] | None = None
    allowed_token_ids: (
        Annotated[list[TokenId], Meta(min_length=1, max_length=ALLOWED_TOKENS_MAX)] | None
    ) = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    prompt_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    # Only the newest so many tokens of the prompt are read; -1: as many as the context holds.
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1)] | None = None
    # llama.cpp's extension: a stream tells how far the prompt has been read.
    return_progress: bool | None = None
    # Only from callers that we trust: the gateway refuses it from clients (`refuse_priority`).
    priority: Priority | None = None

    def _check(self, max_tokens: int | None) -> None:
        """Raise InvalidRequest for what does not fit together."""
        if max_tokens is not None and (self.min_tokens or 0) > max_tokens:
            raise InvalidRequest(
                f"'min_tokens' is {self.min_tokens}, more than the {max_tokens} tokens allowed.",
                param="min_tokens",
            )
        if self.logit_bias:
            _read_biases(self.logit_bias)

    def _sampling(
        self, max_tokens: int | None, defaults: SamplingDefaults, report_top: int | None
    ) -> SamplingParameters:
        stop = self.stop or ()
        return SamplingParameters(
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=defaults.top_p if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            seed=self.seed,
            max_tokens=max_tokens,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            ignore_eos=bool(self.ignore_eos),
            min_p=self.min_p or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias=_read_biases(self.logit_bias or {}),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            min_tokens=self.min_tokens or 0,
            report_top=report_top,
            prompt_top=self.prompt_logprobs,
            allowed_tokens=None
            if self.allowed_token_ids is None
            else tuple(self.allowed_token_ids),
            bad_words=tuple(self.bad_words or ()),
            shows_stop=bool(self.include_stop_str_in_output),
            shows_specials=self.skip_special_tokens is False,
        )


class ChatCompletionRequest(_Sampling, kw_only=True):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)]
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    service_tier: ServiceTier | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    # vLLM's extensions: whether the assistant's turn is opened, or the last turn goes on, and
    # variables for the chat template.
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, str | int | float | bool | None] | None = None

    def tokens_max(self) -> int | None:
        """The most tokens of an answer; `max_completion_tokens` wins over the older `max_tokens`.

        Raises InvalidRequest for parameters of drawing that do not fit together.
        """
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest(
                "'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs"
            )
        max_tokens = self.max_completion_tokens or self.max_tokens
        self._check(max_tokens)
        return max_tokens

    def sampling(self, defaults: SamplingDefaults = OPENAI_DEFAULTS) -> SamplingParameters:
        """The drawing parameters; raises as `tokens_max`."""
        report_top = (self.top_logprobs or 0) if self.logprobs else None
        return self._sampling(self.tokens_max(), defaults, report_top)

    def check_turns(self) -> None:
        """Raise InvalidRequest for the first turn that says nothing or has what it must not."""
        for place, message in enumerate(self.messages):
            message.check(place)

    def turns(self) -> tuple[Message, ...]:
        """The conversation without its wire form; raises as `check_turns`."""
        return tuple(message.turn(place) for place, message in enumerate(self.messages))


class CompletionRequest(_Sampling, kw_only=True):
    """The body of `POST /v1/completions`; a prompt is text or token ids."""

    prompt: str | Annotated[list[int], Meta(min_length=1)]
    max_tokens: TokenCount = 16
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    def tokens_max(self) -> int:
        """The most tokens of an answer; raises InvalidRequest for what does not fit together."""
        self._check(self.max_tokens)
        return self.max_tokens

    def sampling(self, defaults: SamplingDefaults = OPENAI_DEFAULTS) -> SamplingParameters:
        """The drawing parameters; raises as `tokens_max`."""
        sampling = self._sampling(self.tokens_max(), defaults, self.logprobs)
        if self.echo and sampling.prompt_top is None and self.logprobs is not None:
            return replace(sampling, prompt_top=self.logprobs)
        return sampling


def check_stream_options(request: ChatCompletionRequest | CompletionRequest) -> None:
    """Refuse `stream_options` on a request that does not stream, as OpenAI does."""
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )


def refuse_priority(request: ChatCompletionRequest | CompletionRequest) -> None:
    """Refuse `priority` from a client: who asks does not decide who comes first."""
    if request.priority is not None:
        raise InvalidRequest(
            "'priority' is not a parameter of this API.",
            reason=Reason.UNKNOWN_PARAMETER,
            param="priority",
        )


def _read_biases(biases: dict[str, float]) -> tuple[tuple[int, float], ...]:
    """Token ids are JSON keys and therefore text."""
    for token in biases:
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise InvalidRequest(
                f"'logit_bias' has the key {token[:32]!r}; keys are token ids.", param="logit_bias"
            )
    return tuple((int(token), bias) for token, bias in biases.items())


class PromptTokensDetails(msgspec.Struct):
    """Where the prompt's tokens came from."""

    cached_tokens: Tokens = 0


class CompletionTokensDetails(msgspec.Struct):
    """What the answer's tokens were spent on."""

    reasoning_tokens: Tokens = 0


class UsageBody(msgspec.Struct, kw_only=True):
    """Token counts on the wire."""

    prompt_tokens: Tokens
    completion_tokens: Tokens
    total_tokens: Tokens
    # Servers of others may leave these out or null.
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    @classmethod
    def of(cls, usage: Usage) -> "UsageBody":
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
            prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
            completion_tokens_details=CompletionTokensDetails(usage.reasoning_tokens),
        )

    def usage(self) -> Usage:
        """The counts; a part that a server tells as larger than its whole counts as the whole."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        cached = 0 if prompt is None else prompt.cached_tokens
        reasoning = 0 if completion is None else completion.reasoning_tokens
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=min(cached, self.prompt_tokens),
            reasoning_tokens=min(reasoning, self.completion_tokens),
        )


class Timings(msgspec.Struct, kw_only=True):
    """Our extension of the last event: how long each part took, in milliseconds.

    queue_ms: left out of a response whose model server does not tell.
    """

    queue_ms: float | UnsetType = UNSET
    first_token_ms: float
    total_ms: float


class PromptProgress(msgspec.Struct, kw_only=True):
    """llama.cpp's extension: how much of the prompt has been read, in tokens.

    cache: of the processed ones, those that were known before. place, which is ours: while the
    request waits to be read, its place in line, 1 for the next one.
    """

    total: int
    cache: int
    processed: int
    time_ms: float
    place: int | UnsetType = UNSET


class AnswerMessage(msgspec.Struct, kw_only=True):
    """The assistant's turn in a whole answer."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: str | None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    # As DeepSeek and vLLM have it: what the model wrote for itself.
    reasoning_content: str | UnsetType = UNSET


class ChatChoice(msgspec.Struct, kw_only=True):
    """One of the n answers."""

    index: int
    message: AnswerMessage
    finish_reason: ChatFinish
    logprobs: ChatLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletion(msgspec.Struct, kw_only=True):
    """A whole answer of Chat Completions."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBody
    object: Literal["chat.completion"] = "chat.completion"
    # As it was served, where the request named one.
    service_tier: str | UnsetType | None = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class Delta(msgspec.Struct, kw_only=True):
    """What one chunk adds."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, kw_only=True):
    """One of the n answers, as far as this chunk takes it."""

    index: int
    delta: Delta
    finish_reason: ChatFinish | None = None
    logprobs: ChatLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletionChunk(msgspec.Struct, kw_only=True):
    """One event of a streamed answer; the one with `usage` has no choices."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: UsageBody | UnsetType | None = UNSET
    service_tier: str | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_progress: PromptProgress | UnsetType = UNSET


class TextChoice(msgspec.Struct, kw_only=True):
    """One answer of the older Completions."""

    index: int
    text: str
    finish_reason: Literal["stop", "length", "abort"] | None
    logprobs: TextLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET


class Completion(msgspec.Struct, kw_only=True):
    """A whole answer of Completions, and each of its stream events."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    object: Literal["text_completion"] = "text_completion"
    usage: UsageBody | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_progress: PromptProgress | UnsetType = UNSET
