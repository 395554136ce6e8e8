"""WebSockets over a real socket: what the server below the gateway does, by the settings."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.server import bind, serve
from tokenyard.runtime.settings import GatewaySettings, Settings
from tokenyard.runtime.socket_settings import SocketSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.upstreams.scripted import Script

CREATE = {"type": "response.create", "model": MODEL, "input": "Hi"}
LAST = "response.completed"


@asynccontextmanager
async def open_server(**limits: Any) -> AsyncIterator[tuple[FakeYard, int]]:
    """A gateway of fakes behind a port."""
    gateway = GatewaySettings(port=0, sockets=SocketSettings(**limits))
    async with (
        open_fake_yard(Settings(gateway=gateway)) as yard,
        TaskSupervisor(lambda name, error: None) as tasks,
        serve(yard.gateway.app, bind(gateway), gateway, tasks) as serving,
    ):
        yield yard, int(serving.url.rsplit(":", 1)[1])


def dial(yard: FakeYard, port: int, **how: Any) -> connect:
    headers = {"authorization": f"Bearer {yard.key}"}
    return connect(f"ws://127.0.0.1:{port}/v1/responses", additional_headers=headers, **how)


async def ask_by_hand(
    yard: FakeYard, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A handshake and a frame of a client that does nothing by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    key = base64.b64encode(bytes(16)).decode()
    frame = json.dumps(CREATE).encode()
    writer.write(
        "GET /v1/responses HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n"
        f"connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n"
        f"authorization: Bearer {yard.key}\r\n\r\n".encode()
    )
    assert await reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
    await reader.readuntil(b"\r\n\r\n")
    writer.write(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)
    return reader, writer


async def read_until(call: ClientConnection, kind: str) -> list[Any]:
    frames: list[Any] = []
    while not frames or frames[-1]["type"] != kind:
        frames.append(json.loads(await asyncio.wait_for(call.recv(), 20)))
    return frames


async def test_an_answer_over_a_real_socket() -> None:
    async with open_server() as (yard, port), dial(yard, port) as call:
        await call.send(json.dumps({**CREATE, "stream_id": "ä"}))
        frames = await read_until(call, LAST)
        assert [one["sequence_number"] for one in frames] == list(range(12))
        assert {one["stream_id"] for one in frames} == {"ä"}
        # No compression, whatever a client offers.
        assert call.response is not None
        assert "sec-websocket-extensions" not in call.response.headers


async def test_a_message_that_is_too_long_closes_the_connection_and_no_other() -> None:
    async with open_server(frame_bytes_max=2_000) as (yard, port), dial(yard, port) as other:
        async with dial(yard, port) as call:
            await call.send(json.dumps({**CREATE, "input": "x" * 3_000}))
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(call.recv(), 20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        await other.send(json.dumps(CREATE))
        assert await read_until(other, LAST)


async def test_a_handshake_that_is_denied_says_why() -> None:
    async with open_server() as (_, port):
        with pytest.raises(InvalidStatus) as denied:
            async with connect(f"ws://127.0.0.1:{port}/v1/responses"):
                pass
        assert denied.value.response.status_code == 401
        body = json.loads(bytes(denied.value.response.body or b""))
        assert body["error"]["code"] == "missing_credentials"


async def test_22_a_side_that_answers_no_ping_is_gone_and_its_answer_goes_on() -> None:
    async with open_server(ping_seconds=0.1, pong_seconds=0.3) as (yard, port):
        yard.upstream.script = Script(hold_after=2)
        reader, writer = await ask_by_hand(yard, port)
        # It hears everything and says nothing more, not even that it leaves.
        heard = await asyncio.wait_for(reader.read(), 20)
        assert b"response.created" in heard
        assert b"keepalive ping timeout" in heard
        assert yard.metrics.sockets._value.get() == 0
        assert not yard.upstream.aborted
        yard.upstream.go_on()
        response = heard.partition(b'"id":"')[2].partition(b'"')[0].decode()
        async with dial(yard, port) as call:
            resume = {"type": "response.resume", "response_id": response, "starting_after": 5}
            await call.send(json.dumps(resume))
            assert len(await read_until(call, LAST)) == 6
        writer.close()
        await writer.wait_closed()


async def test_21_a_frozen_reader_holds_little_and_is_cut_off() -> None:
    async with open_server() as (yard, port):
        yard.upstream.script = Script(pieces=tuple("x" * 10_000 for _ in range(1_000)))
        reader, writer = await ask_by_hand(yard, port)
        stalled = yard.metrics.readers_closed.labels("stalled")._value
        async with dial(yard, port, max_size=None) as call:
            await call.send(json.dumps({**CREATE, "input": "Ho"}))
            frames = await read_until(call, LAST)
            text = frames[-1]["response"]["output"][0]["content"][0]["text"]
            assert len(text) == 10_000_000
        while not stalled.get():
            await yard.clock.advance(10)
            await asyncio.sleep(0.01)
        heard = 0
        with suppress(ConnectionError):
            while got := await asyncio.wait_for(reader.read(65_536), 20):
                heard += len(got)
        # What the kernel held on both sides; a whole answer would be ten million.
        assert heard < 5_000_000
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
