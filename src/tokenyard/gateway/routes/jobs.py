"""Jobs, queues and the cluster over HTTP."""

from collections.abc import AsyncGenerator

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.connection import EventStream, Patience
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_choice, read_int
from tokenyard.jobs.office import JobOffice
from tokenyard.jobs.records import JobFilter, NodeState
from tokenyard.jobs.rendering import (
    JobView,
    render_cluster,
    render_explanation,
    render_history,
    render_queues,
    render_timeline,
)
from tokenyard.jobs.rules.states import State
from tokenyard.jobs.spec import JobFileFault
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.jobs import (
    ChangeNodeRequest,
    ChangePriorityRequest,
    ClusterBody,
    ExplanationBody,
    HistoryBody,
    JobBody,
    JobFileAnswer,
    JobFileCheck,
    JobFileMistake,
    JobList,
    JobSampleList,
    JobSpec,
    LogBody,
    NodeBody,
    QueueList,
    TimelineBody,
)
from tokenyard.protocol.sse import frame
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import JobId, NodeName

_TAG = "Jobs"
_JOB = "/api/jobs/{job_id}"
_LIMIT = Query("limit", "Most entries of the page.", int, 1, 100)
_AFTER = Query("after", "Id of the last entry of the page before.")
_STATES = Query("state", "Only jobs in these states, divided by commas.")
_QUEUE = Query("queue", "Only jobs of this queue.")
_TYPE = Query("type", "Only jobs of this type.")
_NAME = Query("name", "Only jobs of this name.")
_ATTEMPT = Query("attempt", "Which attempt; the last one without it.", int, 1, 1_000_000)
_RANK = Query("rank", "Which member.", int, 0, 1_000_000)
_OFFSET = Query("offset", "The byte to begin with.", int, 0, 2**53)
_FOLLOW = Query("follow", "Send what is written as it comes.", bool, choices=("true", "false"))
_TAIL = Query("tail", "Begin so many bytes before the end, in place of an offset.", int, 1, 2**20)
_SEARCH = Query("search", "Only jobs whose name or id contains this.")
_NAMES = Query("names", "Only values whose names begin so, divided by commas.")
_SINCE = Query("since", "Seconds since the epoch.", int, 0, 2**40)
_UNTIL = Query("until", "Seconds since the epoch.", int, 0, 2**40)
_POINTS = Query("limit", "Most points; the newest are kept.", int, 1, 5_000)
_FOLLOW_SECONDS = 0.3


class JobRoutes:
    """Handlers of the job scheduler's API."""

    def __init__(
        self,
        *,
        doorway: Doorway,
        office: JobOffice,
        tasks: TaskSupervisor,
        clock: Clock,
        heartbeat_seconds: float,
    ) -> None:
        self._doorway = doorway
        self._queue = office.queue
        self._view = JobView(office.queue.insight, office.queue.observer, clock)
        self._profile = office.settings.profile
        self._tasks = tasks
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [*self._about_jobs(), *self._about_the_cluster()]

    def _about_jobs(self) -> list[Operation]:
        return [
            Operation(
                "POST", "/api/jobs", "submitJob", "Submit a job, or an array of them.",
                self._submit, _TAG, JobSpec, JobList, errors=(413, 429, 503),
                permission=Permission.JOBS_WRITE, replays=True,
            ),
            Operation(
                "GET", "/api/jobs", "listJobs", "The project's jobs, the newest first.",
                self._list, _TAG, answer=JobList,
                query=(_LIMIT, _AFTER, _STATES, _QUEUE, _TYPE, _NAME, _SEARCH),
                permission=Permission.JOBS_READ,
            ),
            Operation(
                "GET", _JOB, "getJob", "A job as it stands, with its spec.",
                self._get, _TAG, answer=JobBody, errors=(404,), permission=Permission.JOBS_READ,
            ),
            Operation(
                "GET", f"{_JOB}/explain", "explainJob",
                "Why a job waits, when it should start, and what would help.",
                self._explain, _TAG, answer=ExplanationBody, errors=(404,),
                permission=Permission.JOBS_READ,
            ),
            Operation(
                "GET", f"{_JOB}/timeline", "getJobTimeline", "What happened to a job.",
                self._timeline, _TAG, answer=TimelineBody, errors=(404,),
                permission=Permission.JOBS_READ,
            ),
            Operation(
                "GET", f"{_JOB}/logs", "getJobLogs", "What a member has written.",
                self._logs, _TAG, answer=LogBody, streams=LogBody,
                query=(_ATTEMPT, _RANK, _OFFSET, _TAIL, _FOLLOW), errors=(404,),
                permission=Permission.JOBS_READ,
            ),
            Operation(
                "POST", f"{_JOB}/cancel", "cancelJob", "Stop a job, or take it out of its queue.",
                self._cancel, _TAG, answer=JobBody, errors=(404, 409),
                permission=Permission.JOBS_WRITE,
            ),
            Operation(
                "POST", f"{_JOB}/retry", "retryJob", "Try a failed or dead job again.",
                self._retry, _TAG, answer=JobBody, errors=(404, 409),
                permission=Permission.JOBS_WRITE, replays=True,
            ),
            Operation(
                "POST", f"{_JOB}/priority", "setJobPriority", "Change a job's priority class.",
                self._set_priority, _TAG, ChangePriorityRequest, JobBody, errors=(404, 409, 413),
                permission=Permission.JOBS_WRITE,
            ),
            Operation(
                "POST", "/api/job-files/check", "checkJobFile",
                "Read a job file, and say what is wrong with it and where.",
                self._check_file, _TAG, JobFileCheck, JobFileAnswer, errors=(413,),
                permission=Permission.JOBS_READ,
            ),
            Operation(
                "GET", "/api/job-files/samples", "listJobSamples",
                "Job files to begin with, which run on this cluster.",
                self._samples, _TAG, answer=JobSampleList, permission=Permission.JOBS_READ,
            ),
        ]  # fmt: skip

    def _about_the_cluster(self) -> list[Operation]:
        return [
            Operation(
                "GET", "/api/queues", "listQueues", "Queues, who waits in them, and how long.",
                self._queues, _TAG, answer=QueueList, permission=Permission.CLUSTER_READ,
            ),
            Operation(
                "GET", "/api/cluster", "getCluster", "Nodes, what is free, and what failed.",
                self._cluster, _TAG, answer=ClusterBody, permission=Permission.CLUSTER_READ,
            ),
            Operation(
                "POST", "/api/cluster/nodes/{node}", "setNode", "Open, cordon or drain a node.",
                self._set_node, _TAG, ChangeNodeRequest, NodeBody, errors=(404, 413),
                permission=Permission.CLUSTER_MANAGE,
            ),
            Operation(
                "GET", "/api/cluster/history", "getClusterHistory",
                "Queues and nodes over time.",
                self._history, _TAG, answer=HistoryBody, query=(_SINCE, _UNTIL, _POINTS, _NAMES),
                permission=Permission.CLUSTER_READ,
            ),
        ]  # fmt: skip

    async def _submit(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        spec = decode_request(JobSpec, await self._doorway.body(request))
        return json_answer(self._view.page(await self._queue.submit(caller, spec)), status=200)

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = request.query_params
        after = asked.get(_AFTER.name)
        wanted = JobFilter(
            states=_read_states(asked.get(_STATES.name)),
            queue=asked.get(_QUEUE.name),
            type=asked.get(_TYPE.name),
            name=asked.get(_NAME.name),
            search=asked.get(_SEARCH.name),
        )
        found, more = await self._queue.page(
            caller,
            wanted,
            limit=read_int(request, _LIMIT) or 20,
            after=None if after is None else JobId(after),
        )
        return json_answer(self._view.page(found, more))

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        record = await self._queue.get(caller, _id(request))
        return json_answer(self._view.job(record, with_spec=True))

    async def _explain(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(render_explanation(*await self._queue.explain(caller, _id(request))))

    async def _timeline(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        record = await self._queue.get(caller, _id(request))
        events, attempts = await self._queue.timeline(caller, record.id)
        return json_answer(render_timeline(record, events, attempts, self._clock.now()))

    async def _logs(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        job = (await self._queue.get(caller, _id(request))).id
        attempt, rank = read_int(request, _ATTEMPT), read_int(request, _RANK) or 0
        tail = read_int(request, _TAIL)
        offset = (read_int(request, _OFFSET) or 0) if tail is None else -tail
        if read_choice(request, _FOLLOW, "false") == "false":
            return json_answer(await self._read(caller, job, attempt, rank, offset))
        return EventStream(
            self._follow(caller, job, attempt, rank, offset),
            name=f"log of {job}",
            tasks=self._tasks,
            patience=Patience(self._heartbeat_seconds),
        )

    async def _read(
        self, caller: Principal, job: JobId, attempt: int | None, rank: int, offset: int
    ) -> LogBody:
        read = await self._queue.read_log(caller, job, attempt=attempt, rank=rank, offset=offset)
        piece = read.piece
        return LogBody(
            job=job,
            attempt=read.member.attempt,
            rank=rank,
            text=piece.text,
            offset=piece.offset,
            next_offset=piece.next_offset,
            ended=read.ended and not piece.text,
        )

    async def _follow(
        self, caller: Principal, job: JobId, attempt: int | None, rank: int, offset: int
    ) -> AsyncGenerator[bytes, None]:
        """Pieces until the member's attempt has ended; a later attempt begins at its start."""
        current: int | None = attempt
        while True:
            body = await self._read(caller, job, attempt, rank, offset)
            if current is not None and attempt is None and body.attempt != current:
                current, offset = body.attempt, 0
                continue
            current = body.attempt
            if body.text or body.ended:
                yield frame(msgspec.json.encode(body), id=str(body.next_offset))
            if body.ended and (attempt is not None or await self._is_over(caller, job)):
                return
            offset = body.next_offset
            if not body.text:
                await self._clock.sleep(_FOLLOW_SECONDS)

    async def _is_over(self, caller: Principal, job: JobId) -> bool:
        record = await self._queue.get(caller, job)
        return record.state in {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.DEAD}

    async def _cancel(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(self._view.job(await self._queue.cancel(caller, _id(request))))

    async def _retry(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(self._view.job(await self._queue.retry(caller, _id(request))))

    async def _set_priority(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(ChangePriorityRequest, await self._doorway.body(request))
        changed = await self._queue.set_priority(caller, _id(request), asked.priority)
        return json_answer(self._view.job(changed))

    async def _check_file(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        asked = decode_request(JobFileCheck, await self._doorway.body(request))
        try:
            spec = await self._queue.check_file(asked.text, asked.name)
        except InvalidRequest as error:
            line = error.line if isinstance(error, JobFileFault) else None
            mistake = JobFileMistake(
                message=error.message, reason=error.reason.value, line=line, param=error.param
            )
            return json_answer(JobFileAnswer(spec=None, mistake=mistake))
        return json_answer(JobFileAnswer(spec=spec, mistake=None))

    async def _samples(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        return json_answer(JobSampleList(data=self._queue.samples()))

    async def _queues(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        queue = self._queue
        return json_answer(render_queues(queue.scheduler.roster, queue.observer, self._clock.now()))

    async def _cluster(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        return json_answer(await self._see_cluster())

    async def _see_cluster(self) -> ClusterBody:
        scheduler = self._queue.scheduler
        return render_cluster(
            scheduler.roster,
            await self._queue.nodes(),
            self._queue.observer,
            now=self._clock.now(),
            profile=self._profile,
            leader=scheduler.leads,
        )

    async def _set_node(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        asked = decode_request(ChangeNodeRequest, await self._doorway.body(request))
        name = NodeName(request.path_params["node"])
        await self._queue.set_node(name, NodeState(asked.state))
        cluster = await self._see_cluster()
        return json_answer(next(node for node in cluster.nodes if node.name == name))

    async def _history(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        until = read_int(request, _UNTIL)
        samples = await self._queue.history(
            since=read_int(request, _SINCE) or 0,
            until=self._clock.now() + 1 if until is None else until,
            limit=read_int(request, _POINTS) or 500,
        )
        names = request.query_params.get(_NAMES.name, "")
        prefixes = tuple(name for name in names.split(",") if name)
        return json_answer(render_history(samples, prefixes))


def _id(request: Request) -> JobId:
    return JobId(request.path_params["job_id"])


def _read_states(text: str | None) -> frozenset[State] | None:
    if text is None:
        return None
    try:
        return frozenset(State(word) for word in text.split(","))
    except ValueError:
        known = ", ".join(State)
        raise InvalidRequest(f"'state' holds words of: {known}.", param="state") from None
