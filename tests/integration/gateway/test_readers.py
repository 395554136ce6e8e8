"""Readers that stall, over a real socket: they are cut off in time and hold little meanwhile."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from tokenyard.gateway.connection import EventStream, Patience
from tokenyard.gateway.presence import LINE
from tokenyard.gateway.server import bind, serve
from tokenyard.runtime.settings import GatewaySettings
from tokenyard.runtime.tasks import TaskSupervisor

EVENT = b"data: " + b"x" * 1_000 + b"\n\n"
SETTINGS = GatewaySettings(port=0)


async def test_21_a_frozen_reader_is_cut_off_and_nobody_else_notices() -> None:
    sent = {"frozen": 0, "well": 0}
    reasons: list[str] = []
    cut = asyncio.Event()

    def closed(reason: str) -> None:
        reasons.append(reason)
        cut.set()

    async with TaskSupervisor(lambda name, error: None) as tasks:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            who = scope["path"].removeprefix("/")

            async def chunks() -> AsyncGenerator[bytes, None]:
                while who == "frozen" or sent["well"] < 2_000:
                    sent[who] += 1
                    yield EVENT
                    await asyncio.sleep(0)

            patience = Patience(heartbeat=0.05, stall=0.3)
            await EventStream(chunks(), name=who, tasks=tasks, patience=patience, closed=closed)(
                scope, receive, send
            )

        async with serve(app, bind(SETTINGS), SETTINGS, tasks) as serving:
            port = int(serving.url.rsplit(":", 1)[1])
            _, frozen_writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            frozen_writer.write(b"GET /frozen HTTP/1.1\r\nhost: x\r\n\r\n")
            well, well_writer = await asyncio.open_connection("127.0.0.1", port)
            well_writer.write(b"GET /well HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            body = await asyncio.wait_for(well.read(), 20)
            assert body.count(EVENT) == 2_000
            await asyncio.wait_for(cut.wait(), 20)
            assert reasons == ["stalled"]
            # Without limits the kernel takes some 4 MB before a writer notices anything.
            assert sent["frozen"] * len(EVENT) < 3_000_000
            for writer in (frozen_writer, well_writer):
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()


async def test_28_a_connection_ends_after_its_life_with_a_whole_answer() -> None:
    async with TaskSupervisor(lambda name, error: None) as tasks:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def chunks() -> AsyncGenerator[bytes, None]:
                yield b"retry: 300\n\n"
                await asyncio.sleep(60)
                yield b""

            patience = Patience(heartbeat=0.02, life=0.2)
            await EventStream(chunks(), name="one", tasks=tasks, patience=patience)(
                scope, receive, send
            )

        async with serve(app, bind(SETTINGS), SETTINGS, tasks) as serving:
            port = int(serving.url.rsplit(":", 1)[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            body = await asyncio.wait_for(reader.read(), 20)
            assert b": keep-alive" in body
            assert body.endswith(b"0\r\n\r\n")
            writer.close()
            await writer.wait_closed()


async def test_22_a_peer_that_vanishes_is_noticed_by_the_kernel_in_time() -> None:
    """What was sent and is never confirmed ends the connection after the patience with a reader."""
    async with TaskSupervisor(lambda name, error: None) as tasks:
        told: list[tuple[int, int]] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def chunks() -> AsyncGenerator[bytes, None]:
                line = scope[LINE].transport.get_extra_info("socket")
                twin = socket.socket(fileno=os.dup(line.fileno()))
                with twin:
                    patience = twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                    told.append((patience, twin.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)))
                yield EVENT

            patience = Patience(heartbeat=0.05, stall=1.5)
            await EventStream(chunks(), name="one", tasks=tasks, patience=patience)(
                scope, receive, send
            )

        async with serve(app, bind(SETTINGS), SETTINGS, tasks) as serving:
            port = int(serving.url.rsplit(":", 1)[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert EVENT in await asyncio.wait_for(reader.read(), 20)
            writer.close()
            await writer.wait_closed()
        [(milliseconds, buffered)] = told
        assert milliseconds == 1_500
        # The kernel doubles what it is asked for, for its own bookkeeping.
        assert buffered <= 2 * 64 * 1024


async def test_a_reader_that_waits_costs_no_task_and_is_let_go_when_it_leaves() -> None:
    waiting, ended = asyncio.Event(), asyncio.Event()
    async with TaskSupervisor(lambda name, error: None) as tasks:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def chunks() -> AsyncGenerator[bytes, None]:
                try:
                    yield EVENT
                    waiting.set()
                    await asyncio.sleep(60)
                finally:
                    ended.set()

            await EventStream(chunks(), name="one", tasks=tasks, patience=Patience(heartbeat=60))(
                scope, receive, send
            )

        async with serve(app, bind(SETTINGS), SETTINGS, tasks) as serving:
            port = int(serving.url.rsplit(":", 1)[1])
            before = tasks.running
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.wait_for(waiting.wait(), 20)
            # The server's own for the request, and none of ours beside it.
            assert tasks.running == before
            writer.close()
            await asyncio.wait_for(ended.wait(), 20)
