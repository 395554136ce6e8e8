"""WebSockets through the whole gateway, over a scripted model server; numbers are the matrix's."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.sockets import SocketCall
from support.spec import validator
from support.tenants import CHEAP, sign_in_owner
from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.gateway.rules.unacked import Unacked
from tokenyard.ledger.ports import GroupBy
from tokenyard.runtime.settings import GatewaySettings, Settings
from tokenyard.runtime.socket_settings import SocketSettings
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, EVERYTHING

PATH = "/v1/responses"
CREATE: dict[str, Any] = {"type": "response.create", "model": MODEL, "input": "Hi"}
LONG = Script(pieces=tuple(f"w{number} " for number in range(40)))
LAST = "response.completed"


def connect(yard: FakeYard, **how: Any) -> SocketCall:
    return SocketCall(yard.gateway.app, {"authorization": f"Bearer {yard.key}"}, **how)


def with_sockets(**limits: Any) -> Settings:
    return Settings(gateway=GatewaySettings(sockets=SocketSettings(**limits)))


def text_of(frames: list[Any]) -> str:
    return "".join(one["delta"] for one in frames if one["type"] == "response.output_text.delta")


async def bills(yard: FakeYard) -> int:
    totals = await yard.ledger.statements.totals(
        DEFAULT_PROJECT, since=0, until=1e12, group_by=GroupBy.MODEL
    )
    return sum(total.requests for total in totals)


async def test_a_socket_and_an_event_stream_and_the_store_say_the_same(yard: FakeYard) -> None:
    call = connect(yard)
    call.say(CREATE)
    last = await call.frame(LAST)
    response = last["response"]["id"]
    stream = await yard.client.call("GET", f"{PATH}/{response}?stream=true")
    assert [event.data.decode() for event in stream.events()] == call.texts
    for frame in call.frames:
        validator("ResponseStreamEvent").validate(frame)
    stored = (await yard.client.call("GET", f"{PATH}/{response}")).json()
    assert stored["output"][0]["content"][0]["text"] == text_of(call.frames) == "Hello, world."
    assert await bills(yard) == 1
    await call.leave()


async def test_answers_of_several_streams_come_side_by_side_those_of_one_in_order(
    yard: FakeYard,
) -> None:
    yard.upstream.script = Script(hold_after=2)
    call = connect(yard)
    for lane in ("a", "b", "a"):
        call.say({**CREATE, "stream_id": lane})
    await call.until(lambda _: text_of(call.of("b")) != "")
    await call.until(lambda _: text_of(call.of("a")) != "")
    # The second one of a waits for the first.
    assert len([one for one in call.of("a") if one["type"] == "response.created"]) == 1
    yard.upstream.script = Script()
    yard.upstream.go_on()
    await call.until(lambda _: sum(one["type"] == LAST for one in call.frames) == 3)
    assert text_of(call.of("a")) == "Hello, world." * 2
    assert text_of(call.of("b")) == "Hello, world."
    assert all(text.startswith('{"stream_id":"') for text in call.texts)
    await call.leave()


async def test_1_2_3_37_cut_and_resumed_again_and_again_from_any_place(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    call = connect(yard)
    call.say(CREATE)
    await call.received(6)
    response, seen = call.frames[0]["response"]["id"], call.texts[:6]
    await call.leave()
    for _ in range(2):
        # Nothing comes between: nothing is lost, and nothing is told again.
        call = connect(yard)
        call.say({"type": "response.resume", "response_id": response, "starting_after": 5})
        await yard.clock.settle()
        assert call.texts == []
        await call.leave()
    yard.upstream.go_on()
    call = connect(yard)
    call.say({"type": "response.resume", "response_id": response, "starting_after": 5})
    await call.frame(LAST)
    assert [one["sequence_number"] for one in call.frames] == list(range(6, 12))
    whole = await yard.client.call("GET", f"{PATH}/{response}?stream=true")
    assert seen + call.texts == [event.data.decode() for event in whole.events()]
    for after in range(12):
        other = connect(yard)
        other.say({"type": "response.resume", "response_id": response, "starting_after": after})
        await other.received(max(1, 11 - after))
        if after == 11:
            assert other.frames == [{"type": "response.ended", "response_id": response}]
        else:
            assert other.texts == (seen + call.texts)[after + 1 :]
        await other.leave()
    assert await bills(yard) == 1
    await call.leave()


async def test_20_readers_of_one_answer_on_sockets_and_streams_share_its_bytes(
    yard: FakeYard,
) -> None:
    yard.upstream.script = Script(hold_after=2)
    first = connect(yard)
    first.say(CREATE)
    await first.received(6)
    response = first.frames[0]["response"]["id"]
    others = [connect(yard) for _ in range(5)]
    for other in others:
        other.say({"type": "response.resume", "response_id": response})
        await other.received(6)
    stream = yard.client.open("GET", f"{PATH}/{response}?stream=true")
    await stream.until(lambda answer: len(answer.events()) == 6)
    await first.leave()
    yard.upstream.go_on()
    for other in others:
        await other.frame(LAST)
        await other.leave()
    whole = [event.data.decode() for event in (await stream.finish()).events()]
    assert all(other.texts == whole for other in others)


async def test_cancel_keeps_the_text_and_ends_the_stream(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    call = connect(yard)
    call.say({**CREATE, "stream_id": "a"})
    await call.received(6)
    response = call.frames[0]["response"]["id"]
    for _ in range(2):
        call.say({"type": "response.cancel", "response_id": response})
    last = await call.frame("response.incomplete", "a")
    assert last["response"]["status"] == "cancelled"
    assert text_of(call.frames) == "Hello, "
    call.say({"type": "response.cancel", "response_id": "resp_none", "stream_id": "b"})
    error = await call.frame("error", "b")
    assert (error["status"], error["error"]["code"]) == (404, "not_found")
    await call.leave()


async def test_21_37_without_acks_it_stops_and_goes_on_with_the_whole_text() -> None:
    async with open_fake_yard(with_sockets(unacked_events_max=6)) as yard:
        yard.upstream.script = LONG
        call = connect(yard)
        call.say({**CREATE, "acks": True})
        await call.received(6)
        response = call.frames[0]["response"]["id"]
        stored = {"status": "in_progress"}
        while stored["status"] == "in_progress":
            stored = (await yard.client.call("GET", f"{PATH}/{response}")).json()
        assert len(call.texts) == 6
        # A lost ack, one that comes late, one for what was never sent, one for another answer.
        for number, of in ((3, response), (1, response), (900, response), (0, "resp_other")):
            call.say({"type": "ack", "response_id": of, "sequence_number": number})
        error = await call.frame("error")
        assert (error["error"]["code"], error["error"]["param"]) == (
            "invalid_cursor",
            "sequence_number",
        )
        picture = await call.frame("response.resync")
        assert picture["response"]["output"] == stored["output"]
        assert picture["response"]["status"] == "completed"
        assert text_of(call.frames) == "w0 w1 "
        # The stream is over: an ack is no longer waited for, and one that comes does no harm.
        call.say({"type": "ack", "response_id": response, "sequence_number": 5})
        await yard.clock.advance(100)
        assert call.closed is None
        await call.leave()


async def test_with_acks_in_time_every_piece_comes_once() -> None:
    async with open_fake_yard(with_sockets(unacked_events_max=30)) as yard:
        yard.upstream.script = LONG
        call = connect(yard)
        call.say({**CREATE, "acks": True})
        await call.received(30)
        await yard.clock.settle()
        assert len(call.texts) == 30
        response = call.frames[0]["response"]["id"]
        call.say({"type": "ack", "response_id": response, "sequence_number": 20})
        await call.frame(LAST)
        assert [one["sequence_number"] for one in call.frames] == list(range(48))
        assert text_of(call.frames) == "".join(map(str, LONG.pieces))
        await call.leave()


@pytest.mark.parametrize(
    ("limits", "acks", "ending"),
    [
        ({"unacked_events_max": 3, "ack_seconds": 60.0}, True, (4408, "unacked")),
        ({"seconds_max": 60.0}, False, (1001, "lifetime")),
    ],
)
async def test_22_28_a_silent_client_and_a_life_that_is_over_end_with_a_name(
    limits: Mapping[str, Any], acks: bool, ending: tuple[int, str]
) -> None:
    async with open_fake_yard(with_sockets(**limits)) as yard:
        yard.upstream.script = Script(hold_after=2)
        call = connect(yard)
        call.say({**CREATE, "acks": acks})
        await call.received(3)
        response, seen = call.frames[0]["response"]["id"], call.texts
        await yard.clock.advance(40)
        assert call.closed is None
        await yard.clock.advance(40)
        code, reason = await call.ended()
        assert (code, reason.split(";")[0]) == ending
        assert 250 <= int(reason.rpartition("=")[2]) <= 2_000
        # It comes back, and nobody sees that it was away.
        yard.upstream.go_on()
        call = connect(yard)
        after = json.loads(seen[-1])["sequence_number"]
        call.say({"type": "response.resume", "response_id": response, "starting_after": after})
        await call.frame(LAST)
        assert text_of([json.loads(one) for one in seen + call.texts]) == "Hello, world."
        await call.leave()


async def test_29_a_key_that_expires_ends_no_stream_and_begins_none(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    terms = KeyTerms("short", scopes=(EVERYTHING,), expires_at=yard.clock.now() + 60)
    secret, _ = await yard.identity.keys.create(command_line(DEFAULT_PROJECT), terms)
    call = SocketCall(yard.gateway.app, {"authorization": f"Bearer {secret}"})
    call.say({**CREATE, "stream_id": "a"})
    await call.received(6)
    await yard.clock.advance(61)
    call.say({**CREATE, "stream_id": "b"})
    error = await call.frame("error", "b")
    assert (error["status"], error["error"]["code"]) == (401, "expired_api_key")
    yard.upstream.go_on()
    last = await call.frame(LAST, "a")
    assert last["response"]["output"][0]["content"][0]["text"] == "Hello, world."
    response = last["response"]["id"]
    call.say({"type": "response.resume", "response_id": response, "stream_id": "c"})
    assert (await call.frame("error", "c"))["status"] == 401
    await call.leave()


async def test_5_the_same_key_of_idempotency_is_one_answer(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    calls = [connect(yard) for _ in range(2)]
    for call in calls:
        call.say({**CREATE, "idempotency_key": "once"})
    for call in calls:
        await call.received(6)
    calls[0].say({**CREATE, "input": "Ho", "idempotency_key": "once", "stream_id": "b"})
    error = await calls[0].frame("error", "b")
    assert error["error"]["code"] == "idempotency_key_reused"
    yard.upstream.go_on()
    for call in calls:
        await call.frame(LAST)
    assert [
        one for one in calls[0].texts if '"error"' not in one[:9] and "stream_id" not in one
    ] == (calls[1].texts)
    assert await bills(yard) == 1
    for call in calls:
        await call.leave()


async def test_a_refused_frame_says_what_a_refused_request_says(yard: FakeYard) -> None:
    call = connect(yard)
    changes: list[dict[str, Any]] = [
        {"model": "none"},
        {"temperature": 9},
        {"nothing": 1},
        {"input": [{}]},
    ]
    for change in changes:
        call.texts.clear()
        call.say({**CREATE, **change, "stream_id": "a"})
        error = await call.frame("error", "a")
        body = {k: v for k, v in ({**CREATE, **change}).items() if k != "type"}
        answer = await yard.client.call("POST", PATH, json_body=body)
        told = {k: v for k, v in error["error"].items() if k != "headers"}
        assert (error["status"], told) == (answer.status, answer.error)
        assert error["error"]["headers"]["x-request-id"].startswith("req_")
    await call.leave()


async def test_limits_count_frames_like_requests() -> None:
    async with open_fake_yard(with_sockets(streams_max=2)) as yard:
        yard.upstream.script = Script(hold_after=2)
        call = connect(yard)
        for lane in ("a", "b", "c"):
            call.say({**CREATE, "stream_id": lane})
        error = await call.frame("error", "c")
        assert (error["status"], error["error"]["code"]) == (429, "socket_streams_limit")
        yard.admission.close()
        yard.upstream.go_on()
        for lane in ("a", "b"):
            await call.frame(LAST, lane)
        call.say({**CREATE, "stream_id": "d"})
        error = await call.frame("error", "d")
        assert (error["status"], error["error"]["code"]) == (503, "shutting_down")
        assert error["error"]["headers"]["retry-after"] == "1"
        await call.leave()


async def test_26_a_gateway_that_stops_lets_answers_end_and_closes() -> None:
    async with open_fake_yard(with_sockets(connections_max=2)) as yard:
        yard.upstream.script = Script(hold_after=2)
        idle, busy = connect(yard), connect(yard)
        busy.say(CREATE)
        await busy.received(6)
        full = connect(yard)
        await full.until(lambda found: found.denied is not None and found.denied[1] is not None)
        assert full.denied is not None
        assert (full.denied[0], full.denied[1]["error"]["code"]) == (503, "sockets_limit")
        await yard.gateway.sockets.drain()
        assert (await idle.ended())[0] == 1012
        late = connect(yard)
        await late.until(lambda found: found.denied is not None)
        assert late.denied is not None
        assert late.denied[0] == 503
        assert busy.closed is None
        yard.upstream.go_on()
        code, reason = await busy.ended()
        assert (code, reason.split(";")[0]) == (1012, "draining")
        assert busy.frames[-1]["type"] == LAST


async def test_21_who_takes_nothing_is_closed_and_nobody_else_notices(yard: FakeYard) -> None:
    yard.upstream.script = Script(hold_after=2)
    frozen, well = connect(yard), connect(yard)
    for call in (frozen, well):
        call.say(CREATE)
        await call.received(6)
    frozen.freeze()
    yard.upstream.go_on()
    await well.frame(LAST)
    await yard.clock.advance(GatewaySettings().reader_stall_seconds * 1.5)
    assert (await frozen.ended())[1].startswith("stalled")
    response = frozen.frames[0]["response"]["id"]
    back = connect(yard)
    back.say({"type": "response.resume", "response_id": response, "starting_after": 5})
    await back.frame(LAST)
    await back.leave()
    await well.leave()


async def test_who_may_connect() -> None:
    async with open_fake_yard(Settings(identity=CHEAP)) as yard:
        owner = await sign_in_owner(yard)
        cookie = owner.client._headers["cookie"]
        here, elsewhere = "http://yard.test", "http://elsewhere.test"
        secret = f"openai-insecure-api-key.{yard.key}"
        for headers, subprotocols, status in (
            ({"authorization": f"Bearer {yard.key}"}, (), 101),
            ({}, ("responses", secret), 101),
            ({}, (secret,), 101),
            ({"cookie": cookie, "origin": here}, (), 101),
            ({"cookie": cookie, "origin": elsewhere}, (), 403),
            ({"cookie": cookie}, (), 403),
            ({"authorization": "Bearer ty-wrong"}, (), 401),
            ({}, ("responses", "openai-insecure-api-key.ty-wrong"), 401),
            ({}, (), 401),
        ):
            call = SocketCall(yard.gateway.app, headers, subprotocols=subprotocols)
            await yard.clock.settle()
            told = 101 if call.accepted else (call.denied or (0, None))[0]
            assert told == status, (headers, subprotocols, call.denied)
            if call.accepted:
                agreed = call.accepted["subprotocol"]
                assert agreed == ("responses" if "responses" in subprotocols else None)
                call.say(CREATE)
                await call.frame(LAST)
                await call.leave()
        lost = connect(yard, path="/v1/models")
        await lost.until(lambda found: found.denied is not None)
        assert lost.denied is not None
        assert lost.denied[0] == 404
        plain = await yard.client.call("GET", PATH)
        assert (plain.status, plain.headers["upgrade"]) == (426, "websocket")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"text": ""}, "invalid_json"),
        ({"text": '{"a":' * 5_000}, "invalid_json"),
        ({"text": "[]"}, "invalid_value"),
        ({"text": "null"}, "invalid_value"),
        ({"data": b'{"type":"ack"}'}, "invalid_value"),
        ({"frame": {}}, "invalid_value"),
        ({"frame": {"type": "response.steer"}}, "invalid_value"),
        ({"frame": {"type": 5}}, "invalid_value"),
        ({"frame": {**CREATE, "stream_id": 5}}, "invalid_value"),
        ({"frame": {**CREATE, "stream_id": ""}}, "invalid_value"),
        ({"frame": {**CREATE, "stream_id": "x" * 300}}, "invalid_value"),
        ({"frame": {**CREATE, "acks": "yes"}}, "invalid_value"),
        ({"frame": {**CREATE, "idempotency_key": "a b"}}, "invalid_value"),
        ({"frame": {"type": "ack", "response_id": "r", "sequence_number": -1}}, "invalid_value"),
        ({"frame": {"type": "ack", "response_id": "r"}}, "invalid_value"),
        ({"frame": {"type": "response.resume"}}, "invalid_value"),
        ({"frame": {"type": "response.resume", "response_id": "a/../b?c#d"}}, "not_found"),
        ({"frame": {"type": "response.resume", "response_id": "r", "x": 1}}, "unknown_parameter"),
        ({"frame": {"type": "response.cancel", "response_id": "../x"}}, "not_found"),
    ],
)
async def test_a_wrong_frame_gets_a_named_error_and_the_connection_goes_on(
    yard: FakeYard, wrong: dict[str, Any], code: str
) -> None:
    call = connect(yard)
    call.say(wrong.get("frame"), text=wrong.get("text"), data=wrong.get("data"))
    error = await call.until(lambda found: bool(found.texts))
    assert error.frames[0]["type"] == "error"
    assert error.frames[0]["error"]["code"] == code, error.frames
    assert 400 <= error.frames[0]["status"] < 500
    call.say({**CREATE, "stream_id": "well"})
    await call.frame(LAST, "well")
    await call.leave()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = ("type", "stream_id", "acks", "response_id", "sequence_number", "starting_after", "model")
KINDS = ("response.create", "response.resume", "response.cancel", "ack")


@given(
    frames=st.lists(
        st.one_of(
            st.text(max_size=40).map(lambda text: {"text": text}),
            st.binary(max_size=40).map(lambda data: {"data": data}),
            st.dictionaries(st.sampled_from(NAMES), ANYTHING | st.sampled_from(KINDS)).map(
                lambda frame: {"frame": frame}
            ),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=10)
async def test_no_frame_breaks_a_connection(frames: list[dict[str, Any]]) -> None:
    async with open_fake_yard() as yard:
        call = connect(yard)
        for one in frames:
            call.say(one.get("frame"), text=one.get("text"), data=one.get("data"))
        call.say({**CREATE, "stream_id": "the last"})
        await call.frame(LAST, "the last")
        told = [one for one in call.frames if one["type"] == "error"]
        assert all(one["error"]["code"] and one["status"] < 500 for one in told), told
        await call.leave()


@given(
    sizes=st.lists(st.integers(1, 100), max_size=30),
    acks=st.lists(st.integers(0, 40), max_size=30),
)
def test_a_window_knows_what_is_on_its_way(sizes: list[int], acks: list[int]) -> None:
    window = Unacked(events_max=10, bytes_max=400)
    sent: dict[int, int] = {}
    for place, size in enumerate(sizes):
        window.push(place, size, float(place))
        sent[place] = size
        if place < len(acks):
            assert window.take(acks[place]) is (acks[place] <= place)
            if acks[place] <= place:
                sent = {number: held for number, held in sent.items() if number > acks[place]}
        assert window.full is (len(sent) >= 10 or sum(sent.values()) >= 400)
        assert window.since == (min(sent) if sent else None)
