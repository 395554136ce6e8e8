"""Whom the REPLACE profiles lift from their seats, to be tried again in order with those who wait.

Armada evicts what its rules allow and schedules anew; shortest-first policies with preemption do
the same. So preemption and placement are one algorithm. This decides only who may be lifted.
"""

from tokenyard.jobs.rules.board import Board, Entry
from tokenyard.jobs.rules.decisions import Claim, Decision, Start
from tokenyard.jobs.rules.profile import Order
from tokenyard.jobs.rules.workload import Job
from tokenyard.vocabulary.ids import QueueName
from tokenyard.vocabulary.reasons import Reason


def above_share(board: Board, now: float) -> list[Entry]:
    """Running jobs of queues that use more than their fair share; of all when shares do not count.

    A fair share is the queue's part of the weights of all queues that want anything now.
    """
    profile, queues = board.profile, board.queues
    active = {line.queue for line in board.lines.values() if line.entries}
    active |= {entry.job.queue for entry in board.running.values()}
    weights = {name: queues.spec(name).weight for name in active}
    whole = sum(weights.values())
    counts = Order.SHARE in profile.order
    above: dict[QueueName, bool] = {}
    for name, weight in weights.items():
        fair = weight / whole if whole else 1.0
        used, capacity = queues.used(name), queues.capacity
        share = max(used[r] / capacity[r] if capacity[r] else 0.0 for r in range(3))
        above[name] = not counts or share > fair * profile.protected_fraction
    return [
        entry
        for entry in board.running.values()
        if above[entry.job.queue]
        and _has_run(entry, board, now)
        and entry.job.preemptions < profile.preemptions_max
    ]


def less_urgent(board: Board, now: float) -> list[Entry]:
    """Running jobs with a lower priority than some waiting job has."""
    waiting = (line.entries[0].job.priority for line in board.lines.values() if line.entries)
    urgent = max(waiting, default=None)
    if urgent is None:
        return []
    return [
        entry
        for entry in board.running.values()
        if entry.job.priority < urgent and _has_run(entry, board, now)
    ]


def _has_run(entry: Entry, board: Board, now: float) -> bool:
    shortest = board.profile.protected_seconds(entry.job.preemptions)
    # Half gangs are settled by their own rules, in bounded time.
    whole = entry.incomplete_since is None
    return whole and entry.job.preemptible and now - entry.started_at >= shortest


def reason_for(board: Board, decisions: list[Decision], job: Job) -> Reason:
    """Why a lifted job found no seat: somebody more urgent, fairness, or the order itself."""
    if Order.SHARE not in board.profile.order:
        return Reason.PREEMPTED_BY_ORDER
    urgent = any(
        board.entries[decision.job].job.priority > job.priority
        for decision in decisions
        if isinstance(decision, Start | Claim)
    )
    return Reason.PREEMPTED_BY_PRIORITY if urgent else Reason.PREEMPTED_FOR_FAIR_SHARE
