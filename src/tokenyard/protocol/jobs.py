"""Jobs on the wire: what a job file says, and what is told of jobs, queues and nodes.

Our own API; its words are those of the rules. A job file is `JobSpec` in YAML, TOML or JSON.
Times are seconds since the epoch, or RFC 3339 with an offset; durations are seconds.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tokenyard.protocol.responses import Cost

Name = Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]+$")]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text = Annotated[str, Meta(max_length=131_072, pattern=r"^[^\x00]*$")]
Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Moment = Annotated[datetime, Meta(tz=True)] | Annotated[float, Meta(ge=0, le=1e12)]
Retries = Annotated[int, Meta(ge=0, le=1_000_000)]
Labels = Annotated[dict[Word, Annotated[str, Meta(max_length=200)]], Meta(max_length=32)]
Variables = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Text], Meta(max_length=256)
]
# Paths inside the job's working folder and what they hold.
WorkFiles = Annotated[
    dict[Annotated[str, Meta(pattern=r"^(?!/)(?!.*(^|/)\.\.(/|$))[^\x00]{1,200}$")], Text],
    Meta(max_length=64),
]


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a job file."""


class RoleSpec(_Wire, frozen=True):
    """Members of the gang that are alike; with `replicas_max` the gang is elastic."""

    name: Word = "worker"
    replicas: Annotated[int, Meta(ge=0, le=4_096)] = 1
    replicas_max: Annotated[int, Meta(ge=1, le=4_096)] | None = None
    gpus: Annotated[int, Meta(ge=0, le=1_024)] = 0
    # A share of one GPU, in thousandths.
    gpu_milli: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    cpus: Annotated[float, Meta(ge=0, le=4_096)] = 1.0
    memory_mib: Annotated[int, Meta(ge=0, le=67_108_864)] = 0
    gpu_models: tuple[Name, ...] = ()
    node_labels: Labels = {}


class TopologySpec(_Wire, frozen=True):
    """Where the members lie to each other: all on one value of the level, or spread over it."""

    level: Word = "node"
    required: bool = True
    spread: bool = False


class RetrySpec(_Wire, frozen=True):
    """How often a failure of each kind is tried again; None leaves the platform's default."""

    user_error: Retries | None = None
    out_of_memory: Retries | None = None
    node_lost: Retries | None = None
    preempted: Retries | None = None
    time_limit: Retries | None = None
    launch_failed: Retries | None = None


class CheckpointSpec(_Wire, frozen=True):
    """How the job is told to save its work, and what it saves by itself."""

    signal: Literal["TERM", "INT", "USR1", "USR2", "HUP"] = "TERM"
    # From the signal to the end by force.
    grace_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    # The job saves its work this often by itself; None: a stop loses everything.
    interval_seconds: Seconds | None = None
    # The job saves its work when it gets the signal.
    on_signal: bool = False
    restart_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class JobSpec(_Wire, frozen=True):
    """A job: what to run, what it needs, and how it may be treated."""

    name: Name
    type: Literal["training", "evaluation", "batch-inference", "serving", "other"] = "other"
    # A program and its arguments; no shell.
    command: Annotated[tuple[Text, ...], Meta(max_length=1_024)] = ()
    # Or a Python entry point, `module` or `module:function`.
    python: Annotated[str, Meta(pattern=r"^[\w.]+(:\w+)?$")] | None = None
    environment: Variables = {}
    files: WorkFiles = {}
    roles: Annotated[tuple[RoleSpec, ...], Meta(min_length=1, max_length=16)] = (RoleSpec(),)
    topology: TopologySpec | None = None
    queue: Word = "default"
    priority: Word = "normal"
    preemptible: bool = True
    # It takes members while it runs, up to `replicas_max`, whenever nobody waits for their room.
    grows: bool = False
    time_limit_seconds: Seconds | None = None
    estimate_seconds: Seconds | None = None
    retries: RetrySpec = RetrySpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    # Jobs that must have succeeded first.
    after: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    # So many jobs, told apart by TOKENYARD_ARRAY_INDEX.
    array: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    not_before: Moment | None = None
    # Given up when it has not succeeded by then.
    deadline: Moment | None = None
    labels: Labels = {}


class SeatBody(msgspec.Struct, kw_only=True):
    """Where one member sits."""

    rank: int
    role: str
    node: str
    gpus: list[int]


class EvidenceBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The numbers behind a reason to wait, as far as it has any; times are Unix seconds.

    about: the job that was tried and failed, or the one that is waited for.
    """

    about: str | None = None
    role: str | None = None
    members_needed: int | None = None
    members_possible: int | None = None
    gpus_needed: float | None = None
    gpus_free: float | None = None
    until: float | None = None
    planned_start: float | None = None
    queue: str | None = None
    queue_gpus_used: float | None = None
    queue_gpus_left: float | None = None


class ChangeBody(msgspec.Struct, kw_only=True):
    """A change of a job with which it would start now.

    `count` is of GPUs less for each member, or of members; `name` of a role or a topology's level.
    """

    kind: Literal["loose_topology", "any_model", "fewer_gpus", "fewer_members"]
    count: int
    name: str


class JobBody(msgspec.Struct, kw_only=True):
    """A job as it stands."""

    id: str
    name: str
    type: str
    queue: str
    priority: int
    # The class of that priority, or the nearest one below.
    priority_class: str
    state: str
    # For a job that waits, the one dominant reason for that; else what led to its state.
    reason: str | None
    detail: str | None
    # The same reason as a sentence with its numbers; null for a job that does not wait.
    why: str | None
    evidence: EvidenceBody | None
    attempt: int
    array_index: int | None
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    gpus: float
    seats: list[SeatBody]
    held_seats: list[SeatBody]
    exit_status: int | None
    preemptions: int
    failures: dict[str, int]
    saved_seconds: float
    # The step of its last checkpoint, as the job has told; null when it has not.
    saved_step: int | None
    gpu_seconds: float
    lost_gpu_seconds: float
    labels: dict[str, str]
    project: str
    user: str
    object: Literal["job"] = "job"
    # Only when one job is asked for.
    spec: JobSpec | None = None


class JobList(msgspec.Struct, kw_only=True):
    """A page of jobs, the newest first; the ids are empty strings when it is empty."""

    data: list[JobBody]
    has_more: bool
    first_id: str
    last_id: str
    object: Literal["list"] = "list"


class ChangePriorityRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Another priority class for a job that has not ended."""

    priority: Word


class ExplanationBody(msgspec.Struct, kw_only=True):
    """Why a job waits: one reason, its evidence, when it should start, and what would help.

    `prediction` says how the start was found: `played` forward job by job, or `reckoned` from the
    work that is ahead, which is done for long queues.
    """

    job: str
    state: str
    reason: str | None
    sentence: str
    evidence: EvidenceBody
    ahead_count: int
    ahead: list[str]
    predicted_start: float | None
    prediction: Literal["played", "reckoned"] | None
    # The step that it will go on from; null when it begins anew, or has not told.
    resumes_at_step: int | None
    # The same changes in words and as data.
    what_if: list[str]
    changes: list[ChangeBody]


class JobEventBody(msgspec.Struct, kw_only=True):
    """One thing that happened to a job."""

    number: int
    at: float
    kind: str
    attempt: int
    reason: str | None
    detail: str | None
    by: str | None
    # Of the checkpoint that a try went on from, or that a stop has left.
    step: int | None


class AttemptBody(msgspec.Struct, kw_only=True):
    """One try at a job."""

    number: int
    launched_at: float
    running_at: float | None
    ended_at: float | None
    outcome: str | None
    exit_status: int | None
    gpu_seconds: float
    lost_gpu_seconds: float
    # The steps that it went on from and that its last checkpoint holds, as the job has told.
    resumed_step: int | None
    saved_step: int | None
    # What it was billed; null until it is. What the platform lost by itself costs nothing.
    cost: Cost | None
    seats: list[SeatBody]


class TimelineBody(msgspec.Struct, kw_only=True):
    """What happened to a job, the oldest first, its attempts, and what they cost so far."""

    job: str
    events: list[JobEventBody]
    attempts: list[AttemptBody]
    cost: Cost | None


class LogBody(msgspec.Struct, kw_only=True):
    """A piece of a member's log; `next_offset` is where to go on."""

    job: str
    attempt: int
    rank: int
    text: str
    offset: int
    next_offset: int
    ended: bool


class WaitBody(msgspec.Struct, kw_only=True):
    """Waiting times of jobs that lately started, in seconds; null when there were none."""

    count: int
    p50: float | None
    p95: float | None
    max: float | None


class QueueBody(msgspec.Struct, kw_only=True):
    """A queue, who is in it and what it uses."""

    name: str
    parent: str | None
    weight: float
    gpus_nominal: float | None
    gpus_used: float
    waiting: int
    held: int
    running: int
    oldest_wait_seconds: float | None
    waits: dict[str, WaitBody]


class QueueList(msgspec.Struct, kw_only=True):
    """All queues."""

    data: list[QueueBody]
    object: Literal["list"] = "list"


class GpuBody(msgspec.Struct, kw_only=True):
    """One GPU of a node: how much of it is free (1 is all), who is on it, whom it is held for."""

    index: int
    free: float
    jobs: list[str]
    held_for: str | None


class NodeBody(msgspec.Struct, kw_only=True):
    """A node: what it has, what is free, and whether it takes members."""

    name: str
    state: str
    executor: str
    gpu_model: str
    gpus: int
    gpus_free: float
    cpus: float
    cpus_free: float
    memory_mib: int
    memory_mib_free: int
    labels: dict[str, str]
    jobs: list[str]
    devices: list[GpuBody]
    reason: str | None
    seen_at: float


class ClusterBody(msgspec.Struct, kw_only=True):
    """The cluster as the scheduler sees it."""

    nodes: list[NodeBody]
    gpus: int
    gpus_free: float
    # Free GPUs on nodes that are partly used.
    gpus_fragmented: float
    # Held for jobs whose victims are still stopping.
    gpus_held: float
    jobs: dict[str, int]
    failures: dict[str, int]
    preemptions: int
    lost_gpu_seconds: float
    cycle_seconds: float
    profile: str
    leader: bool


class ChangeNodeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`cordoned` takes nobody new; `draining` also stops who is there; `open` takes all again."""

    state: Literal["open", "cordoned", "draining"]


class HistoryPoint(msgspec.Struct, kw_only=True):
    """Values at one moment; what stands for what is in the names."""

    at: float
    values: dict[str, float]


class HistoryBody(msgspec.Struct, kw_only=True):
    """The history of queues and nodes, the oldest point first."""

    data: list[HistoryPoint]
    object: Literal["list"] = "list"


class JobFileCheck(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A job file to be checked; the ending of its name tells the format (YAML without one)."""

    text: Text
    name: Annotated[str, Meta(min_length=1, max_length=200)] = "job.yaml"


class JobFileMistake(msgspec.Struct, kw_only=True):
    """What is wrong with a job file; `line` counts from 1, null where no line is to blame."""

    message: str
    reason: str
    line: int | None
    param: str | None


class JobFileAnswer(msgspec.Struct, kw_only=True):
    """What a job file says, ready to be submitted, or the first mistake in it."""

    spec: JobSpec | None
    mistake: JobFileMistake | None
    object: Literal["job_file"] = "job_file"


class JobSample(msgspec.Struct, kw_only=True):
    """A job file to begin with; it runs on this cluster as it is."""

    name: str
    title: str
    text: str


class JobSampleList(msgspec.Struct, kw_only=True):
    """Job files to begin with."""

    data: list[JobSample]
    object: Literal["list"] = "list"
