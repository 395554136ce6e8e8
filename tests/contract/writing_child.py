"""A process that writes to the store given on its command line until it is killed.

It names on standard output each thing that the store acknowledged, one a line. Not a test.
"""

import asyncio
import itertools
import os
import sys

from contract.samples import AT, conversation, finished, item, response, usage_row
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.sql.store import SqlStore, open_sql_store
from tokenyard.telemetry.logs import Log

TALKERS = 8


def tell(line: str) -> None:
    """One system call, so that no line is told in part."""
    os.write(1, f"{line}\n".encode())


async def talk(store: SqlStore, talker: int) -> None:
    held = conversation(talker)
    await store.chat.add_conversation(held, [])
    for turn in itertools.count(1000 * talker):
        opened = response(turn, conversation=held.id)
        await store.chat.open_response(opened, [item(f"ask_{opened.id}")], AT)
        tell(f"opened {opened.id}")
        await store.chat.finish_response(finished(opened), usage_row(opened.id))
        tell(f"finished {opened.id}")
        await store.ledger.add_usage(usage_row(f"row_{turn}"))
        tell(f"billed row_{turn}")


async def main() -> None:
    clock = RealClock()
    log = Log(sys.stderr, clock)
    async with (
        TaskSupervisor(log.task_failed) as supervisor,
        open_sql_store(sys.argv[1], supervisor=supervisor, log=log, clock=clock) as store,
    ):
        tell("ready")
        if len(sys.argv) == 2:
            await asyncio.gather(*(talk(store, talker) for talker in range(TALKERS)))


if __name__ == "__main__":
    asyncio.run(main())
