"""`/docs`: the OpenAPI document as one plain page, without a script and without another host.

A hundred lines instead of a bundle of a megabyte that a strict content security policy would block.
"""

from html import escape
from typing import Any

STYLE_PATH = "/docs.css"

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1a; --soft: #6b6a66; --line: #e4e2dd;
  --ground: #fbfaf8; --accent: #1f5c4d; }
@media (prefers-color-scheme: dark) { :root { --ink: #ecebe7; --soft: #9b9a95; --line: #2e2d2a;
  --ground: #171715; --accent: #7cc4ad; } }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 6rem; background: var(--ground);
  color: var(--ink); font: 14px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { margin-top: 3rem; font-size: 1.1rem; }
h3 { margin: 0; font-size: 1rem; font-weight: 500; }
a { color: var(--accent); } code { font: 13px/1.5 ui-monospace, monospace; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
.method { display: inline-block; min-width: 4.5rem; color: var(--accent); font-weight: 600; }
p { margin: .3rem 0; color: var(--soft); max-width: 68ch; }
table { width: 100%; border-collapse: collapse; margin: .6rem 0; }
td { padding: .25rem .75rem .25rem 0; vertical-align: top; border-top: 1px solid var(--line); }
td:first-child { white-space: nowrap; } details { margin: .4rem 0; }
summary { cursor: pointer; color: var(--soft); }
"""


def render_page(document: dict[str, Any]) -> str:
    """The page as HTML."""
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            groups.setdefault(told["tags"][0], []).append(_operation(path, method, told, document))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in groups.items())
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title>"
        f'<link rel="stylesheet" href="{STYLE_PATH}"></head><body><main>'
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])} Send <code>Authorization: Bearer ty-…</code>. The same "
        'as data: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{body}</main></body></html>"
    )


def _operation(path: str, method: str, told: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [
        f'<section id="{escape(told["operationId"])}"><h3><span class="method">'
        f"{escape(method.upper())}</span> <code>{escape(path)}</code></h3>"
        f"<p>{escape(told['summary'])}</p>"
    ]
    if told["parameters"]:
        rows = [
            _row(one["name"], _spell(one["schema"]), one.get("description", "Part of the path."))
            for one in told["parameters"]
        ]
        parts.append(f"<table>{''.join(rows)}</table>")
    if "requestBody" in told:
        (content,) = told["requestBody"]["content"].values()
        schema = content["schema"]
        parts.append(_fields("Body", schema, document))
    for kind, content in told["responses"].get("200", {}).get("content", {}).items():
        parts.append(_fields(f"Answer, {kind}", content["schema"], document))
    errors = [status for status in told["responses"] if int(status) >= 400]
    parts.append(f"<p>Errors: {escape(', '.join(errors))}.</p></section>")
    return "".join(parts)


def _fields(title: str, schema: dict[str, Any], document: dict[str, Any]) -> str:
    whole = _resolve(schema, document)
    properties = whole.get("properties", {})
    if not properties:
        return f"<p>{escape(title)}: <code>{escape(_spell(schema))}</code></p>"
    required = set(whole.get("required", ()))
    rows = [
        _row(name, _spell(field), "required" if name in required else "")
        for name, field in properties.items()
    ]
    return (
        f"<details><summary>{escape(title)}: {escape(_spell(schema))}</summary>"
        f"<p>{escape(whole.get('description', ''))}</p><table>{''.join(rows)}</table></details>"
    )


def _row(name: str, kind: str, meaning: str) -> str:
    return (
        f"<tr><td><code>{escape(name)}</code></td><td><code>{escape(kind)}</code></td>"
        f"<td>{escape(meaning)}</td></tr>"
    )


def _resolve(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _spell(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(_spell(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_spell(schema.get('items', {}))}"
    bounds = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "maxLength": "length ≤"}
    told = [f"{sign} {schema[name]}" for name, sign in bounds.items() if name in schema]
    return " ".join([kind, *told])
