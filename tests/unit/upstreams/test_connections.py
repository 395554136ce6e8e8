"""One connection, byte by byte: every cut, every end, and what belongs to no call."""

import asyncio
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.upstreams.connections import Connection

BODY = b'{"text":"zw\xc3\xb6lf"}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\ncontent-length: 9\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\n" + BODY[:5] + b"\r\n%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
)
UNTIL_THE_END = b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\n\r\n" + BODY


class Wire(asyncio.Transport):
    """The transport, as far as a connection uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.aborted = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Talk:
    """A connection that was asked, and the wire under it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.wire = Wire()
        self.connection = Connection(loop)
        self.connection.connection_made(self.wire)
        self.head = loop.create_task(self.connection.ask(b"HEAD", b"BODY", 5))

    async def hear(self, *pieces: bytes) -> None:
        await asyncio.sleep(0)
        for piece in pieces:
            self.connection.data_received(piece)
        await asyncio.sleep(0)

    async def body(self) -> bytes:
        await self.head
        return await self.connection.read_all(5, 1000)


def run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())


@given(st.sampled_from([WHOLE, CHUNKED, UNTIL_THE_END]), st.lists(st.integers(1, 30), max_size=20))
def test_an_answer_is_the_same_however_it_is_cut(answer: bytes, cuts: list[int]) -> None:
    async def check() -> None:
        talk, place = Talk(), 0
        for size in (*cuts, len(answer)):
            if answer[place:]:
                await talk.hear(answer[place : place + size])
            place += size
        if answer is UNTIL_THE_END:
            talk.connection.connection_lost(None)
        assert await talk.body() == BODY
        assert (talk.connection.status, talk.wire.sent) == (200, b"HEADBODY")
        assert talk.connection.headers[b"content-type"] == b"a/b"
        assert talk.connection.reusable is (answer is not UNTIL_THE_END)

    run(check())


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED])
def test_an_answer_that_is_cut_anywhere_is_never_taken_for_whole(answer: bytes) -> None:
    async def check(place: int) -> None:
        talk = Talk()
        await talk.hear(answer[:place]) if place else await asyncio.sleep(0)
        talk.connection.connection_lost(None)
        with pytest.raises(ConnectionError):
            await talk.body()

    async def everywhere() -> None:
        for place in range(len(answer)):
            await check(place)

    run(everywhere())


async def test_a_connection_is_used_again_and_again() -> None:
    talk = Talk()
    for answer in (WHOLE, CHUNKED, WHOLE):
        await talk.hear(answer)
        assert await talk.body() == BODY
        talk.connection.rest()
        assert not talk.connection.reusable
        talk.head = asyncio.get_running_loop().create_task(talk.connection.ask(b"2", b"", 5))
    talk.connection.abort()
    with pytest.raises(ConnectionError):
        await talk.head


async def test_what_nobody_asked_for_ends_the_connection() -> None:
    talk = Talk()
    await talk.hear(WHOLE)
    await talk.body()
    talk.connection.rest()
    talk.connection.data_received(WHOLE)
    assert talk.wire.aborted
    with pytest.raises(ConnectionError):
        await talk.connection.ask(b"", b"", 5)


async def test_what_follows_the_answer_ends_the_connection() -> None:
    talk = Talk()
    await talk.hear(WHOLE + WHOLE)
    assert await talk.body() == BODY
    assert not talk.connection.reusable


async def test_a_server_that_closes_after_its_answer_is_not_used_again() -> None:
    talk = Talk()
    await talk.hear(WHOLE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    assert await talk.body() == BODY
    assert not talk.connection.reusable


async def test_an_answer_that_nobody_takes_is_not_read_on() -> None:
    talk = Talk()
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"
    await talk.hear(head, b"x" * 200_000)
    assert not talk.wire.reading
    await talk.head
    assert len(await talk.connection.read(5)) == 200_000
    assert talk.wire.reading


@pytest.mark.parametrize(
    "answer",
    [
        b"220 smtp ready\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    ],
)
async def test_what_is_not_http_is_broken(answer: bytes) -> None:
    talk = Talk()
    await talk.hear(answer)
    with pytest.raises(ConnectionError):
        await talk.body()


async def test_an_answer_that_is_too_long_is_not_held() -> None:
    talk = Talk()
    await talk.hear(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", b"x" * 1500)
    with pytest.raises(ValueError, match="1000"):
        await talk.body()


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_an_answer_or_broken(answer: bytes, step: int) -> None:
    async def check() -> None:
        talk = Talk()
        await talk.hear(*(answer[place : place + step] for place in range(0, len(answer), step)))
        talk.connection.connection_lost(None)
        try:
            await talk.body()
        except (ConnectionError, ValueError):
            assert not talk.connection.reusable

    run(check())
