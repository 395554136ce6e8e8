"""Moderations on the wire, after `CreateModerationRequest` and its answer of the OpenAI API."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

INPUTS_MAX = 1024


class ModeratedText(msgspec.Struct, forbid_unknown_fields=True):
    """One piece of what is to be looked at."""

    type: Literal["text"]
    text: str


class ModerationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/moderations`: one text, several, or the pieces of one."""

    input: str | Annotated[list[str | ModeratedText], Meta(min_length=1, max_length=INPUTS_MAX)]
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class ModerationResult(msgspec.Struct, kw_only=True):
    """What the model says of one text; its other fields are passed on as they came."""

    flagged: bool
    categories: dict[str, Any]
    category_scores: dict[str, Any]


class ModerationBody(msgspec.Struct, kw_only=True):
    """The answer."""

    id: str
    model: str
    results: list[ModerationResult]
