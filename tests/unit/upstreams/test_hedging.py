"""A second server where the first is silent: when, how often, who wins, what becomes of both."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.protocol.chat_completions import UsageBody
from tokenyard.runtime.routing_settings import RouteSettings
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.upstreams.rules.hedging import CREDIT_MAX, HedgeRule, earn, may_hedge, spend
from tokenyard.vocabulary.errors import TokenyardError, Unavailable, UpstreamFailed
from tokenyard.vocabulary.reasons import Reason
from unit.upstreams.test_router import World, world

CALL = GenerationCall(GenerationPath.CHAT, b'{"model":"m","stream":true}', "req_1")
ROUTES = (RouteSettings(name="m", hedge_milliseconds=200),)
BROKEN = UpstreamFailed("broke", reason=Reason.UPSTREAM_FAILED)


@given(
    st.lists(st.booleans(), max_size=400),
    st.floats(min_value=0.0, max_value=1.0, allow_nan=False),
)
def test_of_any_calls_no_more_than_the_share_is_asked_twice(
    silent: list[bool], share: float
) -> None:
    rule, credit, hedges = HedgeRule(0.1, share), 0.0, 0
    for calls, slow in enumerate(silent, 1):
        credit = earn(credit, rule)
        left = spend(credit) if slow else None
        if left is not None:
            credit, hedges = left, hedges + 1
        assert 0 <= credit <= CREDIT_MAX
        assert hedges <= share * calls + 1e-6


@pytest.mark.parametrize(
    ("request_", "may"),
    [
        ({"stream": True}, True),
        ({"stream": True, "store": False}, True),
        ({}, False),
        ({"stream": False}, False),
        ({"stream": True, "store": True}, False),
        ({"stream": True, "continue_token_ids": [1]}, False),
    ],
)
def test_only_what_no_server_keeps_is_asked_twice(request_: dict[str, Any], may: bool) -> None:
    assert may_hedge(request_) is may


class Reading:
    """One call that is read beside the test."""

    def __init__(self, place: World, call: GenerationCall = CALL) -> None:
        self.texts: list[str] = []
        self.usage: list[int] = []
        self.error: TokenyardError | None = None
        self.served_by = ""
        self._place, self._call = place, call
        self.task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            with self._place.pool.lend("m") as upstream:
                try:
                    async for event in upstream.stream(self._call):
                        self._take(json.loads(event.data))
                finally:
                    self.served_by = upstream.served_by
        except TokenyardError as error:
            self.error = error

    def _take(self, tree: Any) -> None:
        self.texts += [choice["delta"].get("content", "") for choice in tree["choices"]]
        if tree.get("usage"):
            self.usage.append(msgspec.convert(tree["usage"], UsageBody).completion_tokens)


def outcomes(place: World) -> dict[str, float]:
    return {
        name: place.metrics.upstream_hedges.labels(name)._value.get()
        for name in ("first", "second")
    }


async def test_the_second_writes_the_answer_when_the_first_is_silent() -> None:
    async with world(routes=ROUTES, hedge_share=1.0) as place:
        first = await place.add("a", hold_after=0)
        second = await place.add("b", pieces=("one", "two"))
        reading = Reading(place)
        await place.clock.advance(0.19)
        assert not second.calls
        await place.clock.advance(0.02)
        await reading.task
        assert (reading.texts, reading.served_by) == (["one", "two", ""], "b")
        # One count reaches whoever bills, that of the server that wrote the answer.
        assert reading.usage == [2]
        assert len(first.calls) == len(second.calls) == 1
        assert outcomes(place) == {"first": 0, "second": 1}


async def test_the_first_may_still_win_and_the_second_is_left() -> None:
    async with world(routes=ROUTES, hedge_share=1.0) as place:
        first = await place.add("a", hold_after=0, pieces=("one",))
        second = await place.add("b", hold_after=0)
        reading = Reading(place)
        await place.clock.advance(0.3)
        assert len(second.calls) == 1
        assert [member.in_flight for member in place.pool.members()] == [1, 1]
        first.go_on()
        await reading.task
        assert (reading.texts, reading.served_by) == (["one", ""], "a")
        assert outcomes(place) == {"first": 1, "second": 0}


async def test_a_fast_answer_asks_nobody_else() -> None:
    async with world(routes=ROUTES, hedge_share=1.0) as place:
        await place.add("a")
        second = await place.add("b")
        reading = Reading(place)
        await reading.task
        await place.clock.advance(1.0)
        assert not second.calls
        assert outcomes(place) == {"first": 0, "second": 0}


async def test_the_share_bounds_how_many_are_asked_twice() -> None:
    async with world(routes=ROUTES, hedge_share=0.25) as place:
        first = await place.add("a", hold_after=0)
        second = await place.add("b")
        # The one that is asked first is the one that is silent.
        place.pool.members()[1].priority = 1
        readings = []
        for _ in range(8):
            readings.append(Reading(place))
            await place.clock.advance(0.3)
        assert len(second.calls) == 2
        first.go_on()
        for reading in readings:
            await reading.task
        assert sorted(reading.served_by for reading in readings) == ["a"] * 6 + ["b"] * 2


async def test_when_one_of_them_breaks_the_other_goes_on() -> None:
    async with world(routes=ROUTES, hedge_share=1.0) as place:
        first = await place.add("a", hold_after=0, broken=BROKEN, break_after=0)
        second = await place.add("b", hold_after=0, pieces=("one",))
        reading = Reading(place)
        await place.clock.advance(0.3)
        first.go_on()
        await place.clock.advance(0.1)
        assert not reading.task.done()
        assert [member.in_flight for member in place.pool.members()] == [0, 1]
        assert place.pool.members()[0].breaker.failures == 1
        second.go_on()
        await reading.task
        assert (reading.texts, reading.served_by) == (["one", ""], "b")


async def test_when_both_break_their_error_is_told() -> None:
    async with world(routes=ROUTES, hedge_share=1.0, attempts_max=1) as place:
        first = await place.add("a", hold_after=0, broken=BROKEN, break_after=0)
        gone = Unavailable("gone", reason=Reason.UPSTREAM_UNAVAILABLE)
        await place.add("b", refuse=gone)
        reading = Reading(place)
        await place.clock.advance(0.3)
        first.go_on()
        await reading.task
        assert reading.error is BROKEN


@pytest.mark.parametrize("seconds", [0.1, 0.3])
async def test_who_leaves_leaves_both(seconds: float) -> None:
    async with world(routes=ROUTES, hedge_share=1.0) as place:
        await place.add("a", hold_after=0)
        await place.add("b", hold_after=0)
        reading = Reading(place)
        await place.clock.advance(seconds)
        reading.task.cancel()
        await asyncio.wait({reading.task})
        assert [member.in_flight for member in place.pool.members()] == [0, 0]


async def test_a_whole_answer_is_never_asked_for_twice() -> None:
    async with world(routes=ROUTES, hedge_share=1.0) as place:
        first = await place.add("a", hold_after=0)
        second = await place.add("b")

        async def complete() -> None:
            with place.pool.lend("m") as upstream:
                await upstream.complete(CALL)

        task = asyncio.get_running_loop().create_task(complete())
        await place.clock.advance(1.0)
        assert not second.calls
        first.go_on()
        await task


async def test_without_a_route_that_says_so_nobody_is_asked_twice() -> None:
    async with world(hedge_share=1.0) as place:
        first = await place.add("a", hold_after=0)
        second = await place.add("b")
        reading = Reading(place)
        await place.clock.advance(5.0)
        assert not second.calls
        first.go_on()
        await reading.task


async def test_frames_that_are_passed_on_are_raced_as_events_are() -> None:
    async with world(routes=ROUTES, hedge_share=1.0) as place:
        await place.add("a", hold_after=0)
        await place.add("b", pieces=("one",))

        async def read() -> tuple[bytes, str]:
            with place.pool.lend("m") as upstream:
                data = b"".join([frame async for frame in upstream.frames(CALL)])
                return data, upstream.served_by

        task = asyncio.get_running_loop().create_task(read())
        await place.clock.advance(0.3)
        data, served_by = await task
        assert (data.count(b'"one"'), served_by) == (1, "b")
