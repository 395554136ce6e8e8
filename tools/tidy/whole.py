"""What only the whole tree shows: modules that nobody uses, packages that no page names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tools.tidy.source import PACKAGE, Finding, Module, load

ROOMS_PAGE = "docs/rooms.md"
ENTRY_POINTS = frozenset({f"{PACKAGE}.cli", f"{PACKAGE}.__main__"})
# Alembic finds these by their folder.
_FOUND_BY_FOLDER = ("storage.sql.migrations",)
# Shipped fakes and simulators count as used where they do their work; a unit test alone is no use.
USER_FOLDERS = (
    "benchmarks",
    "tools",
    "tests/acceptance",
    "tests/contract",
    "tests/integration",
    "tests/simulation",
    "tests/support",
)
# Fakes are product code, and their work may be to carry unit tests alone.
FAKES = frozenset({"fake", "memory", "scripted", "simulated"})
_MODULE_TEXT = re.compile(rf"^{PACKAGE}(\.\w+)+(?=:|$)")


def check_dead(modules: list[Module], users: list[Module]) -> Iterator[Finding]:
    """A module lives when something imports it or names it as text (`-m`), or it is an entry."""
    names = {module.name for module in modules}
    used = set(ENTRY_POINTS)
    for module in [*modules, *users]:
        used.update(name for name in _mentions(module) if name in names and name != module.name)
    for module in modules:
        if module.is_package or module.name in used or module.inside(*_FOUND_BY_FOLDER):
            continue
        if module.place[-1] == "__main__" or module.place[-1] in FAKES:
            continue
        yield module.find(1, "dead-module", f"nothing uses {module.name}")


def check_rooms_page(modules: list[Module], page: str) -> Iterator[Finding]:
    """Each package stands on docs/rooms.md, at the start of a line, with a sentence."""
    rows = _room_rows(page)
    for module in modules:
        if not module.is_package or not module.place:
            continue
        folder = "/".join(module.place)
        if folder not in rows:
            yield module.find(1, "unlisted-room", f"`{folder}/` has no line in {ROOMS_PAGE}")
        elif not re.search(r"\w+ \w+.*\.", rows[folder]):
            yield module.find(1, "unlisted-room", f"`{folder}/` has no sentence in {ROOMS_PAGE}")
    known = {"/".join(module.place) for module in modules if module.is_package}
    for folder in rows.keys() - known:
        yield Finding(ROOMS_PAGE, 1, "unlisted-room", f"`{folder}/` is named, but does not exist")


def load_users(root: Path) -> list[Module]:
    """The files outside the package that count as its users."""
    return [
        module
        for folder in USER_FOLDERS
        if (root / folder).is_dir()
        for module in load(root, folder)
    ]


def _mentions(module: Module) -> Iterator[str]:
    for _, name in module.imports:
        yield name
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = _MODULE_TEXT.match(node.value)
            if match:
                yield match[0]


def _room_rows(page: str) -> dict[str, str]:
    """Rows like "| `chat/rules/` | One sentence. |" or "- `chat/`: One sentence."."""
    found = re.findall(r"^(?:[-*]|\|)\s*`([a-z_/]+?)/`(.*)$", page, flags=re.MULTILINE)
    return dict(found)
