"""The door: which limits hold, where they are counted, and how busy the model servers are."""

from tokenyard.assembly.ground import Ground
from tokenyard.gateway.admission import Admission
from tokenyard.gateway.limits import GuardedLimits, LimitBook, MemoryLimits
from tokenyard.gateway.ports import LimitStore
from tokenyard.upstreams.pool import UpstreamPool


async def open_door(ground: Ground, pool: UpstreamPool) -> Admission:
    """Admission over the shared counts if there is a Redis, else over counts of this process."""
    settings = ground.settings.limits
    book = LimitBook(settings, ground.store.limits, clock=ground.clock, log=ground.log)
    await book.read()
    keeping = ground.tasks.spawn("limits.book", book.keep())
    ground.stack.push_async_callback(ground.tasks.end, keeping)
    return Admission(
        settings,
        book=book,
        counts=await _open_counts(ground),
        clock=ground.clock,
        randomness=ground.randomness,
        metrics=ground.metrics,
        loads=pool.loads,
    )


async def _open_counts(ground: Ground) -> LimitStore:
    if not ground.settings.storage.redis_url:
        return MemoryLimits()
    # Loads the client, which costs a single process 8 MB that it does not need.
    from tokenyard.storage.redis.connection import open_redis  # noqa: PLC0415
    from tokenyard.storage.redis.limits import RedisLimits  # noqa: PLC0415

    connection = await ground.stack.enter_async_context(open_redis(ground.settings.storage))
    return GuardedLimits(
        RedisLimits(connection, ground.tasks),
        ground.settings.limits,
        clock=ground.clock,
        metrics=ground.metrics,
        log=ground.log,
    )
