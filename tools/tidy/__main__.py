"""`python -m tools.tidy [root]`: every finding, one a line; exit status 1 when there is one."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tools.tidy import hazards, purity, shape, source, whole
from tools.tidy.source import Finding, Module

CHECKS = (
    source.check_excuses,
    shape.check_lengths,
    shape.check_names,
    shape.check_docstrings,
    shape.check_leftovers,
    hazards.check_bans,
    hazards.check_cancellation,
    hazards.check_broad_handlers,
    purity.check_rules,
    purity.check_globals,
    purity.check_import_effects,
)
# What holds for tests, tools and benchmarks too; their rooms and globals are their own business.
OUTSIDE_CHECKS = (source.check_excuses, shape.check_lengths, shape.check_leftovers)
OUTSIDE_FOLDERS = ("tests", "tools", "benchmarks")


def check_module(module: Module) -> list[Finding]:
    """Everything one module of the package shows by itself."""
    return [finding for check in CHECKS for finding in check(module) if not module.excused(finding)]


def check_tree(root: Path) -> list[Finding]:
    """Everything, sorted by place."""
    modules = source.load(root)
    page = root / whole.ROOMS_PAGE
    findings = [finding for module in modules for finding in check_module(module)]
    findings += whole.check_dead(modules, whole.load_users(root))
    findings += whole.check_rooms_page(modules, page.read_text() if page.exists() else "")
    findings += _check_outside(root)
    return sorted(findings)


def _check_outside(root: Path) -> Iterator[Finding]:
    for folder in OUTSIDE_FOLDERS:
        if not (root / folder).is_dir():
            continue
        for module in source.load(root, folder):
            for check in OUTSIDE_CHECKS:
                yield from (f for f in check(module) if not module.excused(f))


def main() -> int:
    """Print and count."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    findings = check_tree(root)
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    count = len(findings)
    sys.stdout.write(f"tidy: {count} finding{'' if count == 1 else 's'}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
