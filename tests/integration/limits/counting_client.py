"""One of several gateways' share of the load: `python counting_client.py URL SECONDS CLIENTS`.

Prints when it began, and when each request that was let through had its answer.
"""

import asyncio
import json
import sys
import time

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.redis.connection import open_redis
from tokenyard.storage.redis.limits import RedisLimits
from tokenyard.vocabulary.limits import EACH, Demand, Level, Limit, Measure, Refusal, Window

# The burst outlasts a moment in which a busy machine lets none of the processes run.
PER_MINUTE, BURST = 12_000, 600
LIMITS = (
    Limit(Level.ORGANISATION, EACH, Measure.REQUESTS, Window.MINUTE, PER_MINUTE, BURST),
    Limit(Level.PROJECT, EACH, Measure.INPUT_TOKENS, Window.MINUTE, 10**9),
    Limit(Level.KEY, EACH, Measure.REQUESTS, Window.DAY, 10**9),
)


async def main(url: str, seconds: float, clients: int) -> None:
    """Ask as fast as the answers come."""
    admitted: list[float] = []
    demands = [Demand(limit, f"{limit.name}:shared", 1) for limit in LIMITS]
    settings = StorageSettings(redis_url=url, redis_connections_max=clients)
    async with TaskSupervisor(print) as tasks, open_redis(settings) as connection:
        store = RedisLimits(connection, tasks)
        ends, began = time.monotonic() + seconds, time.time()

        async def ask(name: str) -> None:
            while time.monotonic() < ends:
                now = time.time()
                told = await store.take(demands, place=name, now=now, until=now + 60)
                if isinstance(told, Refusal):
                    await asyncio.sleep(min(told.wait_seconds or 0.0, 0.002))
                else:
                    admitted.append(time.time())

        await asyncio.gather(*(ask(f"c{number}") for number in range(clients)))
    told = {"began": began, "admitted": admitted}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
