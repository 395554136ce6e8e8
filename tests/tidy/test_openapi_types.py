"""The page's types say what the description says."""

import pytest

from tools.openapi_types import write_types


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "maxLength": 3}, "string"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "number | null"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "Record<string, number>"),
        ({"$ref": "#/components/schemas/Other"}, "Other"),
        ({"allOf": [{"$ref": "#/components/schemas/Other"}]}, "unknown"),
        ({"type": "object", "properties": {}}, "Record<string, never>"),
    ],
)
def test_a_schema_becomes_a_type(schema: dict[str, object], expected: str) -> None:
    text = write_types({"components": {"schemas": {"It": schema}}, "paths": {}})
    assert f"export type It = {expected};" in text


def test_a_route_says_what_it_takes_and_gives() -> None:
    operation = {
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "limit", "in": "query", "schema": {"type": "integer"}},
        ],
        "requestBody": {"content": {"application/json": {"schema": {"type": "string"}}}},
        "responses": {"400": {}, "200": {"content": {"application/json": {"schema": {}}}}},
    }
    text = write_types({"components": {"schemas": {}}, "paths": {"/a/{id}": {"post": operation}}})
    assert (
        '"POST /a/{id}": { path: { id: string; }; query: { limit?: number; }; body: string; '
        "answer: unknown };"
    ) in text


def test_a_field_keeps_its_meaning_and_whether_it_must_be_there() -> None:
    properties = {"a": {"type": "string", "description": "First."}, "b-c": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": ["a"]}
    text = write_types({"components": {"schemas": {"It": schema}}, "paths": {}})
    assert '{\n  /** First. */\n  a: string;\n  "b-c"?: boolean;\n}' in text
