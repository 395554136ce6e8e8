"""Limits in numbers: a leaky bucket for a minute, a counter for a day, places for this moment.

A minute's bucket is one number, its theoretical arrival time (TAT): when it would be empty again.
Knows times and counts as arguments only. `storage.redis.limits` does the same arithmetic in Lua,
and one contract suite holds for both. Source: ITU-T I.371, annex A, the virtual scheduling
algorithm, with a cost for each cell.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tokenyard.vocabulary.limits import Grant, Limit, Window

DAY_SECONDS = 86_400.0
# Rounding must not deny the last request of a full burst.
_SLACK_SECONDS = 5e-7


# Tuples, since several of each are made for every request.
class Bucket(NamedTuple):
    """The state of one limit for one subject.

    arrival_time: of a minute's limit. day, used: of a day's limit. places: who holds one now, and
    until when at the latest (Unix seconds); none of them ends before `first_end`.
    """

    arrival_time: float = 0.0
    day: int = 0
    used: int = 0
    places: Mapping[str, float] | None = None
    first_end: float = math.inf


class Taken(NamedTuple):
    """Let it through, and keep `bucket`."""

    bucket: Bucket
    grant: Grant


@dataclass(frozen=True, slots=True)
class Denied:
    """Not now; None when never."""

    wait_seconds: float | None
    remaining: int


def take(
    bucket: Bucket, limit: Limit, amount: int, now: float, *, place: str, until: float
) -> Taken | Denied:
    """Decide on one demand at time `now` (Unix seconds).

    place, until: of a limit of places, the name of the one who comes, and the latest end.
    """
    match limit.window:
        case Window.MINUTE:
            return _take_minute(bucket, limit, amount, now)
        case Window.DAY:
            return _take_day(bucket, limit, amount, now)
        case Window.NOW:
            return _take_place(bucket, limit, now, place, until)


def settle(bucket: Bucket, limit: Limit, change: int, now: float, *, place: str) -> Bucket:
    """Correct what was taken: a positive change takes more, even what is not there any more.

    Gives the place back where the limit is one of places.
    """
    match limit.window:
        case Window.MINUTE:
            after = max(bucket.arrival_time, now) + change * _interval(limit)
            return Bucket(arrival_time=after)
        case Window.DAY:
            if bucket.day != _day(now):
                return bucket
            return Bucket(day=bucket.day, used=max(bucket.used + change, 0))
        case Window.NOW:
            held = dict(bucket.places or {})
            held.pop(place, None)
            return Bucket(places=held, first_end=bucket.first_end)


def _take_minute(bucket: Bucket, limit: Limit, amount: int, now: float) -> Taken | Denied:
    interval, capacity = _interval(limit), _interval(limit) * limit.capacity
    before = max(bucket.arrival_time, now)
    after = before + amount * interval
    left = max(int((capacity - (before - now)) / interval + 1e-6), 0)
    if amount > limit.capacity:
        return Denied(None, left)
    # What asks for nothing is let through even out of a bucket that is in debt.
    if amount and after - now > capacity + _SLACK_SECONDS:
        return Denied(after - now - capacity, left)
    return Taken(Bucket(arrival_time=after), Grant(max(left - amount, 0), after - now))


def _take_day(bucket: Bucket, limit: Limit, amount: int, now: float) -> Taken | Denied:
    today = _day(now)
    used = bucket.used if bucket.day == today else 0
    rest = (today + 1) * DAY_SECONDS - now
    left = max(limit.amount - used, 0)
    if amount > limit.amount:
        return Denied(None, left)
    if amount and amount > left:
        return Denied(rest, left)
    return Taken(Bucket(day=today, used=used + amount), Grant(left - amount, rest))


def _take_place(
    bucket: Bucket, limit: Limit, now: float, place: str, until: float
) -> Taken | Denied:
    held, first_end = dict(bucket.places or {}), bucket.first_end
    if first_end <= now:
        held = {one: end for one, end in held.items() if end > now}
        first_end = min(held.values(), default=math.inf)
    if len(held) >= limit.amount:
        return Denied(1.0, 0)
    held[place] = until
    return Taken(
        Bucket(places=held, first_end=min(first_end, until)), Grant(limit.amount - len(held), 0.0)
    )


def _interval(limit: Limit) -> float:
    return 60.0 / limit.amount


def _day(now: float) -> int:
    return int(now // DAY_SECONDS)
