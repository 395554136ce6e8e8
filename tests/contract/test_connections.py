"""Connections to a model server over real sockets: which are used again, and which never are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tokenyard.upstreams.addresses import CheckedResolver
from tokenyard.upstreams.connections import Connections

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


@dataclass
class Server:
    """Answers each request with the next of these.

    None hangs up, as it does after a part of an answer; b"" says nothing.
    """

    answers: list[bytes | None] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                self.asked.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else ANSWER
                if answer is None:
                    break
                writer.write(answer)
                if answer and b"\r\n\r\n" not in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | None) -> AsyncIterator[Server]:
    server = Server(list(answers))
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for writer in server.writers:
            writer.close()


@asynccontextmanager
async def connecting(
    server: Server, host: str = "127.0.0.1", resolver: AbstractResolver | None = None
) -> AsyncIterator[Connections]:
    connections = Connections(
        f"http://{host}:{server.port}/base/",
        headers={"authorization": "Bearer k"},
        connect_seconds=2,
        idle_seconds=30,
        resolver=resolver,
    )
    try:
        yield connections
    finally:
        connections.close()


async def ask(connections: Connections, body: bytes = b"{}") -> bytes:
    connection = await connections.post("/v1/x", body, {"x-request-id": "req_1"}, 5)
    try:
        return await connection.read_all(5, 1000)
    finally:
        connections.give_back(connection)


async def test_a_request_says_what_it_has_to() -> None:
    async with serving() as server, connecting(server) as connections:
        assert await ask(connections, b"{}" * 40_000) == b"ok"
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /base/v1/x HTTP/1.1",
        b"host: 127.0.0.1:%d" % server.port,
        b"accept-encoding: identity",
        b"authorization: Bearer k",
        b"x-request-id: req_1",
        b"content-length: 80000",
    ]
    assert body == b"{}" * 40_000


async def test_a_header_cannot_begin_another() -> None:
    async with serving() as server, connecting(server) as connections:
        with pytest.raises(ValueError, match="line break"):
            await connections.post("/v1/x", b"", {"x-request-id": "1\r\nhost: evil"}, 5)
    assert not server.asked


async def test_calls_after_one_another_share_a_connection_and_others_do_not() -> None:
    async with serving() as server, connecting(server) as connections:
        for _ in range(3):
            await ask(connections)
        assert server.connections == 1
        await asyncio.gather(*(ask(connections) for _ in range(3)))
        assert server.connections == 3


async def test_an_answer_that_was_not_read_to_its_end_takes_its_connection_along() -> None:
    async with serving(STREAM) as server, connecting(server) as connections:
        connection = await connections.post("/v1/x", b"{}", {}, 5)
        assert await connection.read(5) == b"hello"
        connections.give_back(connection)
        async with asyncio.timeout(5):
            await server.hung_up.wait()
        assert await ask(connections) == b"ok"
        assert server.connections == 2


async def test_the_end_of_a_stream_may_come_a_moment_after_its_last_event() -> None:
    async with serving(STREAM) as server, connecting(server) as connections:
        connection = await connections.post("/v1/x", b"{}", {}, 5)
        await connection.read(5)
        connections.give_back(connection, ending=True)
        server.writers[0].write(b"0\r\n\r\n")
        async with asyncio.timeout(5):
            while not connections.idle:
                await asyncio.sleep(0.01)
        await ask(connections)
        assert server.connections == 1


async def test_a_kept_connection_that_the_server_had_closed_costs_no_call() -> None:
    async with serving(ANSWER, None) as server, connecting(server) as connections:
        await ask(connections)
        # It hangs up on the second request, as one that had just thought the connection idle.
        assert await ask(connections) == b"ok"
        assert server.connections == 2


async def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    async with serving(None) as server, connecting(server) as connections:
        with pytest.raises(ConnectionError):
            await ask(connections)
        assert server.connections == 1


async def test_what_was_answered_in_part_is_not_asked_again() -> None:
    async with serving(ANSWER, b"HTTP/1.1 2") as server, connecting(server) as connections:
        await ask(connections)
        with pytest.raises(ConnectionError):
            await ask(connections)
        assert server.connections == 1


async def test_a_caller_who_leaves_hangs_up_on_the_server() -> None:
    async with serving(b"") as server, connecting(server) as connections:
        asking = asyncio.ensure_future(ask(connections))
        while not server.asked:
            await asyncio.sleep(0.01)
        asking.cancel()
        async with asyncio.timeout(5):
            await server.hung_up.wait()


async def test_silence_and_the_end_of_it_all_end_a_call() -> None:
    async with serving(b"", b"") as server, connecting(server) as connections:
        with pytest.raises(TimeoutError):
            await connections.post("/v1/x", b"{}", {}, 0.05)
        asking = asyncio.ensure_future(ask(connections))
        while len(server.asked) < 2:
            await asyncio.sleep(0.01)
        connections.close()
        with pytest.raises(ConnectionError):
            await asking
        with pytest.raises(ConnectionError):
            await ask(connections)


class Names(AbstractResolver):
    """Tells one address for every name."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=self._address(), port=port, family=2, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing."""


async def test_a_name_that_means_an_address_inside_is_refused_with_each_connection() -> None:
    refusing = CheckedResolver(("models.example",), Names(lambda: "127.0.0.1"))
    async with serving() as server, connecting(server, "models.example", refusing) as refused:
        with pytest.raises(OSError, match="not allowed"):
            await ask(refused)
        assert not server.connections
        allowed = CheckedResolver(("models.example", "127.0.0.1"), Names(lambda: "127.0.0.1"))
        async with connecting(server, "models.example", allowed) as connections:
            assert await ask(connections) == b"ok"
