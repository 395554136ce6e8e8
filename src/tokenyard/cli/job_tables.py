"""Explanations, timelines, queues and nodes as text."""

import msgspec

from tokenyard.cli.jobs import lasted, moment, table, when
from tokenyard.protocol.jobs import ClusterBody, ExplanationBody, JobBody, QueueList, TimelineBody
from tokenyard.protocol.responses import Cost
from tokenyard.vocabulary.money import Money

# The longest name beside a value of an explanation, and values that are moments.
_WIDTH = len("members possible")
_MOMENTS = {"planned_start", "until"}


def say_explanation(told: ExplanationBody) -> str:
    """The sentence first, then what is behind it."""
    lines = [told.sentence]
    if told.reason is not None:
        lines.append(f"{'reason':{_WIDTH}} {told.reason}")
    for name, value in msgspec.to_builtins(told.evidence).items():
        shown = moment(value) if name in _MOMENTS and isinstance(value, float) else value
        lines.append(f"{name.replace('_', ' '):{_WIDTH}} {shown}")
    if told.ahead_count:
        jobs = "1 job" if told.ahead_count == 1 else f"{told.ahead_count} jobs"
        lines.append(f"{'ahead':{_WIDTH}} {jobs}: {', '.join(told.ahead)}")
    if told.predicted_start is not None:
        about = "about " if told.prediction == "reckoned" else ""
        lines.append(f"{'should start':{_WIDTH}} {about}{moment(told.predicted_start)}")
    if told.resumes_at_step is not None:
        lines.append(f"{'resumes at':{_WIDTH}} step {told.resumes_at_step}")
    lines.extend(f"{'what if':{_WIDTH}} {words}" for words in told.what_if)
    return "\n".join(lines)


def say_cancelled(told: JobBody) -> str:
    """Its state, and that it will not stay in it."""
    return told.state if told.state == "cancelled" else f"{told.state}, and told to stop"


def say_timeline(told: TimelineBody) -> str:
    """A line for each event, and what each try took and cost."""
    rows = [
        (when(one.at), str(one.attempt), one.kind, one.reason or "", one.detail or one.by or "")
        for one in told.events
    ]
    lines = [table(("at (UTC)", "try", "event", "reason", "detail"), rows)]
    for one in told.attempts:
        cost = "not billed yet" if one.cost is None else spell(one.cost)
        lost = f", {one.lost_gpu_seconds:.0f} lost" if one.lost_gpu_seconds else ""
        steps = ""
        if one.resumed_step is not None:
            steps += f", resumed at step {one.resumed_step}"
        if one.saved_step is not None:
            steps += f", saved at step {one.saved_step}"
        lines.append(f"try {one.number}: {one.gpu_seconds:.0f} GPU-seconds{lost}{steps}, {cost}")
    if told.cost is not None:
        lines.append(f"in all: {spell(told.cost)}")
    return "\n".join(lines)


def spell(cost: Cost) -> str:
    """An amount of money."""
    return str(Money(cost.nanos, cost.currency))


def say_queues(told: QueueList) -> str:
    """A row for each queue; waits are of all its classes together, the longest of each."""
    rows = []
    for queue in told.data:
        waits = list(queue.waits.values())
        p95 = max((one.p95 for one in waits if one.p95 is not None), default=None)
        longest = max((one.max for one in waits if one.max is not None), default=None)
        rows.append(
            (
                queue.name,
                queue.parent or "",
                "-" if queue.gpus_nominal is None else f"{queue.gpus_nominal:g}",
                f"{queue.gpus_used:g}",
                str(queue.waiting),
                str(queue.held),
                str(queue.running),
                lasted(queue.oldest_wait_seconds),
                lasted(p95),
                lasted(longest),
            )
        )
    head = ("queue", "parent", "quota", "used", "waiting", "held", "running", "oldest", "p95",
            "max")  # fmt: skip
    return table(head, rows)


def say_cluster(told: ClusterBody) -> str:
    """A row for each node, then the totals."""
    rows = [
        (
            node.name,
            node.state,
            node.gpu_model or "-",
            f"{node.gpus_free:g}/{node.gpus}",
            f"{node.cpus_free:g}/{node.cpus:g}",
            f"{node.memory_mib_free}/{node.memory_mib}",
            str(len(node.jobs)),
        )
        for node in told.nodes
    ]
    head = ("node", "state", "model", "GPUs free", "CPUs free", "MiB free", "jobs")
    states = ", ".join(f"{count} {state}" for state, count in sorted(told.jobs.items()))
    return "\n".join(
        (
            table(head, rows),
            "",
            f"GPUs {told.gpus_free:g} of {told.gpus} free, {told.gpus_fragmented:g} in pieces, "
            f"{told.gpus_held:g} held",
            f"jobs {states or 'none'}",
            f"{told.preemptions} preemptions, {told.lost_gpu_seconds:.0f} GPU-seconds lost, "
            f"last cycle {told.cycle_seconds * 1000:.1f} ms, profile {told.profile}"
            + ("" if told.leader else ", not the leader"),
        )
    )
