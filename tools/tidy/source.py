"""What every check reads: a parsed module with its room, its imports and the excuses written in it.

Knows nothing of the checks. A line may excuse one finding on itself with
`# tidy: allow <kind>: <why>`; an excuse without a why is a finding of its own.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "tokenyard"
_EXCUSE = re.compile(r"#\s*tidy:\s*allow\s+(?P<kind>[a-z-]+)(?P<why>:\s*\S.*)?")


@dataclass(frozen=True, order=True)
class Finding:
    """One breach of the house style."""

    path: str
    line: int
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.message}"


@dataclass(frozen=True)
class Module:
    """One parsed file. `name` is dotted (`tokenyard.chat.rules.resume`), `path` from the root."""

    name: str
    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.path)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @cached_property
    def place(self) -> tuple[str, ...]:
        """The name below the package: `("chat", "rules", "resume")`."""
        return tuple(self.name.split(".")[1:])

    def inside(self, *places: str) -> bool:
        """Whether the module is one of these dotted places below the package, or lies in one."""
        here = ".".join(self.place)
        return any(here == place or here.startswith(place + ".") for place in places)

    @property
    def is_rule(self) -> bool:
        return "rules" in self.place

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Local names and what they stand for: `{"dt": "datetime.datetime"}`."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    found[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return found

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and dotted name of everything imported, at the top or inside a function."""
        found: list[tuple[int, str]] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found.extend((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                found.append((node.lineno, base))
                found.extend((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        kept = parts[: len(parts) - (node.level - 1)]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def dotted(self, node: ast.expr) -> str | None:
        """What an expression like `dt.now` refers to (`datetime.datetime.now`), or None."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        parts.append(self.aliases.get(node.id, node.id))
        return ".".join(reversed(parts))

    def excused(self, finding: Finding) -> bool:
        """Whether the line at fault, or the comment above it, allows this kind with a reason."""
        for number in (finding.line, finding.line - 1):
            if not 1 <= number <= len(self.lines):
                continue
            line = self.lines[number - 1]
            if number != finding.line and not line.lstrip().startswith("#"):
                continue
            match = _EXCUSE.search(line)
            if match and match["kind"] == finding.kind and match["why"]:
                return True
        return False

    def find(self, line: int, kind: str, message: str) -> Finding:
        return Finding(self.path, line, kind, message)


def load(root: Path, folder: str = f"src/{PACKAGE}") -> list[Module]:
    """Every Python file under the folder, parsed when first looked into."""
    top = root / folder
    modules = []
    for path in sorted(top.rglob("*.py")):
        if "node_modules" in path.parts:
            continue
        relative = path.relative_to(root)
        dotted = path.relative_to(top.parent).with_suffix("").parts
        name = ".".join(dotted[:-1] if dotted[-1] == "__init__" else dotted)
        modules.append(Module(name, relative.as_posix(), path.read_text(encoding="utf-8")))
    return modules


def check_excuses(module: Module) -> Iterator[Finding]:
    """An excuse must say why."""
    for number, line in enumerate(module.lines, start=1):
        match = _EXCUSE.search(line)
        if match and not match["why"]:
            yield module.find(number, "excuse", "`tidy: allow` must say why, after a colon")
