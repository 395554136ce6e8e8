"""The reference pages under docs/reference, made from the code: `python -m tools.generate_docs`.

A test makes them again and compares, so a page cannot tell of a setting, reason, metric, command
or route that is not there. The wording is not decided here: each sentence stands in the code.
"""

import ast
import asyncio
import inspect
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import click
import msgspec
from click.testing import CliRunner
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from support.yards import open_fake_yard
from tokenyard.cli import main as cli
from tokenyard.runtime import settings
from tokenyard.telemetry import metrics
from tokenyard.vocabulary import errors, reasons
from tools.openapi_types import write_types
from tools.tidy.source import load

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("docs/reference")
HEAD = "<!-- Made by `make docs` from the code. Change it there. -->\n\n"
HELP_COLUMNS = 90


def settings_page() -> str:
    """Every setting with its variable, its range, its default and its meaning."""
    text = HEAD + "# Settings\n\n" + _prose(settings) + "\n\n"
    text += (
        f"The file is `{settings.FILE_NAME}` in the data folder (`{settings.HOME_VARIABLE}`, "
        "default `~/.tokenyard`). The environment wins over the file.\n"
    )
    for branch, kind in get_type_hints(settings.Settings, include_extras=True).items():
        text += f"\n## `[{branch}]`\n\n{inspect.getdoc(kind)}\n\n"
        text += "| key | environment | value | default | meaning |\n|---|---|---|---|---|\n"
        for key, hint, default in _fields(kind):
            variable = f"{settings.ENVIRONMENT_PREFIX}{branch}__{key}".upper()
            range_, meaning = _range_and_meaning(hint)
            shown = json.dumps(msgspec.to_builtins(default), ensure_ascii=False)
            cells = (f"`{key}`", f"`{variable}`", range_, f"`{shown}`", meaning)
            text += "| " + " | ".join(cells) + " |\n"
        text += "".join(_entry_table(branch, key, hint) for key, hint, _ in _fields(kind))
    return text


def _entry_table(branch: str, key: str, hint: Any) -> str:
    """What a table inside a section holds, such as `[[ledger.prices]]`; else nothing."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    entry = get_args(hint)[0] if get_origin(hint) is tuple else hint
    if not (isinstance(entry, type) and issubclass(entry, msgspec.Struct)):
        return ""
    shown = f"[[{branch}.{key}]]" if get_origin(hint) is tuple else f"[{branch}.{key}]"
    text = f"\n### `{shown}`\n\n{inspect.getdoc(entry)}\n\n"
    text += "| key | value | default | meaning |\n|---|---|---|---|\n"
    for name, inner, default in _fields(entry):
        range_, meaning = _range_and_meaning(inner)
        value = "" if default is msgspec.NODEFAULT else f"`{json.dumps(default)}`"
        text += f"| `{name}` | {range_} | {value} | {meaning} |\n"
    return text


def reasons_page() -> str:
    """Every named reason under the heading it has in the code, with the statuses it comes with."""
    statuses = _statuses()
    text = HEAD + "# Reasons\n\n" + _prose(reasons) + "\n\n"
    text += (
        "A reason is the `code` of an error body, the label of a metric and the word on the page. "
        "The status is given where the code raises an error with that reason by name; where it "
        "is empty, the reason is chosen at run time, or told in a stream and never as a status.\n"
    )
    for heading, members in _groups(inspect.getsource(reasons.Reason)):
        text += f"\n## {heading.rstrip('.')}\n\n"
        if not any(statuses[member] for member in members):
            text += "".join(f"- `{reasons.Reason[member]}`\n" for member in members)
            continue
        text += "| reason | HTTP status |\n|---|---|\n"
        for member in members:
            numbers = ", ".join(map(str, sorted(statuses[member])))
            text += f"| `{reasons.Reason[member]}` | {numbers} |\n"
    return text


def metrics_page() -> str:
    """Every metric of each process: name as Prometheus sees it, kind, labels, buckets."""
    text = HEAD + "# Metrics\n\n" + _prose(metrics) + "\n"
    for name, kind in inspect.getmembers(metrics, inspect.isclass):
        if name.startswith("_") or not name.endswith("Metrics"):
            continue
        text += f"\n## {name.removesuffix('Metrics')}\n\n{inspect.getdoc(kind)}\n\n"
        text += "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
        for family, metric in _collectors(kind()):
            full = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            text += f"| `{full}` | {family.type} | {labels} | {family.documentation} |\n"
    return text


def cli_page() -> str:
    """The help of every command, as the terminal shows it."""
    text = HEAD + "# Command line\n"
    for path in _commands((), cli):
        shown = CliRunner().invoke(
            cli, [*path, "--help"], prog_name="tokenyard", terminal_width=HELP_COLUMNS
        )
        text += (
            f"\n## `{' '.join(('tokenyard', *path))}`\n\n```text\n{shown.output.rstrip()}\n```\n"
        )
    return text


def openapi_page() -> str:
    """The gateway's own description of its routes, as `/openapi.json` serves it."""
    return json.dumps(_openapi(), indent=2, ensure_ascii=False) + "\n"


def routes_page() -> str:
    """One line for each route, read from the OpenAPI description."""
    text = HEAD + "# Routes\n\nThe whole description is in [openapi.json](openapi.json), "
    text += (
        "and at `/docs` of a running server.\n\n| method | path | what it does |\n|---|---|---|\n"
    )
    for path, methods in _openapi()["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and "responses" in operation:
                text += f"| {method.upper()} | `{path}` | {operation.get('summary', '')} |\n"
    return text


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "reasons.md": reasons_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "openapi.json": openapi_page,
    "openapi.d.ts": lambda: write_types(_openapi()),
    "routes.md": routes_page,
}


def _prose(module: Any) -> str:
    """A module's docstring as a paragraph or more, its first line included."""
    return inspect.getdoc(module) or ""


def _fields(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any, Any]]:
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield field.name, hints[field.name], default


def _range_and_meaning(hint: Any) -> tuple[str, str]:
    """Words for what fits ("integer >= 1") and the description."""
    bounds: list[str] = []
    meaning = ""
    while get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        for note in notes:
            meaning = getattr(note, "description", None) or meaning
            for word, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
                value = getattr(note, word, None)
                if value is not None:
                    bounds.append(f"{sign} {value:g}")
            if getattr(note, "pattern", None):
                bounds.append("like `" + note.pattern.replace("|", "\\|") + "`")
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        plain = "list of " + ("text" if inner is str else "tables")
    else:
        plain = names.get(hint, "table")
    return " ".join([plain, ", ".join(bounds)]).strip(), meaning


def _groups(source: str) -> list[tuple[str, list[str]]]:
    """The members of the enumeration under the comment that stands above each block of them."""
    groups: list[tuple[str, list[str]]] = []
    for line in source.splitlines():
        comment = re.match(r"\s+# (.+)", line)
        member = re.match(r"\s+([A-Z_]+) = ", line)
        if comment:
            groups.append((comment[1], []))
        elif member:
            groups[-1][1].append(member[1])
    return groups


def _statuses() -> dict[str, set[int]]:
    """For each reason the statuses of the errors that the code raises with it."""
    kinds = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.TokenyardError) and kind is not errors.StartError
    }
    found: dict[str, set[int]] = defaultdict(set)
    for kind in kinds.values():
        found[kind.default_reason.name].add(kind.status)
    calls = (node for module in load(ROOT) for node in module.nodes if isinstance(node, ast.Call))
    for call in calls:
        if not isinstance(call.func, ast.Name) or call.func.id not in kinds:
            continue
        for word in call.keywords:
            if word.arg != "reason" or not isinstance(word.value, ast.Attribute):
                continue
            if word.value.attr in reasons.Reason.__members__:
                found[word.value.attr].add(kinds[call.func.id].status)
    return found


def _collectors(holder: object) -> list[tuple[Metric, MetricWrapperBase]]:
    found = [
        (next(iter(part.describe())), part)
        for part in vars(holder).values()
        if isinstance(part, MetricWrapperBase)
    ]
    return sorted(found, key=lambda pair: pair[0].name)


def _commands(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            if not child.hidden:
                yield from _commands((*path, name), child)


def _openapi() -> dict[str, Any]:
    async def describe() -> dict[str, Any]:
        async with open_fake_yard() as yard:
            return yard.gateway.document

    return asyncio.run(describe())


def main() -> None:
    """Write every page."""
    (ROOT / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (ROOT / FOLDER / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
