"""Anyone can build what is committed: exact pins, no registry address, no machine path."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {
    ".git", ".venv", ".make", "node_modules", "_web", "__pycache__", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".hypothesis", ".import_linter_cache", "shared", "dist",
}  # fmt: skip
BYTES_MAX = 1_000_000
# Spelled in parts, so that this file does not find itself.
BANNED = {
    "a registry address": re.compile(
        r"https?://[^\s\"']*(/simp"
        + r"le/|files\.pythonhos"
        + r"ted|registry\.npm"
        + r"js|\.whl\b)"
    ),
    "a setting of a registry": re.compile(
        r"^\s*(--)?(extra-)?index-" + r"url\b|^\s*regis" + r"try\s*=\s*\W?http|\"resol" + r"ved\":",
        re.MULTILINE,
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(work|home/\w+|Users/\w+|opt/pypi)" + r"/\w"),
}


def files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        if LEFT_OUT.isdisjoint(path.relative_to(ROOT).parts) and path.is_file():
            yield path


@pytest.mark.parametrize("what", BANNED)
def test_no_file_holds(what: str) -> None:
    found = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        match = BANNED[what].search(text)
        if match:
            found.append(f"{path.relative_to(ROOT)}: {match[0].strip()}")
    assert not found


def test_no_file_is_large() -> None:
    large = [path.relative_to(ROOT) for path in files() if path.stat().st_size > BYTES_MAX]
    assert not large


def requirements(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(
    "name", ["base", "engine", "llamacpp", "dev", "node", "peers", "plain", "engine-peers"]
)
def test_every_requirement_is_exact(name: str) -> None:
    # A marker may follow: some packages exist for one platform only.
    pin = re.compile(r"^[a-z0-9][a-z0-9.-]*==[0-9][\w.+!]*( ; [\w \"'=<>.]+)?$")
    assert not [line for line in requirements(name) if not pin.match(line)]


def test_no_package_is_pinned_twice() -> None:
    names = [
        line.split("==")[0]
        for part in ("base", "engine", "llamacpp", "dev")
        for line in requirements(part)
    ]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "name", ["base", "engine", "llamacpp", "dev", "peers", "plain", "engine-peers"]
)
def test_what_we_ask_for_is_pinned(name: str) -> None:
    asked = [
        re.split(r"[\[=<>;]", line)[0].strip()
        for line in (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    ]
    pinned = {line.split("==")[0] for line in requirements(name)}
    assert asked
    assert not set(asked) - pinned


@pytest.mark.parametrize("folder", ["web", "tests/acceptance/node"])
def test_node_packages_are_exact(folder: str) -> None:
    package = json.loads((ROOT / folder / "package.json").read_text())
    asked = {**package.get("dependencies", {}), **package.get("devDependencies", {})}
    assert asked
    assert not [name for name, version in asked.items() if not re.match(r"^\d", version)]
    locked = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    other = [name for name in asked if locked[f"node_modules/{name}"]["version"] != asked[name]]
    assert not other, "the lock is of another package.json"
    without_hash = [name for name, entry in locked.items() if name and "integrity" not in entry]
    assert not without_hash
