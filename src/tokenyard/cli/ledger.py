"""`tokenyard ledger`: prove the books, beside a running server or without one."""

import json
import sys
from pathlib import Path

import msgspec

from tokenyard.assembly import open_books
from tokenyard.gateway.server import run
from tokenyard.ledger.records import Fault
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.settings import Settings
from tokenyard.telemetry.logs import open_log


def check_books(settings: Settings, home: Path, *, as_json: bool) -> tuple[str, bool]:
    """What to print, and whether the books are right."""

    async def main() -> list[Fault]:
        log = open_log(RealClock(), "warning", sys.stderr)
        async with open_books(settings, home, log) as ledger:
            return await ledger.statements.check()

    faults = run(main())
    if as_json:
        return json.dumps(msgspec.to_builtins(faults), indent=2), not faults
    if not faults:
        return "The books are right: every balance is the sum of its entries.", True
    lines = [
        f"{fault.what}: {fault.subject}: expected {fault.expected}, found {fault.found}"
        for fault in faults
    ]
    return "\n".join(lines), False
