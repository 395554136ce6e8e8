"""A producer in a process of its own, to be frozen: `… RESPONSE DATABASE [VALKEY]`.

It beats and writes an event every few milliseconds, prints a line once the first ones are kept, and
`fenced` when somebody else has the log.
"""

import asyncio
import sys
from contextlib import AsyncExitStack

from tokenyard.chat.log_ports import LogStore
from tokenyard.chat.log_writer import Fenced, LogWriter
from tokenyard.chat.rules.stream_log import Ring
from tokenyard.chat.streams import LiveStream
from tokenyard.protocol.response_events import OutputTextDelta
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.streams import RedisLogStore
from tokenyard.storage.sql.store import open_sql_store
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.ids import ProducerId, ResponseId

PRODUCER = ProducerId("prod_a")
STEP_SECONDS = 0.02
_ANNOUNCED_AFTER = 5


async def produce(response: ResponseId, database: str, valkey: str | None) -> None:
    """Until it is fenced."""
    clock = RealClock()
    log = Log(sys.stderr, clock, level="error")
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(TaskSupervisor(log.task_failed))
        store = await stack.enter_async_context(
            open_sql_store(database, supervisor=tasks, log=log, clock=clock)
        )
        logs: LogStore = store.streams
        if valkey is not None:
            settings = StorageSettings(redis_url=valkey)
            connection = await stack.enter_async_context(open_redis(settings))
            logs = RedisLogStore(connection, store.streams, clock=clock, kept_seconds=60)
        writer = LogWriter(
            logs, tasks=tasks, clock=clock, metrics=GatewayMetrics(), log=log, events_max=100_000
        )
        pen = writer.pen(LiveStream(response, logs, Ring(100), 1, lambda one: None), epoch=1)
        number = 0
        try:
            while True:
                await store.streams.beat(PRODUCER)
                pen.write(OutputTextDelta(item_id="msg", delta=f"{number} "), (number,))
                await pen.flush()
                number += 1
                if number == _ANNOUNCED_AFTER:
                    print("writing", flush=True)
                await asyncio.sleep(STEP_SECONDS)
        except Fenced:
            print("fenced", flush=True)


if __name__ == "__main__":
    valkey_url = sys.argv[3] if len(sys.argv) > 3 else None
    asyncio.run(produce(ResponseId(sys.argv[1]), sys.argv[2], valkey_url))
