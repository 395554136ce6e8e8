"""A client of a Tokenyard's own API, for the command line: one server, one key.

It lives here because HTTP clients do; a Tokenyard is upstream of whoever asks it. Decides nothing:
errors are those of the server, with their reasons.
"""

from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec

from tokenyard.vocabulary.errors import TokenyardError, UpstreamFailed
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")
CALL_SECONDS_MAX = 30.0
SILENCE_SECONDS_MAX = 60.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024


class _Fault(msgspec.Struct):
    message: str
    code: str | None = None
    param: str | None = None


class _FaultBody(msgspec.Struct):
    error: _Fault


class ServerRefused(TokenyardError):
    """The server's own words."""

    def __init__(self, status: int, fault: _Fault) -> None:
        known = fault.code if fault.code in set(Reason) else Reason.UPSTREAM_FAILED
        super().__init__(fault.message, reason=Reason(known), param=fault.param)
        self.status = status


class ServerClient:
    """Speaks to one server with one key; raises ServerRefused and UpstreamFailed."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self.session = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS_MAX),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.session.close()

    async def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Any = None,
        query: Mapping[str, str | int | None] | None = None,
    ) -> T:
        """The answer to one request, decoded."""
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self.session.request(
                method,
                self.url + path,
                data=data,
                params=clean(query or {}),
                headers={"content-type": "application/json"},
            ) as answer:
                told = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self.unreached(error) from error
        if status != 200:
            raise refused(status, told)
        try:
            return msgspec.json.decode(told, type=kind)
        except msgspec.MsgspecError as error:
            raise UpstreamFailed(f"{self.url} answered what is not ours: {error}") from None

    def unreached(self, error: BaseException) -> UpstreamFailed:
        """What is told of a connection that could not be made, or broke."""
        told = str(error) or type(error).__name__
        return UpstreamFailed(
            f"{self.url} cannot be reached ({told}). Is `tokenyard up` running there? "
            "Another address: --url or TOKENYARD_URL.",
            reason=Reason.UPSTREAM_UNAVAILABLE,
        )

    async def download(
        self, path: str, query: Mapping[str, str | int | None]
    ) -> AsyncGenerator[bytes, None]:
        """A long answer as it comes."""
        silence = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS_MAX)
        try:
            async with self.session.get(
                self.url + path, params=clean(query), timeout=silence
            ) as answer:
                if answer.status != 200:
                    raise refused(answer.status, await answer.content.read(ANSWER_BYTES_MAX))
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self.unreached(error) from error


def clean(query: Mapping[str, str | int | None]) -> dict[str, str]:
    """A query without what was not given."""
    return {name: str(value) for name, value in query.items() if value is not None}


def refused(status: int, told: bytes) -> TokenyardError:
    """What the server refused, in its own words."""
    try:
        return ServerRefused(status, msgspec.json.decode(told, type=_FaultBody).error)
    except msgspec.MsgspecError:
        return UpstreamFailed(f"The server answered with status {status}.")
