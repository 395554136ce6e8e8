"""A client of a Tokenyard's own job API, for the command line and for people's scripts.

    async with JobsClient("http://127.0.0.1:8400", key) as client:
        page = await client.submit(JobSpec(name="train", command=("python", "train.py")))

It lives here because HTTP clients do; a Tokenyard is upstream of whoever submits to it. Decides
nothing: errors are those of the server, with their reasons.
"""

from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec

from tokenyard.protocol.jobs import (
    ClusterBody,
    ExplanationBody,
    HistoryBody,
    JobBody,
    JobList,
    JobSpec,
    LogBody,
    NodeBody,
    QueueList,
    TimelineBody,
)
from tokenyard.protocol.sse import SseParser
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


class JobsClient:
    """Speaks to one server with one key; raises ServerRefused and UpstreamFailed."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._session = aiohttp.ClientSession(
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
        await self._session.close()

    async def submit(self, spec: JobSpec) -> JobList:
        """A new job, or all elements of an array."""
        return await self._call("POST", "/api/jobs", JobList, body=spec)

    async def list(self, **query: str | int | None) -> JobList:
        """A page: limit, after, state, queue, type, name."""
        return await self._call("GET", "/api/jobs", JobList, query=query)

    async def show(self, job: str) -> JobBody:
        """One job with its spec."""
        return await self._call("GET", f"/api/jobs/{job}", JobBody)

    async def explain(self, job: str) -> ExplanationBody:
        """Why it waits."""
        return await self._call("GET", f"/api/jobs/{job}/explain", ExplanationBody)

    async def timeline(self, job: str) -> TimelineBody:
        """What happened to it."""
        return await self._call("GET", f"/api/jobs/{job}/timeline", TimelineBody)

    async def cancel(self, job: str) -> JobBody:
        """Stop it."""
        return await self._call("POST", f"/api/jobs/{job}/cancel", JobBody)

    async def retry(self, job: str) -> JobBody:
        """Try it again."""
        return await self._call("POST", f"/api/jobs/{job}/retry", JobBody)

    async def set_priority(self, job: str, priority: str) -> JobBody:
        """Another class."""
        body = {"priority": priority}
        return await self._call("POST", f"/api/jobs/{job}/priority", JobBody, body=body)

    async def queues(self) -> QueueList:
        """All queues."""
        return await self._call("GET", "/api/queues", QueueList)

    async def cluster(self) -> ClusterBody:
        """Nodes and totals."""
        return await self._call("GET", "/api/cluster", ClusterBody)

    async def set_node(self, node: str, state: str) -> NodeBody:
        """Open, cordon or drain a node."""
        body = {"state": state}
        return await self._call("POST", f"/api/cluster/nodes/{node}", NodeBody, body=body)

    async def history(self, **query: int | None) -> HistoryBody:
        """Points over time: since, until, limit."""
        return await self._call("GET", "/api/cluster/history", HistoryBody, query=query)

    async def logs(self, job: str, **query: int | None) -> LogBody:
        """A piece of a log: attempt, rank, offset."""
        return await self._call("GET", f"/api/jobs/{job}/logs", LogBody, query=query)

    async def follow(self, job: str, **query: int | None) -> AsyncGenerator[LogBody, None]:
        """Pieces of a log as they are written, until the job has ended."""
        parser = SseParser()
        silence = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS_MAX)
        try:
            async with self._session.get(
                f"{self._url}/api/jobs/{job}/logs",
                params=_clean({**query, "follow": "true"}),
                timeout=silence,
            ) as answer:
                if answer.status != 200:
                    raise _refused(answer.status, await answer.content.read(ANSWER_BYTES_MAX))
                async for chunk in answer.content.iter_any():
                    for event in parser.feed(chunk):
                        yield msgspec.json.decode(event.data, type=LogBody)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreached(error) from error

    async def _call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Any = None,
        query: Mapping[str, str | int | None] | None = None,
    ) -> T:
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=data,
                params=_clean(query or {}),
                headers={"content-type": "application/json"},
            ) as answer:
                told = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreached(error) from error
        if status != 200:
            raise _refused(status, told)
        try:
            return msgspec.json.decode(told, type=kind)
        except msgspec.MsgspecError as error:
            raise UpstreamFailed(f"{self._url} answered what is not ours: {error}") from None

    def _unreached(self, error: BaseException) -> UpstreamFailed:
        told = str(error) or type(error).__name__
        return UpstreamFailed(
            f"{self._url} cannot be reached ({told}). Is `tokenyard up` running there? "
            "Another address: --url or TOKENYARD_URL.",
            reason=Reason.UPSTREAM_UNAVAILABLE,
        )


def _clean(query: Mapping[str, str | int | None]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}


def _refused(status: int, told: bytes) -> TokenyardError:
    try:
        return ServerRefused(status, msgspec.json.decode(told, type=_FaultBody).error)
    except msgspec.MsgspecError:
        return UpstreamFailed(f"The server answered with status {status}.")
