"""From a request body to what the engine is asked: what it cannot honour is refused by name.

Does not know HTTP nor how an answer is written.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokenyard.protocol.chat_completions import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
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
    if isinstance(request, ChatCompletionRequest):
        form = request.response_format
        if form is not None and form.type != "text":
            raise unsupported("response_format")


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
