"""The chat over this process's stores: where its logs are kept, and who else writes there."""

from tokenyard.assembly.ground import Ground, Part
from tokenyard.chat.log_ports import LogStore
from tokenyard.chat.office import ChatOffice
from tokenyard.chat.stream_office import StreamOffice, make_stream_office
from tokenyard.ledger.ledger import Ledger
from tokenyard.upstreams.pool import UpstreamPool


async def open_streams(
    ground: Ground, chat: ChatOffice, ledger: Ledger, pool: UpstreamPool
) -> StreamOffice:
    """Build it, and see to what other processes leave unfinished, until the ground is closed."""
    streams = make_stream_office(
        ground.settings.chat,
        store=ground.store.chat,
        threads=ground.store.threads,
        windows=chat.windows,
        productions=ground.store.streams,
        logs=await _open_logs(ground),
        pool=pool,
        ledger=ledger,
        tasks=ground.tasks,
        clock=ground.clock,
        randomness=ground.randomness,
        metrics=ground.metrics,
        log=ground.log,
    )
    if ground.part is Part.WHOLE and not ground.shares_store:
        await streams.takeover.adopt_all()
    else:
        keeping = ground.tasks.spawn("chat.takeover", streams.takeover.keep())
        ground.stack.push_async_callback(ground.tasks.end, keeping)
    return streams


async def _open_logs(ground: Ground) -> LogStore:
    storage = ground.settings.storage
    if not storage.redis_url:
        return ground.store.streams
    # Loads the client, which is installed for the scaled form only.
    from tokenyard.storage.redis.connection import open_redis  # noqa: PLC0415
    from tokenyard.storage.redis.streams import RedisLogStore  # noqa: PLC0415

    return RedisLogStore(
        await ground.stack.enter_async_context(open_redis(storage)),
        ground.store.streams,
        clock=ground.clock,
        kept_seconds=ground.settings.chat.streams_kept_seconds,
    )
