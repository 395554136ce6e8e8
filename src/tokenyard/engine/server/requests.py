"""From a request body to what the engine is asked: what it cannot honour is refused by name.

Does not know HTTP nor how an answer is written.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokenyard.engine.adapters import AdapterTable
from tokenyard.engine.calls import Function, Manners, Thinking, force_calls, guide_calls
from tokenyard.engine.grammar import Form, FormKind, any_json_object, one_of
from tokenyard.engine.rules.speech import CallStyle
from tokenyard.engine.server.answers import Telling
from tokenyard.engine.template import Asking
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.protocol.chat_completions import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    ResponseFormat,
    StructuredOutputs,
)
from tokenyard.protocol.tools import ChosenTool, Tool
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.reasons import Reason

# A value that asks for nothing is as good as none.
_NOTHING: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "best_of": (1,),
    "suffix": ("",),
}
# Efforts that ask for an answer without thoughts.
_THOUGHTLESS = ("none", "minimal")


class TokenizeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /tokenize`: a conversation or a text."""

    model: str | None = None
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)] | None = None
    prompt: str | None = None


class DetokenizeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /detokenize`."""

    tokens: Annotated[list[int], Meta(max_length=1_000_000)]
    model: str | None = None


class DetokenizeAnswer(msgspec.Struct, kw_only=True):
    """The text of tokens, under the name that vLLM gives it."""

    prompt: str


class AbortRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/abort`: the `x-request-id` that a call was sent with."""

    request_id: Annotated[str, Meta(min_length=1, max_length=256)]


class AbortAnswer(msgspec.Struct, kw_only=True):
    """Whether that call was still in progress."""

    aborted: bool


class LoadAdapterRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/load_lora_adapter`, as vLLM's: a name, and a folder on this machine."""

    lora_name: Annotated[str, Meta(min_length=1, max_length=128)]
    lora_path: Annotated[str, Meta(min_length=1, max_length=4096)]


class UnloadAdapterRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/unload_lora_adapter`."""

    lora_name: str


class TokenizeAnswer(msgspec.Struct, kw_only=True):
    """How many tokens a prompt has, and which."""

    count: int
    tokens: list[int]
    context_window: int


def check_supported(request: ChatCompletionRequest | CompletionRequest) -> None:
    """Raise InvalidRequest(UNSUPPORTED_PARAMETER) for the first field that we cannot honour."""
    for name, nothing in _NOTHING.items():
        value = getattr(request, name, None)
        if value is not None and not any(value == one for one in nothing):
            raise unsupported(name)


def read_form(
    request: ChatCompletionRequest | CompletionRequest,
    calls: Form | None = None,
    *,
    forced: bool = False,
) -> Form | None:
    """What the answer has to look like; raises InvalidRequest when that is said in two ways.

    calls: what holds the calls in it. forced: it has to be a call; else an answer in another form
    has none.
    """
    found = []
    if isinstance(request, ChatCompletionRequest) and request.response_format is not None:
        found.append(_read_response_format(request.response_format))
    if request.structured_outputs is not None:
        found += _read_structured(request.structured_outputs)
    forms = [form for form in found if form is not None]
    if calls is not None and (forced or not forms):
        forms.insert(0, calls)
    if len(forms) > 1:
        raise InvalidRequest("An answer can have one form only.", param=forms[1].param)
    return forms[0] if forms else None


def _read_response_format(wanted: ResponseFormat) -> Form | None:
    if wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return any_json_object("response_format")
    schema = (wanted.json_schema or {}).get("schema")
    if not isinstance(schema, dict):
        raise InvalidRequest(
            "'response_format.json_schema.schema' is missing.",
            param="response_format.json_schema.schema",
        )
    return Form(FormKind.JSON_SCHEMA, json.dumps(schema), "response_format.json_schema.schema")


def _read_structured(wanted: StructuredOutputs) -> list[Form]:
    forms = []
    if wanted.json is not None:
        source = wanted.json if isinstance(wanted.json, str) else json.dumps(wanted.json)
        forms.append(Form(FormKind.JSON_SCHEMA, source, "structured_outputs.json"))
    if wanted.regex is not None:
        forms.append(Form(FormKind.REGEX, wanted.regex, "structured_outputs.regex"))
    if wanted.choice is not None:
        forms.append(one_of(wanted.choice, "structured_outputs.choice"))
    if wanted.grammar is not None:
        forms.append(Form(FormKind.LARK, wanted.grammar, "structured_outputs.grammar"))
    if not forms:
        raise InvalidRequest("'structured_outputs' is empty.", param="structured_outputs")
    return forms


def cut_prompt(prompt: list[int], keep: int | None, capacity: int) -> list[int]:
    """The newest `keep` tokens of a prompt; -1: all that leave room for one token of an answer."""
    if keep is None:
        return prompt
    kept = capacity - 1 if keep == -1 else keep
    return prompt[len(prompt) - kept :] if kept < len(prompt) else prompt


def tells(
    request: ChatCompletionRequest | CompletionRequest, tokenizer: Tokenizer, prompt: list[int]
) -> Telling:
    """What the caller wants to hear beside the text."""
    options = request.stream_options
    echoed = None
    if isinstance(request, CompletionRequest) and request.echo:
        # As it was sent, unless only a part was read.
        whole = isinstance(request.prompt, str) and request.truncate_prompt_tokens is None
        echoed = (prompt, str(request.prompt) if whole else tokenizer.decode(prompt))
    return Telling(
        usage=options is not None and options.include_usage,
        token_ids=bool(request.return_token_ids),
        prompt_logprobs=request.prompt_logprobs is not None,
        echoed=echoed,
        echo_logprobs=request.logprobs is not None,
    )


def unsupported(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"This model server does not support '{name}'.",
        reason=Reason.UNSUPPORTED_PARAMETER,
        param=name,
    )


def choose_adapter(asked: str | None, served: str, adapters: AdapterTable | None) -> int:
    """The adapter that a model's name stands for, 0 for the model itself; raises NotFound."""
    if asked is None or asked == served:
        return 0
    adapter = None if adapters is None else adapters.find(asked)
    if adapter is None:
        names = [served, *(one.name for one in (adapters.all if adapters else []))]
        raise NotFound(
            f"The model {asked!r} is not served here; {', '.join(map(repr, names))} is.",
            reason=Reason.MODEL_NOT_FOUND,
            param="model",
        )
    return adapter.number


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """What a request says of tools. functions: those that the model is told of.

    allowed: those that it may call. forced: whether it has to. many: more than one call.
    """

    functions: tuple[Function, ...] = ()
    allowed: tuple[Function, ...] = ()
    forced: bool = False
    many: bool = True

    def form(self, style: CallStyle, thinking: Thinking) -> Form | None:
        """What holds the calls of an answer to what was asked for; None when nothing has to."""
        if self.forced:
            return force_calls(style, self.allowed, many=self.many, thinking=thinking)
        if any(one.strict for one in self.allowed):
            return guide_calls(style, self.allowed, many=self.many, thinking=thinking)
        return None


def read_tools(request: ChatCompletionRequest) -> ToolPlan:
    """The tools that the model is told of; raises InvalidRequest when the choice is not offered."""
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
        return ToolPlan()
    if choice == "none":
        return ToolPlan()
    functions = tuple(_read_function(tool) for tool in request.tools)
    if len({one.name for one in functions}) < len(functions):
        raise InvalidRequest("Two tools have the same name.", param="tools")
    many = request.parallel_tool_calls is not False
    if not isinstance(choice, ChosenTool):
        return ToolPlan(functions, functions, forced=choice == "required", many=many)
    chosen = tuple(one for one in functions if one.name == choice.function.name)
    if not chosen:
        raise InvalidRequest(
            f"'tool_choice' names {choice.function.name!r}, which is not among the tools.",
            param="tool_choice",
        )
    return ToolPlan(functions, chosen, forced=True, many=False)


def read_asking(
    request: ChatCompletionRequest, manners: Manners, functions: tuple[Function, ...]
) -> Asking:
    """What the template is asked for; raises InvalidRequest when that contradicts itself."""
    goes_on = bool(request.continue_final_message)
    if goes_on and request.add_generation_prompt:
        raise InvalidRequest(
            "A turn that goes on and a new one cannot both be asked for.",
            param="continue_final_message",
        )
    variables = dict(request.chat_template_kwargs or {})
    if request.reasoning_effort is not None:
        if not manners.thought_optional:
            raise unsupported("reasoning_effort")
        variables.setdefault("enable_thinking", request.reasoning_effort not in _THOUGHTLESS)
    return Asking(
        functions=functions,
        opens_turn=request.add_generation_prompt is not False,
        goes_on=goes_on,
        variables=variables,
    )


def _read_function(tool: Tool) -> Function:
    told = tool.function
    return Function(
        told.name,
        told.description or "",
        told.parameters or {"type": "object", "properties": {}},
        strict=bool(told.strict),
    )
