"""The OpenAPI description as TypeScript types, for the page: one type a schema, one entry a route.

Bounds, lengths and patterns are left to the server. A shape that is not known here becomes
`unknown`, which a reader has to look into before it can be used.
"""

import json
import re
from typing import Any

_HEAD = "// Made by `make docs` from the code. Change it there.\n"
_NAME = re.compile(r"^[A-Za-z_]\w*$")
_PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def write_types(document: dict[str, Any]) -> str:
    """The whole `openapi.d.ts`."""
    schemas = document["components"]["schemas"]
    text = _HEAD
    for name, schema in schemas.items():
        text += f"\nexport type {name} = {_type(schema, '')};\n"
    text += "\n/** Every operation: what it takes, and what it answers with when it succeeds. */\n"
    text += "export interface Routes {\n"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and "responses" in operation:
                text += f'  "{method.upper()} {path}": {_operation(operation)};\n'
    return text + "}\n"


def _operation(operation: dict[str, Any]) -> str:
    places = {"path": "", "query": ""}
    for parameter in operation.get("parameters", ()):
        where = parameter.get("in")
        if where in places:
            mark = "" if parameter.get("required") else "?"
            kind = _type(parameter["schema"], "    ")
            places[where] += f"{_key(parameter['name'])}{mark}: {kind}; "
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    parts = [f"{where}: {{ {fields}}}" for where, fields in places.items() if fields]
    if body is not None:
        parts.append(f"body: {_type(body['schema'], '    ')}")
    parts.append(f"answer: {_answer(operation['responses'])}")
    return "{ " + "; ".join(parts) + " }"


def _answer(responses: dict[str, Any]) -> str:
    for status, response in responses.items():
        if status.startswith("2"):
            found = response.get("content", {}).get("application/json")
            return "unknown" if found is None else _type(found["schema"], "    ")
    return "unknown"


def _type(schema: Any, margin: str) -> str:
    if schema is True or schema == {}:
        return "unknown"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            kinds = dict.fromkeys(_type(each, margin) for each in schema[word])
            return " | ".join(kinds)
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    return _typed(schema, margin)


def _typed(schema: dict[str, Any], margin: str) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_typed({**schema, "type": each}, margin) for each in kind)
    if kind == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(_type(each, margin) for each in schema["prefixItems"]) + "]"
        inner = _type(schema.get("items", {}), margin)
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if kind == "object":
        return _object(schema, margin)
    return _PLAIN.get(kind or "", "unknown")


def _object(schema: dict[str, Any], margin: str) -> str:
    properties = schema.get("properties")
    if properties is None:
        rest = schema.get("additionalProperties", {})
        return f"Record<string, {_type(rest, margin) if isinstance(rest, dict) else 'unknown'}>"
    if not properties:
        return "Record<string, never>"
    required = set(schema.get("required", ()))
    text = "{\n"
    for name, inner in properties.items():
        if meaning := inner.get("description"):
            text += f"{margin}  /** {meaning.replace('*/', '* /')} */\n"
        mark = "" if name in required else "?"
        text += f"{margin}  {_key(name)}{mark}: {_type(inner, margin + '  ')};\n"
    return text + margin + "}"


def _key(name: str) -> str:
    return name if _NAME.match(name) else json.dumps(name)
