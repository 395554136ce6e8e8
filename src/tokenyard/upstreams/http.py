"""A model server at an HTTP address: our engine, vLLM, llama.cpp or any that speaks OpenAI's API.

Knows the wire and its failures; does not know which server to ask, nor what an answer costs. What
generates goes over `connections`, all else over aiohttp.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from tokenyard.protocol.models import Model, ModelList
from tokenyard.protocol.sse import SseCutter, SseEvent, SseParser, count_plain, frame
from tokenyard.protocol.turns import write_messages
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.telemetry.tracing import NO_TRACING, GenerationSpan, Tracing
from tokenyard.upstreams.connections import Connection, Connections
from tokenyard.upstreams.load import LoadReader
from tokenyard.upstreams.ports import GenerationCall, Health
from tokenyard.upstreams.stopping import Left, StoppableCall
from tokenyard.vocabulary.errors import (
    InvalidRequest,
    LimitReached,
    NotFound,
    TokenyardError,
    Unavailable,
    UpstreamFailed,
)
from tokenyard.vocabulary.load import Load
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason

_HEALTH_SECONDS = 2.0
_METRICS_BYTES_MAX = 1024 * 1024
_ABORT_SECONDS = 2.0
_REFUSAL_BYTES_MAX = 1024 * 1024
# The word of llama.cpp for a prompt that is too long.
_TOO_LONG = "exceed_context_size_error"
# How a server says that a stream is whole: OpenAI's word and Anthropic's.
_DONE = b"[DONE]"
_MESSAGE_STOP = "message_stop"
_OVERLOADED = 529
_BROKEN = (aiohttp.ClientError, ConnectionError, OSError, EOFError)


T = TypeVar("T")


class _Told(msgspec.Struct):
    """What a server says of a failure; all of it optional, `code` a word or a status."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class _Counted(msgspec.Struct):
    """The part of an answer to `/tokenize` that we read; the ids themselves may be many."""

    count: int


class _Tokens(msgspec.Struct):
    """The other part."""

    tokens: list[int]


class _Text(msgspec.Struct):
    """The answer to `/detokenize`."""

    prompt: str


class _Refused(msgspec.Struct):
    """The body of a refusal; some have the error itself for a body."""

    error: _Told | str | None = None
    message: str | None = None


class HttpUpstream:
    """One address. `url` is the server's root, without `/v1`.

    connecting: what a connector is told beside its limits, such as how names are looked up.
    headers: what every request says beside its key.
    continues: whether the server is ours, which goes on from given tokens.
    """

    def __init__(
        self,
        url: str,
        settings: UpstreamSettings,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        idle_seconds: float = 30.0,
        connecting: Mapping[str, Any] | None = None,
        tracing: Tracing = NO_TRACING,
        continues: bool = True,
    ) -> None:
        self._tracing = tracing
        # Whoever traces has to see every event.
        self._traces = tracing is not NO_TRACING
        self.continues = continues
        self._url = url.rstrip("/")
        self._settings = settings
        self._load = LoadReader()
        key = {"authorization": f"Bearer {api_key}"} if api_key else {}
        own = {**key, **(headers or {})}
        self._connections = Connections(
            self._url,
            headers={"content-type": "application/json", **own},
            connect_seconds=settings.connect_seconds,
            idle_seconds=idle_seconds,
            resolver=(connecting or {}).get("resolver"),
        )
        self._session = aiohttp.ClientSession(
            # Shorter than the server's own patience with an idle connection: one that it closes in
            # the moment in which we use it again is a failed call.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=idle_seconds, **(connecting or {})
            ),
            headers=own,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_seconds),
            auto_decompress=False,
        )

    async def health(self) -> Health:
        status = await self.status("/health")
        if status == 200:
            return Health.READY
        return Health.LOADING if status == 503 else Health.DOWN

    async def models(self) -> list[Model]:
        return (await self.fetch("/v1/models", ModelList)).data

    async def status(self, path: str) -> int | None:
        """The status that a GET gets; None when nobody answers in time. Never raises."""
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                async with self._session.get(f"{self._url}{path}", allow_redirects=False) as answer:
                    return answer.status
        except (*_BROKEN, TimeoutError):
            return None

    async def count_tokens(self, model: str, turns: Sequence[Message]) -> int | None:
        asked = {"model": model, "messages": write_messages(turns)}
        return (await self.fetch("/tokenize", _Counted, asked)).count

    async def tokenize(self, model: str, prompt: str | Sequence[Message]) -> list[int] | None:
        told = (
            {"prompt": prompt} if isinstance(prompt, str) else {"messages": write_messages(prompt)}
        )
        return (await self.fetch("/tokenize", _Tokens, {"model": model, **told})).tokens

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str | None:
        asked = {"model": model, "tokens": list(tokens)}
        return (await self.fetch("/detokenize", _Text, asked)).prompt

    async def fetch(self, path: str, kind: type[T], asked: object = None) -> T:
        """The JSON that a GET gets, or a POST of what is asked.

        Raises what the server refused, and UpstreamFailed.
        """
        method = "GET" if asked is None else "POST"
        try:
            async with asyncio.timeout(self._settings.connect_seconds + _HEALTH_SECONDS):
                async with self._session.request(
                    method, f"{self._url}{path}", json=asked, allow_redirects=False
                ) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise _refusal(answer.status, answer.headers.get("retry-after"), body)
            return msgspec.json.decode(body, type=kind)
        except (*_BROKEN, TimeoutError, msgspec.MsgspecError) as error:
            raise UpstreamFailed(f"The model server did not answer {path}: {error}.") from error

    async def stream(self, call: GenerationCall) -> AsyncGenerator[SseEvent, None]:
        parser = SseParser()
        async with self._open(call, streams=True) as (connection, span):
            while True:
                chunk = await self._next_chunk(connection)
                try:
                    events = parser.feed(chunk)
                except ValueError as error:
                    raise UpstreamFailed(f"The model server sent too much: {error}.") from error
                for event in events:
                    if event.data == _DONE or event.event == _MESSAGE_STOP:
                        return
                    span.see(event.data)
                    yield event

    async def frames(
        self, call: GenerationCall, stopping: StoppableCall | None = None
    ) -> AsyncGenerator[bytes, None]:
        """stopping: who may want to leave while it waits; then it raises Left."""
        cutter = SseCutter()
        async with self._open(call, streams=True, stopping=stopping) as (connection, span):
            while True:
                try:
                    chunk = await self._next_chunk(connection)
                except UpstreamFailed:
                    if stopping is not None and stopping.stopped:
                        raise Left from None
                    raise
                try:
                    block = cutter.feed(chunk)
                    if not block:
                        continue
                    if count_plain(block) and not self._traces:
                        yield block
                        continue
                    events = SseParser().feed(block)
                except ValueError as error:
                    raise UpstreamFailed(f"The model server sent too much: {error}.") from error
                for event in events:
                    if event.data == _DONE:
                        return
                    span.see(event.data)
                    yield frame(event.data)

    async def complete(self, call: GenerationCall) -> bytes:
        seconds = call.seconds_max or self._settings.first_token_seconds
        async with self._open(call) as (connection, span):
            try:
                body = await connection.read_all(seconds, self._settings.answer_bytes_max)
            except TimeoutError:
                raise _too_slow(seconds) from None
            except OSError as error:
                raise UpstreamFailed(f"The model server broke off: {error}.") from error
            except ValueError as error:
                raise UpstreamFailed(f"The model server sent too much: {error}.") from error
            span.see(body)
            return body

    async def load(self) -> Load | None:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                async with self._session.get(
                    f"{self._url}/metrics", allow_redirects=False
                ) as answer:
                    if answer.status != 200:
                        return None
                    text = await answer.content.read(_METRICS_BYTES_MAX)
        except (*_BROKEN, TimeoutError):
            return None
        return self._load.read(text.decode(errors="replace"))

    async def abort(self, request_id: str) -> None:
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                async with self._session.post(
                    f"{self._url}/v1/abort", json={"request_id": request_id}
                ):
                    pass
        except (*_BROKEN, TimeoutError):
            # Closing the connection stops it as well; this was the polite way.
            return

    async def close(self) -> None:
        self._connections.close()
        await self._session.close()

    @asynccontextmanager
    async def _open(
        self,
        call: GenerationCall,
        *,
        streams: bool = False,
        stopping: StoppableCall | None = None,
    ) -> AsyncIterator[tuple[Connection, GenerationSpan]]:
        """Send the call and wait for its headers, which come with the first token at the latest.

        Traced to its end.
        """
        span = self._tracing.generation(self._url, call.path, call.body)
        connection: Connection | None = None
        broken = True
        try:
            sending = self._send(call, span.headers)
            connection = await (sending if stopping is None else stopping.run(sending))
            if connection is None:
                raise Left
            if stopping is not None:
                stopping.leave_by(connection.abort)
            if connection.status != 200:
                raise await self._refusal(connection)
            kind = connection.headers.get(b"content-type", b"").lower()
            if streams and not kind.startswith(b"text/event-stream"):
                raise UpstreamFailed("The model server answered a stream request without a stream.")
            yield connection, span
            broken = False
        except TokenyardError as error:
            span.fail(error.reason)
            raise
        finally:
            if connection is not None:
                self._connections.give_back(connection, ending=not broken)
            span.end()

    async def _send(self, call: GenerationCall, more: Mapping[str, str]) -> Connection:
        seconds = call.seconds_max or self._settings.first_token_seconds
        headers = {"x-request-id": call.request_id, **more}
        try:
            return await self._connections.post(f"/v1{call.path}", call.body, headers, seconds)
        except TimeoutError:
            raise _too_slow(seconds) from None
        except OSError as error:
            raise Unavailable(
                "The model server cannot be reached; it is being started again.",
                reason=Reason.UPSTREAM_UNAVAILABLE,
                retry_after_seconds=2,
            ) from error

    async def _next_chunk(self, connection: Connection) -> bytes:
        seconds = self._settings.between_tokens_seconds
        try:
            chunk = await connection.read(seconds)
        except TimeoutError:
            raise _too_slow(seconds) from None
        except OSError as error:
            raise UpstreamFailed(f"The model server broke off: {error}.") from error
        if not chunk:
            raise UpstreamFailed("The model server ended its answer half-way.")
        return chunk

    async def _refusal(self, connection: Connection) -> TokenyardError:
        """What the server refused; of words that do not come to their end, nothing."""
        seconds = self._settings.between_tokens_seconds
        try:
            body = await connection.read_all(seconds, _REFUSAL_BYTES_MAX)
        except TimeoutError:
            return _too_slow(seconds)
        except OSError as error:
            return UpstreamFailed(f"The model server broke off: {error}.")
        except ValueError:
            body = b""
        wait = connection.headers.get(b"retry-after")
        return _refusal(connection.status, None if wait is None else wait.decode("latin-1"), body)


def _too_slow(seconds: float) -> UpstreamFailed:
    return UpstreamFailed(
        f"The model server was silent for {seconds:g} s.", reason=Reason.UPSTREAM_TIMEOUT
    )


def _refusal(status: int, retry_after: str | None, body: bytes) -> TokenyardError:
    """What the server refused, as an error of ours with its words, field and reason."""
    told = _read_refusal(body)
    if status in (401, 403):
        return UpstreamFailed("The model server refused the key that this gateway has for it.")
    if told is None or not told.message:
        return UpstreamFailed(f"The model server answered {status} without an explanation.")
    kinds: dict[int, type[TokenyardError]] = {
        404: NotFound,
        429: LimitReached,
        503: Unavailable,
        _OVERLOADED: Unavailable,
    }
    kind = kinds.get(status, InvalidRequest if status < 500 else UpstreamFailed)
    return kind(
        told.message,
        reason=_reason_of(told),
        param=told.param,
        retry_after_seconds=_retry_after(retry_after),
    )


def _read_refusal(body: bytes) -> _Told | None:
    try:
        refused = msgspec.json.decode(body, type=_Refused)
    except msgspec.MsgspecError:
        return None
    if isinstance(refused.error, _Told):
        return refused.error
    return _Told(message=refused.error or refused.message)


def _reason_of(told: _Told) -> Reason | None:
    if told.type == _TOO_LONG:
        return Reason.CONTEXT_LENGTH_EXCEEDED
    try:
        return Reason(str(told.code))
    except ValueError:
        return None


def _retry_after(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdigit() else None
