"""A client of a Tokenyard's own job API, for the command line and for people's scripts.

async with JobsClient("http://127.0.0.1:8400", key) as client:
    page = await client.submit(JobSpec(name="train", command=("python", "train.py")))
"""

from collections.abc import AsyncGenerator

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
from tokenyard.upstreams.server_client import (
    ANSWER_BYTES_MAX,
    SILENCE_SECONDS_MAX,
    ServerClient,
    clean,
    refused,
)


class JobsClient(ServerClient):
    """What can be asked about jobs; raises ServerRefused and UpstreamFailed."""

    async def submit(self, spec: JobSpec) -> JobList:
        """A new job, or all elements of an array."""
        return await self.call("POST", "/api/jobs", JobList, body=spec)

    async def list(self, **query: str | int | None) -> JobList:
        """A page: limit, after, state, queue, type, name."""
        return await self.call("GET", "/api/jobs", JobList, query=query)

    async def show(self, job: str) -> JobBody:
        """One job with its spec."""
        return await self.call("GET", f"/api/jobs/{job}", JobBody)

    async def explain(self, job: str) -> ExplanationBody:
        """Why it waits."""
        return await self.call("GET", f"/api/jobs/{job}/explain", ExplanationBody)

    async def timeline(self, job: str) -> TimelineBody:
        """What happened to it."""
        return await self.call("GET", f"/api/jobs/{job}/timeline", TimelineBody)

    async def cancel(self, job: str) -> JobBody:
        """Stop it."""
        return await self.call("POST", f"/api/jobs/{job}/cancel", JobBody)

    async def retry(self, job: str) -> JobBody:
        """Try it again."""
        return await self.call("POST", f"/api/jobs/{job}/retry", JobBody)

    async def set_priority(self, job: str, priority: str) -> JobBody:
        """Another class."""
        body = {"priority": priority}
        return await self.call("POST", f"/api/jobs/{job}/priority", JobBody, body=body)

    async def queues(self) -> QueueList:
        """All queues."""
        return await self.call("GET", "/api/queues", QueueList)

    async def cluster(self) -> ClusterBody:
        """Nodes and totals."""
        return await self.call("GET", "/api/cluster", ClusterBody)

    async def set_node(self, node: str, state: str) -> NodeBody:
        """Open, cordon or drain a node."""
        body = {"state": state}
        return await self.call("POST", f"/api/cluster/nodes/{node}", NodeBody, body=body)

    async def history(self, **query: int | None) -> HistoryBody:
        """Points over time: since, until, limit."""
        return await self.call("GET", "/api/cluster/history", HistoryBody, query=query)

    async def logs(self, job: str, **query: int | None) -> LogBody:
        """A piece of a log: attempt, rank, offset."""
        return await self.call("GET", f"/api/jobs/{job}/logs", LogBody, query=query)

    async def follow(self, job: str, **query: int | None) -> AsyncGenerator[LogBody, None]:
        """Pieces of a log as they are written, until the job has ended."""
        parser = SseParser()
        silence = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS_MAX)
        try:
            async with self.session.get(
                f"{self.url}/api/jobs/{job}/logs",
                params=clean({**query, "follow": "true"}),
                timeout=silence,
            ) as answer:
                if answer.status != 200:
                    raise refused(answer.status, await answer.content.read(ANSWER_BYTES_MAX))
                async for chunk in answer.content.iter_any():
                    for event in parser.feed(chunk):
                        yield msgspec.json.decode(event.data, type=LogBody)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self.unreached(error) from error
