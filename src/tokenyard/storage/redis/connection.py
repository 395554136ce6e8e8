"""The way to a Redis or Valkey server: its connections, their patience, and what a failure means.

Decides how long a command may take, and that none is sent twice by itself: a script that counts
must not count twice. Who can tell a repeated command from a new one repeats it at its own place.
Knows no keys and no commands.
"""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, OutOfMemoryError, RedisError

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.vocabulary.errors import InternalFailure, StartError, TokenyardError, Unavailable
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")
_RETRY_SECONDS = 1.0
# A connection that lay idle for this long is tried with a PING first: it may be a dead one.
_DOUBT_SECONDS = 5.0


class RedisConnection:
    """One server and a bounded set of connections to it; commands of many tasks share them."""

    def __init__(self, client: Redis, *, blocking_seconds: float) -> None:
        self.client = client
        # How long a command that waits on purpose (BLOCK) may wait, so that its patience suffices.
        self.blocking_seconds = blocking_seconds

    async def ask(self, command: Awaitable[T]) -> T:
        """The answer to one command or pipeline; raises Unavailable or InternalFailure of ours.

        After Unavailable it is not known whether the command was carried out.
        """
        try:
            return await command
        except (RedisError, OSError) as error:
            raise explain(error) from error

    async def is_healthy(self) -> bool:
        """Whether it answers now."""
        try:
            return bool(await cast(Awaitable[Any], self.client.ping()))
        except (RedisError, OSError):
            return False


@asynccontextmanager
async def open_redis(settings: StorageSettings) -> AsyncIterator[RedisConnection]:
    """The server at `storage.redis_url`; raises StartError when nothing answers there.

    Connections are made when they are needed, and made again after a loss.
    """
    try:
        parse_url(settings.redis_url)
    except ValueError:
        raise StartError("The address of Redis (storage.redis_url) cannot be read.") from None
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=settings.redis_connections_max,
        timeout=settings.redis_answer_seconds,
        socket_connect_timeout=settings.redis_connect_seconds,
        socket_timeout=settings.redis_answer_seconds,
        socket_keepalive=True,
        health_check_interval=_DOUBT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        # Bytes in and out: what we keep is encoded already.
        decode_responses=False,
    )
    client: Redis = Redis.from_pool(pool)
    connection = RedisConnection(client, blocking_seconds=settings.redis_answer_seconds / 2)
    try:
        if not await connection.is_healthy():
            raise StartError(
                "Redis does not answer at the address that storage.redis_url names. Start it, or "
                "leave the setting empty to run without it."
            )
        yield connection
    finally:
        await client.aclose()


def explain(error: Exception) -> TokenyardError:
    """Ours for theirs: away, slow, loading or full is Unavailable; a refusal is our own fault."""
    if isinstance(error, OutOfMemoryError):
        return _unavailable("The shared store is full.")
    if isinstance(error, BusyLoadingError):
        return _unavailable("The shared store is starting.")
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return _unavailable("The shared store cannot be reached.")
    return InternalFailure("The shared store refused what it was given.")


def _unavailable(message: str) -> Unavailable:
    return Unavailable(
        message, reason=Reason.STORAGE_UNAVAILABLE, retry_after_seconds=_RETRY_SECONDS
    )
