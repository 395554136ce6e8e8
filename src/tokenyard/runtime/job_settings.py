"""The settings of the job scheduler: queues, classes, limits, and the machine's own GPUs."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class QueueSettings(Branch, frozen=True):
    """One queue of the tree; a queue that others name as their parent holds no jobs itself."""

    name: Annotated[Name, Meta(description="Its name.")]
    parent: Annotated[str, Meta(description="The queue above it; empty for none.")] = ""
    gpus: Annotated[
        float, Meta(ge=-1, description="Nominal quota of GPUs; -1 means no quota at all.")
    ] = -1
    borrow_gpus: Annotated[
        float, Meta(ge=-1, description="GPUs that it may borrow; -1 means no limit.")
    ] = -1
    lend_gpus: Annotated[
        float, Meta(ge=-1, description="GPUs that it may lend; -1 means no limit.")
    ] = -1
    weight: Annotated[float, Meta(ge=0, description="Its part in fair sharing.")] = 1.0


class PrioritySettings(Branch, frozen=True):
    """A named priority."""

    name: Annotated[Name, Meta(description="What jobs call it.")]
    value: Annotated[int, Meta(description="Higher comes first.")]


class NodeSettings(Branch, frozen=True):
    """What this machine offers to jobs; zero for CPUs and memory means all that is found."""

    name: Annotated[Name, Meta(description="Its name in lists.")] = "local"
    gpus: Annotated[
        int,
        Meta(
            ge=-1,
            le=1024,
            description="GPUs to declare as fakes, without a device; -1 asks NVML for real ones.",
        ),
    ] = -1
    gpu_model: Annotated[str, Meta(description="Model of declared GPUs.")] = "fake"
    cpus: Annotated[float, Meta(ge=0, description="CPUs for jobs.")] = 0
    memory_mib: Annotated[int, Meta(ge=0, description="Memory for jobs.")] = 0


class RaySettings(Branch, frozen=True):
    """A Ray cluster to run jobs on; all its nodes have this package installed."""

    address: Annotated[
        str, Meta(description="Of the cluster, as `ray.init` takes it; `auto` finds a local one.")
    ] = "auto"
    folder: Annotated[
        str, Meta(description="Folder of jobs on every node; kept for logs and work files.")
    ] = "/var/tmp/tokenyard-jobs"
    look_seconds: Annotated[
        Seconds, Meta(description="How often every node is asked what its members do.")
    ] = 0.5
    call_seconds: Annotated[
        Seconds, Meta(description="An order or a question that takes longer is given up.")
    ] = 5.0
    orphan_seconds: Annotated[
        Seconds,
        Meta(description="A node that no server has asked for so long ends its members."),
    ] = 120.0


class JobSettings(Branch, frozen=True):
    """The job scheduler."""

    local_execution: Annotated[
        str,
        Meta(
            description="Who may run commands on this machine: `off` nobody; `owner` operators: "
            "their web sessions, and their keys only while the gateway listens on a loopback "
            "address; `all` everybody who may submit jobs.",
            pattern="^(off|owner|all)$",
        ),
    ] = "owner"
    profile: Annotated[
        str, Meta(description="The policy by name, such as yard, fifo or quota_protecting.")
    ] = "yard"
    stretch: Annotated[
        float,
        Meta(
            description="How far short work goes ahead of long work: a job is put off by so many "
            "seconds for each second that it should run, divided by its GPUs (`yard`); less is "
            "nearer to first come, first served. -1: as the profile has it.",
            ge=-1,
        ),
    ] = -1.0
    queues: Annotated[
        tuple[QueueSettings, ...], Meta(description="The tree: `[[jobs.queues]]` in the file.")
    ] = (QueueSettings(name="default"),)
    priorities: Annotated[
        tuple[PrioritySettings, ...], Meta(description="The priority classes.")
    ] = (
        PrioritySettings(name="low", value=-100),
        PrioritySettings(name="normal", value=0),
        PrioritySettings(name="high", value=100),
        PrioritySettings(name="urgent", value=1000),
    )
    executor: Annotated[
        str,
        Meta(
            description="Where jobs run: `local` on this machine, `ray` on a Ray cluster.",
            pattern="^(local|ray)$",
        ),
    ] = "local"
    ray: Annotated[RaySettings, Meta(description="The Ray cluster.")] = RaySettings()
    node: Annotated[NodeSettings, Meta(description="This machine.")] = NodeSettings()
    tick_seconds: Annotated[
        Seconds, Meta(description="Longest wait between two cycles of the scheduler.")
    ] = 0.5
    lease_seconds: Annotated[
        Seconds, Meta(description="After this long without a sign of life a standby takes over.")
    ] = 10.0
    node_silence_seconds: Annotated[
        Seconds, Meta(description="A node that says nothing for this long is lost.")
    ] = 2.0
    launch_seconds: Annotated[
        Seconds, Meta(description="Members that have not come up in this time have failed to.")
    ] = 60.0
    back_off_seconds: Annotated[
        Seconds, Meta(description="Wait before a failed job is tried again, at first.")
    ] = 2.0
    back_off_seconds_max: Annotated[Seconds, Meta(description="The wait doubles up to this.")] = (
        600.0
    )
    quarantine_failures: Annotated[
        Count,
        Meta(description="Launch failures in a row after which a node takes nobody for a while."),
    ] = 3
    quarantine_seconds: Annotated[Seconds, Meta(description="How long that is.")] = 300.0
    open_jobs_max: Annotated[
        Count, Meta(description="Jobs of a project that have not ended; further ones get 429.")
    ] = 100_000
    array_max: Annotated[Count, Meta(description="Most elements of one array.")] = 10_000
    members_max: Annotated[Count, Meta(description="Most members of one gang.")] = 4_096
    grace_seconds_max: Annotated[
        Seconds, Meta(description="Longest grace between the checkpoint signal and the end.")
    ] = 3_600.0
    checked_file_bytes_max: Annotated[
        Count, Meta(description="Longest job file that is checked over HTTP.")
    ] = 65_536
    log_bytes_max: Annotated[
        Count, Meta(description="A member's log that grows past this is kept once, as `….1`.")
    ] = 16 * 1024 * 1024
    step_seconds: Annotated[
        Seconds, Meta(description="A step that a running job tells is stored at most this often.")
    ] = 5.0
    open_files_max: Annotated[Count, Meta(description="Files that a member may have open.")] = 4_096
    clerk_seconds: Annotated[
        Seconds, Meta(description="How often ended attempts are billed and old jobs forgotten.")
    ] = 5.0
    ended_kept_seconds: Annotated[
        Seconds, Meta(description="How long ended jobs are kept, with their folders and logs.")
    ] = 30 * 86_400.0
    dead_kept_seconds: Annotated[
        Seconds, Meta(description="The same for dead jobs, which wait to be looked at.")
    ] = 90 * 86_400.0
    lost_nodes_kept_seconds: Annotated[
        Seconds, Meta(description="A node that was lost for so long is no longer listed.")
    ] = 86_400.0
    sample_seconds: Annotated[
        Seconds, Meta(description="How often the history of queues and nodes gets a point.")
    ] = 30.0
    samples_kept_seconds: Annotated[
        Seconds, Meta(description="How long points of the history are kept.")
    ] = 30 * 86_400.0
