"""Connections to one model server, for the calls that carry tokens: HTTP/1.1 over httptools.

Knows the wire: connections that are kept and used again, answers in pieces, time that runs out,
and what is broken. Does not know what a status means, nor events or JSON. It does what a gateway
needs of the protocol and no more: no redirects, cookies, proxies or compression. Every other call
takes aiohttp (docs/decisions/0030). Sources: RFC 9112; RFC 9110, sections 9.2.2 and 15.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import cast

import aiohappyeyeballs
import httptools
from aiohttp.abc import AbstractResolver
from yarl import URL

# What is held of an answer that nobody takes; then the server is not read until somebody does.
_HELD_BYTES_MAX = 128 * 1024
_HEAD_BYTES_MAX = 64 * 1024
# A kept connection that the server closed meanwhile is told at once; what breaks later was a call.
_STALE_SECONDS = 1.0
# An address that does not answer in this time is tried beside the next one (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25
_JOINED_BYTES_MAX = 64 * 1024
_CONTINUES, _SUCCEEDS = 100, 200
# What follows the last event of a stream, its end, may take so long to come.
_END_SECONDS = 0.1


class Connection(asyncio.Protocol):
    """One connection, which carries one call at a time.

    What breaks is raised as ConnectionError, and silence as TimeoutError. Whoever holds it gives
    it back or aborts it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._asked = False
        self.closed = False
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        # By their names in lower case.
        self.headers: dict[bytes, bytes] = {}
        # Whether anything of the answer has come.
        self.heard = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._head_bytes = 0
        self._has_length = False
        self._headed = False
        self._done = False
        self._exceeds = False
        self._keeps = False
        self._paused = False
        self._error: Exception | None = None

    @property
    def reusable(self) -> bool:
        """Whether another call may go over it: the answer was read to its end."""
        whole = self._done and not self._pieces and not self._exceeds
        return whole and self._keeps and not self.closed

    async def ask(self, head: bytes, body: bytes, seconds: float) -> None:
        """Send a request and wait for the head of its answer."""
        transport = self._transport
        if transport is None or self.closed:
            raise ConnectionResetError("the connection is closed")
        self._begin()
        self._asked = True
        if len(body) <= _JOINED_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        while not self._headed:
            if self._error is not None:
                raise self._error
            await self._wait(seconds)

    async def read(self, seconds: float) -> bytes:
        """What has come of the body, and nothing at its end. seconds: the longest silence."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._done:
                return b""
            await self._wait(seconds)
        pieces, self._pieces, self._held = self._pieces, [], 0
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_all(self, seconds: float, bytes_max: int) -> bytes:
        """The whole body. seconds: for all of it. Raises ValueError when it is too long."""
        ends = self._loop.time() + seconds
        body = await self.read(seconds)
        if self._done and not self._pieces:
            return body
        pieces = [body]
        size = len(body)
        while pieces[-1]:
            if size > bytes_max:
                raise ValueError(f"the answer is longer than {bytes_max} bytes")
            pieces.append(await self.read(max(ends - self._loop.time(), 0)))
            size += len(pieces[-1])
        return b"".join(pieces)

    def rest(self) -> None:
        """No call goes over it for now."""
        self._asked = False
        self._begin()
        self.idle_since = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """Hang up; the server takes it as a sign to stop."""
        self._fail(ConnectionAbortedError("the connection was given up"))
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports keep asyncio's contract without being of its class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._asked or self._done:
            # It belongs to no call of ours, and must never become the answer to the next one.
            self._keeps = False
            self.abort()
            return
        self.heard = True
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"this is not HTTP: {error}"))
        if not self._headed and self._head_bytes > _HEAD_BYTES_MAX:
            self._fail(ConnectionError("the head of the answer is too long"))
        if self._held > _HELD_BYTES_MAX and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._headed and not self._has_length and exc is None and not self._error:
            # It said neither how long the answer is nor that it comes in chunks: this is its end.
            self._done = True
        elif self._asked and not self._done:
            self._fail(ConnectionResetError("the connection was closed"))
        self._wake()

    def on_message_begin(self) -> None:
        # A second answer to one request belongs to no call.
        self._exceeds = self._done

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._exceeds:
            return
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._has_length = True
        self.headers[name] = value

    def on_headers_complete(self) -> None:
        if self._exceeds:
            return
        self.status = self._parser.get_status_code()
        if _CONTINUES <= self.status < _SUCCEEDS:
            self.headers.clear()
            self._has_length = False
            return
        self._headed = True

    def on_body(self, body: bytes) -> None:
        if self._exceeds:
            return
        self._pieces.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        if not self._headed or self._exceeds:
            # "Continue" and the like: the answer is still to come.
            return
        self._done = True
        self._keeps = self._parser.should_keep_alive()

    def _fail(self, error: Exception) -> None:
        if not self._done and self._error is None:
            self._error = error
        self._wake()

    async def _wait(self, seconds: float) -> None:
        """Wait until something comes. One timer serves a whole call: each wait moves its end."""
        self._due = due = self._loop.time() + seconds
        timer = self._timer
        if timer is None or timer.when() > due:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(due, self._run_out)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _run_out(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._run_out)
        elif not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connections:
    """Those to one address; as many as there are calls at a time.

    idle_seconds: shorter than the server's own patience with a connection that nothing goes over.
    headers: what every request says. resolver: looks a name up anew for each connection, and may
    refuse what it means; None asks the operating system.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        idle_seconds: float,
        resolver: AbstractResolver | None = None,
    ) -> None:
        parts = URL(url)
        self._host = parts.raw_host or ""
        self._port = parts.port or 0
        self._path = parts.raw_path.rstrip("/").encode()
        self._tls = parts.scheme == "https"
        self._tls_context: ssl.SSLContext | None = None
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._resolver = resolver
        fixed = {
            "host": parts.host_port_subcomponent or "",
            "accept-encoding": "identity",
            **headers,
        }
        self._fixed = b"".join(_spell(name, value) for name, value in fixed.items())
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Connection:
        """Send a body, and return the connection once the head of the answer is there.

        seconds: for all of that but the connecting. Raises ConnectionError, OSError for a name that
        means nothing, and TimeoutError. The caller gives the connection back.
        """
        more = b"".join(_spell(name, value) for name, value in headers.items())
        head = b"POST %s%s HTTP/1.1\r\n%s%scontent-length: %d\r\n\r\n" % (
            self._path, path.encode(), self._fixed, more, len(body),
        )  # fmt: skip
        kept = self._take_idle()
        if kept is not None:
            began = asyncio.get_running_loop().time()
            try:
                return await self._ask(kept, head, body, seconds)
            except ConnectionError:
                took = asyncio.get_running_loop().time() - began
                if kept.heard or took > _STALE_SECONDS or self._closed:
                    raise
        return await self._ask(await self._connect(), head, body, seconds)

    def give_back(self, connection: Connection, *, ending: bool = False) -> None:
        """The call is over, whether its answer was read to the end or not.

        ending: nothing but the end can follow, and it is worth a moment's wait.
        """
        if ending and not connection.reusable and not self._closed:
            loop = asyncio.get_running_loop()
            loop.call_later(_END_SECONDS, self.give_back, connection)
            return
        self._busy.discard(connection)
        if not connection.reusable or self._closed:
            connection.abort()
            return
        connection.rest()
        self._idle.append(connection)
        if self._sweeping is None:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(self._idle_seconds, self._sweep)

    def close(self) -> None:
        """Hang up on all calls, and take no more."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()

    @property
    def idle(self) -> int:
        """How many are kept for calls to come."""
        return len(self._idle)

    async def _ask(
        self, connection: Connection, head: bytes, body: bytes, seconds: float
    ) -> Connection:
        self._busy.add(connection)
        try:
            await connection.ask(head, body, seconds)
        except BaseException:
            self._busy.discard(connection)
            connection.abort()
            raise
        return connection

    def _take_idle(self) -> Connection | None:
        """The one that was used last, so that a burst's connections grow old and are closed."""
        oldest = asyncio.get_running_loop().time() - self._idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def _sweep(self) -> None:
        self._sweeping = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_seconds
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since <= oldest):
            self._idle.popleft().abort()
        if self._idle:
            wait = self._idle[0].idle_since - oldest
            self._sweeping = loop.call_later(max(wait, 0.05), self._sweep)

    async def _connect(self) -> Connection:
        if self._closed:
            raise ConnectionAbortedError("the server is not asked any more")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                line = await aiohappyeyeballs.start_connection(
                    await self._find_addresses(),
                    happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
                    interleave=1,
                    loop=loop,
                )
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(loop),
                        sock=line,
                        ssl=self._context(),
                        server_hostname=self._host if self._tls else None,
                    )
                except BaseException:
                    line.close()
                    raise
        except TimeoutError:
            raise ConnectionError(f"no connection within {self._connect_seconds:g} s") from None
        return connection

    async def _find_addresses(self) -> list[aiohappyeyeballs.AddrInfoType]:
        loop = asyncio.get_running_loop()
        stream, tcp = socket.SOCK_STREAM, socket.IPPROTO_TCP
        try:
            ipaddress.ip_address(self._host)
        except ValueError:
            if self._resolver is not None:
                found = await self._resolver.resolve(self._host, self._port, socket.AF_UNSPEC)
                return [
                    (one["family"], stream, tcp, "", (one["host"], one["port"])) for one in found
                ]
        return [*await loop.getaddrinfo(self._host, self._port, type=stream, proto=tcp)]

    def _context(self) -> ssl.SSLContext | None:
        if self._tls and self._tls_context is None:
            self._tls_context = ssl.create_default_context()
        return self._tls_context


def _spell(name: str, value: str) -> bytes:
    """A header; raises ValueError for one that would begin another."""
    if any(mark in name + value for mark in "\r\n\0"):
        raise ValueError(f"the header {name} has a line break in it")
    return f"{name}: {value}\r\n".encode("latin-1")
