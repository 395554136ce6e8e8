"""How many members of an elastic gang its queue's quota allows. Knows nothing of nodes."""

from dataclasses import replace

from tokenyard.jobs.rules.fairness import QueueTree
from tokenyard.jobs.rules.gangs import seated_by_role
from tokenyard.jobs.rules.workload import Job, Seats, Topology


def room_to_grow(queues: QueueTree, job: Job, seats: Seats) -> Job | None:
    """The next member of a running gang as a job of its own; None when it may have no more.

    One at a time, so that several gangs that grow share what is free.
    """
    counts = seated_by_role(job, seats)
    for number, (role, count) in enumerate(zip(job.roles, counts, strict=True)):
        if count >= role.members_max:
            continue
        if queues.refuse(job.queue, role.request.amount, job.priority) is not None:
            continue
        wanted = [
            replace(one, members_min=int(n == number), members_max=1)
            for n, one in enumerate(job.roles)
        ]
        return replace(job, roles=tuple(wanted), topology=_spread_of(job))
    return None


def _spread_of(job: Job) -> Topology | None:
    # Nearness to those who sit is the caller's business.
    return job.topology if job.topology is not None and job.topology.spread else None


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
