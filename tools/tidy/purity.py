"""What keeps a module free of hidden state: rules only decide, and importing does nothing."""

import ast
import re
from collections.abc import Iterator

from tools.tidy.source import PACKAGE, Finding, Module

_PURE_LIBRARY = frozenset(
    {
        "abc", "array", "base64", "bisect", "collections", "copy", "dataclasses", "datetime",
        "difflib",
        "decimal", "enum",
        "fractions", "functools", "hashlib", "heapq", "hmac", "itertools", "json", "math",
        "operator", "re", "statistics", "string", "struct", "types", "typing", "unicodedata",
        "zlib",
        "__future__",
    }
)  # fmt: skip
_MUTABLE_CALLS = frozenset(
    {
        "list", "dict", "set", "bytearray", "collections.defaultdict", "collections.deque",
        "collections.Counter", "collections.OrderedDict", "asyncio.Lock", "asyncio.Queue",
        "asyncio.Event", "asyncio.Semaphore", "threading.Lock", "threading.local",
    }
)  # fmt: skip
_MUTATIONS = frozenset(
    {
        "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
        "remove", "setdefault", "update",
    }
)  # fmt: skip
_WAITS = ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith
_DISPLAYS = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
_CONSTANT = re.compile(r"^_{0,2}[A-Z][A-Z0-9_]*$")


def check_rules(module: Module) -> Iterator[Finding]:
    """A rule neither waits nor reads nor writes, and imports only what cannot either."""
    if not module.is_rule:
        return
    for line, name in module.imports:
        if not _pure_import(name):
            yield module.find(line, "impure-rule", f"imports {name}")
    for node in module.nodes:
        if isinstance(node, _WAITS):
            yield module.find(node.lineno, "impure-rule", "a rule does not wait")
        elif isinstance(node, ast.Call) and module.dotted(node.func) in {"open", "print", "input"}:
            yield module.find(node.lineno, "impure-rule", "a rule does no input or output")


def check_globals(module: Module) -> Iterator[Finding]:
    """Module level holds constants: no mutable state, `global` statement or unbounded cache."""
    constants: set[str] = set()
    for name, value, line in _assignments(module.tree):
        if not _is_mutable(module, value):
            continue
        if isinstance(value, _DISPLAYS) and (_CONSTANT.match(name) or name.startswith("__")):
            constants.add(name)
        else:
            yield module.find(line, "mutable-global", f"{name} is shared by everyone")
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield module.find(node.lineno, "mutable-global", "global " + ", ".join(node.names))
        elif isinstance(node, ast.expr | ast.stmt) and (changed := _changed_name(node, constants)):
            yield module.find(node.lineno, "mutable-global", f"{changed} is changed")
    yield from _check_caches(module)


def check_import_effects(module: Module) -> Iterator[Finding]:
    """Importing a module does nothing: no calls, loops or handlers at its top level."""
    if module.place[-1:] == ("__main__",) or module.inside("storage.sql.migrations"):
        # Alembic runs env.py as a script; that is its contract.
        return
    for node in module.tree.body:
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            yield module.find(node.lineno, "import-effect", "a call at module level")
        elif isinstance(node, ast.For | ast.While | ast.With):
            yield module.find(node.lineno, "import-effect", "a statement that works at import")


def _pure_import(name: str) -> bool:
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return parts[0] in _PURE_LIBRARY
    if parts[1:2] == ["vocabulary"]:
        return True
    # A rule may speak of rules and of plain records; layers keep the direction.
    return len(parts) == 1 or len(parts) == 2 or bool({"rules", "records"} & set(parts[2:]))


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr, int]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value, node.lineno
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value, node.lineno


def _is_mutable(module: Module, value: ast.expr) -> bool:
    if isinstance(value, _DISPLAYS):
        return True
    return isinstance(value, ast.Call) and module.dotted(value.func) in _MUTABLE_CALLS


def _changed_name(node: ast.AST, constants: set[str]) -> str | None:
    """The constant that this node changes in place, if any."""
    target: ast.expr | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        target = node.value
    elif isinstance(node, ast.AugAssign):
        target = node.target
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _MUTATIONS
    ):
        target = node.func.value
    return target.id if isinstance(target, ast.Name) and target.id in constants else None


def _check_caches(module: Module) -> Iterator[Finding]:
    for node in module.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            name = module.dotted(call.func if call else decorator)
            unbounded = name == "functools.cache" or (
                name == "functools.lru_cache" and call is not None and _says_none(call)
            )
            if unbounded:
                yield module.find(
                    node.lineno, "unbounded-cache", f"{node.name}: give lru_cache a maxsize"
                )


def _says_none(call: ast.Call) -> bool:
    sizes = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "maxsize")]
    return any(isinstance(size, ast.Constant) and size.value is None for size in sizes)
