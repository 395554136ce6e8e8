"""An operation of the HTTP API: one route, its handler, and all that its description needs.

Routes and the OpenAPI document are made from the same list, so that neither can lie.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Permission

Handler = Callable[[Request], Awaitable[ASGIApp]]


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter with its bounds; `kind` is int, str or bool."""

    name: str
    meaning: str
    kind: type[int] | type[str] | type[bool] = str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frames:
    """The types of what goes over a WebSocket, each way."""

    client: Any
    server: Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `streams` are the types of its events, where it can stream."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    tag: str
    request: Any = None
    answer: Any = None
    streams: Any = None
    # Where a request that asks for an upgrade becomes a WebSocket.
    socket: Frames | None = None
    query: tuple[Query, ...] = ()
    # Statuses of answers that are none of errors.
    done: tuple[int, ...] = (200,)
    # Statuses of error answers, beside those that any operation may give.
    errors: tuple[int, ...] = ()
    # False for what may be called by anybody.
    authenticated: bool = True
    content_type: str = "application/json"
    request_type: str = "application/json"
    # What the caller must have, by the table in `rules.permissions`; compared at the door.
    permission: Permission | None = None
    # Whether `Idempotency-Key` holds for it: what costs money.
    replays: bool = False

    def __post_init__(self) -> None:
        if self.authenticated is (self.permission is None):
            raise ValueError(f"{self.name}: say `permission=…`, or `authenticated=False`")


class BytesAnswer:
    """JSON that is bytes already, as raw messages with no framework's object between."""

    __slots__ = ("_body", "_headers")

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        self._body = body
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-length", b"%d" % len(self._body)),
            (b"content-type", b"application/json"),
            *((name.encode(), value.encode()) for name, value in self._headers.items()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def json_answer(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer from a Struct or plain data."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(data, status, headers, media_type="application/json")


def read_int(request: Request, query: Query, default: int | None = None) -> int | None:
    """An integer query parameter; raises InvalidRequest when it is none or out of range."""
    text = request.query_params.get(query.name)
    if text is None:
        return default
    low, high = query.minimum, query.maximum
    plain = text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) <= 18
    number = int(text) if plain else None
    if number is None or (low is not None and number < low) or (high is not None and number > high):
        raise InvalidRequest(
            f"'{query.name}' must be a whole number from {low} to {high}.", param=query.name
        )
    return number


def read_choice(request: Request, query: Query, default: str) -> str:
    """A query parameter that is one of a few words; raises InvalidRequest naming it."""
    text = request.query_params.get(query.name, default)
    if text not in query.choices:
        raise InvalidRequest(
            f"'{query.name}' must be one of {', '.join(query.choices)}.", param=query.name
        )
    return text


def read_flag(request: Request, query: Query) -> bool | None:
    """A query parameter that is true or false, None when it is left out."""
    if query.name not in request.query_params:
        return None
    return read_choice(request, query, "false") == "true"
