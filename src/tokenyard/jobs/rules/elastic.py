"""How many members of an elastic gang its queue's quota allows. Knows nothing of nodes."""

from tokenyard.jobs.rules.fairness import QueueTree
from tokenyard.jobs.rules.workload import Job


def members_allowed(queues: QueueTree, job: Job) -> tuple[int, ...] | None:
    """How many members of each role quota allows, at least the minimum; None for all."""
    if job.members_max == job.members_min:
        return None
    if queues.refuse(job.queue, job.amount_max, job.priority) is None:
        return None
    limits = [role.members_min for role in job.roles]
    total = job.amount_min
    for number, role in enumerate(job.roles):
        low, high = role.members_min, role.members_max
        while low < high:
            middle = (low + high + 1) // 2
            more = total.plus(role.request.amount.times(middle - role.members_min))
            if queues.refuse(job.queue, more, job.priority) is None:
                low = middle
            else:
                high = middle - 1
        limits[number] = low
        total = total.plus(role.request.amount.times(low - role.members_min))
    return tuple(limits)
