"""Counts of limits in Redis or Valkey: one call for each decision, over all levels at once.

The script does the arithmetic of `gateway.rules.limits` by the server's own clock, so that clocks
of replicas do not matter; one contract suite holds for both. All demands of a request are met or
none. A reservation of a place that nobody gives back ends by itself.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, cast

from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.redis.connection import RedisConnection
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.limits import Demand, Grant, Refusal, Window

_PREFIX = "ty:limit:"
# Corrections on their way; further ones are dropped, and their buckets recover with time.
_SETTLING_MAX = 10_000

# ARGV: now ("" for the server's), place, until after now, then for each key: window, amount of the
# limit, capacity, amount asked for. Answers: {1, remaining, reset, …} or {0, place, wait, left}.
_TAKE = """
local now = tonumber(ARGV[1])
if not now then local t = redis.call('TIME'); now = t[1] + t[2] / 1000000 end
local place, lasts = ARGV[2], tonumber(ARGV[3])
local answer, writes = {1}, {}
for i, key in ipairs(KEYS) do
  local a = 4 * i
  local window, amount = ARGV[a], tonumber(ARGV[a + 1])
  local capacity, asked = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  if window == 'minute' then
    local interval = 60 / amount
    local before = math.max(tonumber(redis.call('GET', key) or '0'), now)
    local after = before + asked * interval
    local left = math.max(math.floor((capacity * interval - (before - now)) / interval + 1e-6), 0)
    if asked > capacity then return {0, i - 1, 'never', tostring(left)} end
    if asked > 0 and after - now > capacity * interval + 5e-7 then
      return {0, i - 1, string.format('%.17g', after - now - capacity * interval), tostring(left)}
    end
    writes[#writes + 1] = {'SET', key, string.format('%.17g', after),
      'PX', math.max(math.ceil((after - now) * 1000), 1)}
    answer[#answer + 1] = tostring(math.max(left - asked, 0))
    answer[#answer + 1] = string.format('%.17g', after - now)
  elseif window == 'day' then
    local today = math.floor(now / 86400)
    local rest = (today + 1) * 86400 - now
    local used = tonumber(redis.call('GET', key .. ':' .. today) or '0')
    local left = math.max(amount - used, 0)
    if asked > amount then return {0, i - 1, 'never', tostring(left)} end
    if asked > 0 and asked > left then
      return {0, i - 1, string.format('%.17g', rest), tostring(left)}
    end
    writes[#writes + 1] = {'INCRBY', key .. ':' .. today, asked}
    writes[#writes + 1] = {'EXPIRE', key .. ':' .. today, 172800}
    answer[#answer + 1] = tostring(left - asked)
    answer[#answer + 1] = string.format('%.17g', rest)
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local held = redis.call('ZCARD', key)
    if held >= amount then return {0, i - 1, '1', '0'} end
    writes[#writes + 1] = {'ZADD', key, string.format('%.17g', now + lasts), place}
    writes[#writes + 1] = {'EXPIRE', key, math.ceil(lasts) + 1}
    answer[#answer + 1] = tostring(amount - held - 1)
    answer[#answer + 1] = '0'
  end
end
for _, write in ipairs(writes) do redis.call(unpack(write)) end
return answer
"""

_SETTLE = """
local now = tonumber(ARGV[1])
if not now then local t = redis.call('TIME'); now = t[1] + t[2] / 1000000 end
local place = ARGV[2]
for i, key in ipairs(KEYS) do
  local a = 3 * i
  local window, amount, change = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  if window == 'minute' then
    local after = math.max(tonumber(redis.call('GET', key) or '0'), now) + change * 60 / amount
    if after > now then
      redis.call('SET', key, string.format('%.17g', after),
        'PX', math.max(math.ceil((after - now) * 1000), 1))
    else
      redis.call('DEL', key)
    end
  elseif window == 'day' then
    local dated = key .. ':' .. math.floor(now / 86400)
    local used = tonumber(redis.call('GET', dated) or '-1')
    if used >= 0 then
      redis.call('SET', dated, string.format('%.0f', math.max(used + change, 0)), 'KEEPTTL')
    end
  else
    redis.call('ZREM', key, place)
  end
end
return 1
"""


class RedisLimits:
    """Keeps `gateway.ports.LimitStore`; `own_time` counts by the caller's clock, for tests."""

    def __init__(
        self, connection: RedisConnection, tasks: TaskSupervisor, *, own_time: bool = False
    ) -> None:
        self._connection = connection
        self._tasks = tasks
        self._own_time = own_time
        self._settling = 0
        self._take = connection.client.register_script(_TAKE)
        self._settle = connection.client.register_script(_SETTLE)

    async def take(
        self, demands: Sequence[Demand], *, place: str, now: float, until: float
    ) -> list[Grant] | Refusal:
        """Meet all demands, or none of them; raises Unavailable while the server is away."""
        if not demands:
            return []
        words: list[Any] = [self._now(now), place, repr(until - now)]
        for demand in demands:
            limit = demand.limit
            words += [limit.window.value, limit.amount, limit.capacity, demand.amount]
        keys = [_PREFIX + demand.bucket for demand in demands]
        told = await self._connection.ask(
            cast(Awaitable[list[Any]], self._take(keys=keys, args=words))
        )
        if not told[0]:
            wait = None if told[2] == b"never" else float(told[2])
            return Refusal(int(told[1]), wait, _whole(told[3]))
        return [
            Grant(_whole(remaining), float(reset))
            for remaining, reset in zip(told[1::2], told[2::2], strict=True)
        ]

    def post_settle(self, changes: Sequence[Demand], *, place: str, now: float) -> None:
        """Begin to correct what was taken; a correction that is lost mends itself with time."""
        wanted = [one for one in changes if one.amount or one.limit.window is Window.NOW]
        if wanted and self._settling < _SETTLING_MAX:
            self._settling += 1
            self._tasks.spawn("limits.settle", self._correct(wanted, place, now))

    async def _correct(self, changes: Sequence[Demand], place: str, now: float) -> None:
        words: list[Any] = [self._now(now), place]
        for change in changes:
            words += [change.limit.window.value, change.limit.amount, change.amount]
        keys = [_PREFIX + change.bucket for change in changes]
        try:
            await self._connection.ask(cast(Awaitable[Any], self._settle(keys=keys, args=words)))
        except TokenyardError:
            # The next decision tells that the store is away; a place ends by itself.
            return
        finally:
            self._settling -= 1

    def _now(self, now: float) -> str:
        return repr(now) if self._own_time else ""


def _whole(told: bytes) -> int:
    """A whole number as Lua writes it, which may be `1e+15`."""
    return int(float(told))
