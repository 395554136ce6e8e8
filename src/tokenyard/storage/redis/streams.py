"""Keeps `chat.log_ports.LogStore` in Redis or Valkey Streams: one entry for each chunk.

The id of an entry is `<epoch>-<number that follows on its last event>`, so that order, fence and
repetition are one comparison: a script appends only where the log ends exactly where the chunk
begins, under the newest epoch. A takeover puts an empty entry `<epoch>-0` there, after which
nothing of an older epoch fits. The end of a log is in the database first, with the bill; who finds
a log here without its end reads it there.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import cast

from redis.exceptions import NoScriptError

from tokenyard.chat.log_ports import Behind, LogStore, Outcome
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.runtime.clock import Clock
from tokenyard.storage.chunks import pack, unpack
from tokenyard.storage.redis.connection import RedisConnection
from tokenyard.vocabulary.errors import InternalFailure
from tokenyard.vocabulary.ids import ResponseId

# A log of an answer that never ended is forgotten after this long.
_LOST_SECONDS = 86_400
# So long a log that is to be followed as well waits to be among them.
_BLOCK_SECONDS = 0.05
_PREFIX = "tokenyard:log:"
# A log that is silent for this long may have lost its end.
_DOUBT_SECONDS = 1.0

# KEYS: the stream. ARGV: epoch, first, following, packed chunk, whether it is final, seconds to
# keep the log. Answers -1 when it is kept, -2 when it is fenced, and otherwise where the log ends.
_APPEND = """
local epoch, following = 0, 0
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 16)) do
  local one, next = string.match(entry[1], '(%d+)-(%d+)')
  epoch, following = math.max(epoch, tonumber(one)), tonumber(next)
  if following > 0 then break end
end
if epoch > tonumber(ARGV[1]) then return -2 end
if following >= tonumber(ARGV[3]) then return -1 end
if following ~= tonumber(ARGV[2]) then return following end
redis.call('XADD', KEYS[1], ARGV[1] .. '-' .. ARGV[3], 'f', ARGV[2], 'b', ARGV[4], 'e', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return -1
"""
# KEYS: the stream. ARGV: epoch, seconds to keep the log.
_FENCE = """
local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if top[1] and tonumber(string.match(top[1][1], '(%d+)-')) >= tonumber(ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 'x', '')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
_KEPT, _FENCED = -1, -2
_READ_ENTRIES = 500
# What the client says of its answers leaves open what they are made of.
_Entries = Sequence[tuple[bytes, Mapping[bytes, bytes]]]
_News = Sequence[tuple[bytes, _Entries]] | None


class RedisLogStore:
    """Logs in one server. endings: where the last chunks of logs are in any case."""

    apart = True
    poll_seconds = 0.0

    def __init__(
        self,
        connection: RedisConnection,
        endings: LogStore,
        *,
        clock: Clock,
        kept_seconds: float,
    ) -> None:
        self._connection = connection
        self._client = connection.client
        self._endings = endings
        self._clock = clock
        self._kept_seconds = int(kept_seconds) + 1
        self._append_script: str | None = None
        # The newest entry that was seen of each followed log, and when.
        self._tops: dict[ResponseId, tuple[str, float]] = {}
        # How far that entry goes: a reader that came since may be further back.
        self._reached: dict[ResponseId, int] = {}

    async def append(self, chunks: Sequence[Chunk]) -> Sequence[Outcome | Behind]:
        """Add chunks at the ends of their logs: one round trip for all of them."""
        try:
            told = await self._connection.ask(self._send(chunks))
        except InternalFailure as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
            # The server has been started anew since.
            self._append_script = None
            told = await self._connection.ask(self._send(chunks))
        return [_read_outcome(one) for one in told]

    async def _send(self, chunks: Sequence[Chunk]) -> Sequence[int]:
        if self._append_script is None:
            self._append_script = await self._client.script_load(_APPEND)
        pipeline = self._client.pipeline(transaction=False)
        for chunk in chunks:
            pipeline.evalsha(
                self._append_script,
                1,
                _key(chunk.response),
                chunk.epoch,
                chunk.first,
                chunk.following,
                pack(chunk),
                int(chunk.final),
                self._kept_seconds if chunk.final else _LOST_SECONDS,
            )
        return await pipeline.execute()

    async def fence(self, response: ResponseId, epoch: int) -> None:
        """From now on nothing of an earlier epoch can be appended."""
        await self._connection.ask(
            self._client.eval(_FENCE, 1, _key(response), epoch, _LOST_SECONDS)
        )

    async def read(self, response: ResponseId, start: int, limit: int) -> Sequence[Chunk]:
        """Chunks in order, from the one that holds event `start` on."""
        found: list[Chunk] = []
        after = "-"
        while len(found) < limit:
            asked = self._client.xrange(_key(response), min=after, count=_READ_ENTRIES)
            entries = await self._connection.ask(cast(Awaitable[_Entries], asked))
            found += [one for one in _read(response, entries) if one.following > start]
            if len(entries) < _READ_ENTRIES:
                break
            after = f"({entries[-1][0].decode()}"
        if len(found) < limit and not (found and found[-1].final):
            found += await self._find_ending(response, found[-1].following if found else start)
        return found[:limit]

    async def wait(self, cursors: Mapping[ResponseId, int]) -> Mapping[ResponseId, Sequence[Chunk]]:
        """What is new in any of the logs; waits a moment for it, on one connection for all."""
        now = self._clock.monotonic()
        known = {
            one
            for one, following in cursors.items()
            if one in self._tops and self._reached.get(one, 0) <= following
        }
        self._tops = {one: self._tops[one] if one in known else ("0-0", now) for one in cursors}
        self._reached = {one: self._reached.get(one, 0) for one in known}
        asked = self._client.xread(
            {_key(one): top for one, (top, _) in self._tops.items()},
            count=_READ_ENTRIES,
            block=int(_BLOCK_SECONDS * 1000),
        )
        told = await self._connection.ask(cast(Awaitable[_News], asked))
        found: dict[ResponseId, Sequence[Chunk]] = {}
        now = self._clock.monotonic()
        for key, entries in told or ():
            response = ResponseId(key.decode().removeprefix(_PREFIX))
            self._tops[response] = (entries[-1][0].decode(), now)
            chunks = _read(response, entries)
            reached = self._reached.get(response, 0)
            self._reached[response] = chunks[-1].following if chunks else reached
            found[response] = [one for one in chunks if one.following > cursors[response]]
        for response, (top, heard_at) in self._tops.items():
            if response not in found and now - heard_at >= _DOUBT_SECONDS:
                self._tops[response] = (top, now)
                found[response] = await self._find_ending(response, cursors[response])
        return found

    async def _find_ending(self, response: ResponseId, following: int) -> Sequence[Chunk]:
        """The end of a log that did not get here, once it is true."""
        return await self._endings.read(response, following, 1)

    async def forget(self, responses: Sequence[ResponseId]) -> None:
        """Remove these logs."""
        await self._connection.ask(self._client.delete(*map(_key, responses)))
        await self._endings.forget(responses)

    async def sweep(self, before: float) -> None:
        """Logs here have an end of their own; what is left are their last chunks elsewhere."""
        await self._endings.sweep(before)


def _key(response: ResponseId) -> str:
    return f"{_PREFIX}{response}"


def _read_outcome(told: int) -> Outcome | Behind:
    if told == _KEPT:
        return Outcome.KEPT
    return Outcome.FENCED if told == _FENCED else Behind(told)


def _read(response: ResponseId, entries: _Entries) -> list[Chunk]:
    """The chunks of entries; a fence holds none."""
    return [
        unpack(
            response,
            int(name.split(b"-")[0]),
            int(fields[b"f"]),
            fields[b"e"] == b"1",
            fields[b"b"],
        )
        for name, fields in entries
        if b"b" in fields
    ]
