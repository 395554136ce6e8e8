"""From a request body to what the engine is asked: what it cannot honour is refused by name.

Does not know HTTP nor how an answer is written.
"""

import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokenyard.engine.grammar import Form, FormKind, any_json_object, one_of
from tokenyard.protocol.chat_completions import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    ResponseFormat,
    StructuredOutputs,
)
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.reasons import Reason

# A value that asks for nothing is as good as none.
_NOTHING: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "reasoning_effort": (),
    "store": (False,),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
}


class TokenizeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /tokenize`: a conversation or a text."""

    model: str | None = None
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)] | None = None
    prompt: str | None = None


class AbortRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/abort`: the `x-request-id` that a call was sent with."""

    request_id: Annotated[str, Meta(min_length=1, max_length=256)]


class AbortAnswer(msgspec.Struct, kw_only=True):
    """Whether that call was still in progress."""

    aborted: bool


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


def read_form(request: ChatCompletionRequest | CompletionRequest) -> Form | None:
    """What the answer has to look like; raises InvalidRequest when that is said in two ways."""
    found = []
    if isinstance(request, ChatCompletionRequest) and request.response_format is not None:
        found.append(_read_response_format(request.response_format))
    if request.structured_outputs is not None:
        found += _read_structured(request.structured_outputs)
    forms = [form for form in found if form is not None]
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


def unsupported(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"This model server does not support '{name}'.",
        reason=Reason.UNSUPPORTED_PARAMETER,
        param=name,
    )


def check_model(asked: str | None, served: str) -> None:
    """Raise NotFound unless the request is for the model that this server has."""
    if asked is not None and asked != served:
        raise NotFound(
            f"The model {asked!r} is not served here; {served!r} is.",
            reason=Reason.MODEL_NOT_FOUND,
            param="model",
        )
