"""The OpenAPI 3.1 document, made from the operations that are really served.

Source: OpenAPI Specification 3.1.0. Schemas come from the msgspec structs that parse and render.
"""

import inspect
import typing
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from tokenyard import __version__
from tokenyard.gateway.operation import Operation, Query
from tokenyard.protocol.errors import ErrorResponse
from tokenyard.vocabulary.identity import Permission

_REF = "#/components/schemas/{name}"
_ALWAYS = (400, 500)
_KINDS = {int: "integer", str: "string", bool: "boolean"}
_ONE_TAG = "[a-z0-9][a-z0-9._-]{0,62}"
_REPLAY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request with the same key gets the same answer, and is billed once.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_SERVER_TAGS = {
    "name": "X-Server-Tags",
    "in": "header",
    "description": "Tags, divided by commas, that a model server must have to be asked for this.",
    "schema": {"type": "string", "pattern": f"^{_ONE_TAG}(, ?{_ONE_TAG}){{0,19}}$"},
}


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document as plain data."""
    types = _unique(
        part for operation in operations for part in _parts(operation) if part is not None
    )
    schemas, components = msgspec.json.schema_components([*types, ErrorResponse], ref_template=_REF)
    by_type = dict(zip([id(one) for one in types], schemas, strict=False))
    paths: dict[str, Any] = {}
    for operation in operations:
        method = operation.method.lower()
        paths.setdefault(operation.path, {})[method] = _describe(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tokenyard",
            "version": __version__,
            "description": "OpenAI-compatible API and the API of the page.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "tokenyard_session"},
            },
        },
    }


def _describe(operation: Operation, schemas: dict[int, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *(_path_parameter(name) for name in _path_names(operation.path)),
            *(_query_parameter(query) for query in operation.query),
            *([_REPLAY_KEY] if operation.replays else []),
            *([_SERVER_TAGS] if operation.permission is Permission.INFERENCE else []),
        ],
        "responses": _responses(operation, schemas),
        "security": [{"key": []}, {"session": []}] if operation.authenticated else [],
    }
    if operation.permission is not None:
        told["x-permission"] = operation.permission.value
    if operation.socket is not None:
        # OpenAPI 3.1 has no words for what goes over a WebSocket.
        told["x-websocket"] = {
            "client": schemas[id(operation.socket.client)],
            "server": schemas[id(operation.socket.server)],
        }
    if operation.request is not None:
        told["requestBody"] = {
            "required": True,
            "content": {operation.request_type: {"schema": schemas[id(operation.request)]}},
        }
    return told


def _parts(operation: Operation) -> tuple[Any, ...]:
    """All types that it speaks of."""
    frames = () if operation.socket is None else (operation.socket.client, operation.socket.server)
    return operation.request, operation.answer, operation.streams, *frames


def _responses(operation: Operation, schemas: dict[int, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.answer is not None:
        content[operation.content_type] = {"schema": schemas[id(operation.answer)]}
    elif operation.content_type != "application/json":
        content[operation.content_type] = {"schema": {"type": "string"}}
    else:
        content[operation.content_type] = {"schema": {"type": "object"}}
    if operation.streams is not None:
        content["text/event-stream"] = {"schema": schemas[id(operation.streams)]}
    answers: dict[str, Any] = {}
    for status in operation.done:
        answers[str(status)] = {"description": HTTPStatus(status).phrase}
        if status == HTTPStatus.OK:
            answers[str(status)] = {"description": "Done.", "content": content}
    statuses = {*_ALWAYS, *operation.errors}
    if operation.authenticated:
        statuses |= {401, 403}
    if operation.replays:
        # Another process works on it, or the keys cannot be looked up.
        statuses |= {409, 503}
    for status in sorted(statuses):
        answers[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {
                "application/json": {"schema": {"$ref": _REF.format(name="ErrorResponse")}}
            },
        }
    return answers


def _path_names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(query: Query) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _KINDS[query.kind]}
    if query.minimum is not None:
        schema["minimum"] = query.minimum
    if query.maximum is not None:
        schema["maximum"] = query.maximum
    if query.choices and query.kind is str:
        schema["enum"] = list(query.choices)
    return {"name": query.name, "in": "query", "description": query.meaning, "schema": schema}


def _unique(types: Iterable[Any]) -> list[Any]:
    """Each type once, by identity, in order."""
    return list({id(one): one for one in types}.values())


def summaries(operations: Sequence[Operation]) -> dict[str, str]:
    """The first line of what each named struct says of itself, for the page of the description."""
    found: dict[str, str] = {}
    for operation in operations:
        for part in _parts(operation):
            for kind in typing.get_args(part) or (part,):
                if inspect.isclass(kind):
                    found[kind.__name__] = (inspect.getdoc(kind) or "").split("\n", 1)[0]
    return found
