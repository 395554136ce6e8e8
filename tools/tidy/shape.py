"""The shape of a file: lengths, names, docstrings and leftovers; rooms do not matter here."""

import ast
import re
from collections.abc import Iterator

from tools.tidy.source import Finding, Module

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
CLASS_LINES_MAX = 300
BANNED_NAMES = frozenset(
    {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc", "stuff"}
)
# Spelled in two parts so that this file does not find itself.
_LEFTOVER_WORDS = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
_LEFTOVER = re.compile(rf"\b({'|'.join(_LEFTOVER_WORDS)})\b")
_SENTENCE_END = re.compile(r"[.!?]\s+[A-Z]")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_lengths(module: Module) -> Iterator[Finding]:
    """Functions of 70 lines (docstring not counted), classes of 300, modules of 500."""
    if len(module.lines) > MODULE_LINES_MAX:
        yield module.find(
            1, "module-length", f"{len(module.lines)} lines, at most {MODULE_LINES_MAX}"
        )
    for node in module.nodes:
        if isinstance(node, _Function):
            length = _lines(node) - _docstring_lines(node)
            if length > FUNCTION_LINES_MAX:
                yield module.find(
                    node.lineno,
                    "function-length",
                    f"{node.name} has {length} lines, at most {FUNCTION_LINES_MAX}",
                )
        elif isinstance(node, ast.ClassDef) and _lines(node) > CLASS_LINES_MAX:
            yield module.find(
                node.lineno,
                "class-length",
                f"{node.name} has {_lines(node)} lines, at most {CLASS_LINES_MAX}",
            )


def check_names(module: Module) -> Iterator[Finding]:
    """No module or package whose name says nothing."""
    for part in module.place:
        if part.strip("_") in BANNED_NAMES:
            yield module.find(1, "banned-name", f"{part!r} names no subject")


def check_docstrings(module: Module) -> Iterator[Finding]:
    """Each module says what it decides; a package says it in one sentence."""
    text = ast.get_docstring(module.tree)
    if not text:
        yield module.find(1, "module-docstring", "say what this module decides")
        return
    if not module.is_package:
        return
    if not text.endswith(".") or "\n\n" in text or _SENTENCE_END.search(text):
        yield module.find(1, "package-docstring", "a package says in one sentence what it is")


def check_leftovers(module: Module) -> Iterator[Finding]:
    """Nothing that says the work is not done."""
    for number, line in enumerate(module.lines, start=1):
        match = _LEFTOVER.search(line)
        if match:
            yield module.find(number, "leftover", match[0])
    for node in module.nodes:
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield module.find(node.lineno, "leftover", "NotImplementedError")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "breakpoint":
                yield module.find(node.lineno, "leftover", "breakpoint()")
        elif isinstance(node, _Function) and _is_hollow(node, module):
            yield module.find(node.lineno, "leftover", f"{node.name} does nothing but `pass`")


def _lines(node: _Function | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(node: _Function) -> int:
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def _is_hollow(node: _Function, module: Module) -> bool:
    """A body of only `pass`, with no docstring or comment to say that this is meant."""
    if len(node.body) != 1 or not isinstance(node.body[0], ast.Pass):
        return False
    written = module.lines[node.lineno - 1 : node.end_lineno]
    return not any("#" in line for line in written)
