"""Limits on the wire."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class LimitBody(msgspec.Struct):
    """So much of that, in that time; `name` is what a denial calls it.

    `subject` is `*` for each of its level who has none of their own. An empty `id` is a limit of
    the settings.
    """

    id: str
    name: str
    level: str
    subject: str
    measure: str
    window: str
    amount: int
    burst: int
    store_away: Literal["open", "closed"]
    object: Literal["limit"] = "limit"


class LimitList(msgspec.Struct):
    """The limits that the caller may see: those of the settings, and those that were set."""

    data: list[LimitBody]
    object: Literal["list"] = "list"


class LimitRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A limit; it replaces the one with its level, subject, measure and window.

    streams go with the window `now`, all else with `minute` or `day`. burst: of a minute's limit,
    how much may come at once; left out, all of it.
    """

    level: Literal["key", "user", "project", "organisation", "model", "system"]
    measure: Literal["requests", "input_tokens", "output_tokens", "streams", "spend"]
    window: Literal["minute", "day", "now"]
    amount: Annotated[int, Meta(ge=1, le=10**15)]
    subject: Annotated[str, Meta(min_length=1, max_length=500)] = "*"
    burst: Annotated[int, Meta(ge=0, le=10**15)] = 0
    store_away: Literal["open", "closed"] = "open"


class LimitDeleted(msgspec.Struct):
    """The answer to a deletion."""

    id: str
    deleted: bool = True
