"""An independent board in the same state, for looking ahead and for proof.

Built from nothing through the board's own deltas, so that it also shows that a warm board holds
nothing that matters: plan() decides the same on both (tested so).
"""

from tokenyard.jobs.rules.board import Board, Entry, Phase
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.gangs import Floor
from tokenyard.jobs.rules.profile import Profile


def twin_of(board: Board, profile: Profile | None = None) -> Board:
    """A copy that shares nothing mutable; under another profile if one is given."""
    nodes = []
    for node in board.cluster.nodes:
        copy = Node(
            node.name,
            gpus=len(node.gpus),
            cpu_milli=node.cpu_milli,
            memory_mib=node.memory_mib,
            model=node.model,
            labels=node.labels,
        )
        copy.open = node.open
        nodes.append(copy)
    twin = Board(nodes, board.specs, profile or board.profile)
    for entry in sorted(board.entries.values(), key=lambda entry: entry.seq):
        _enter(twin, entry)
    # The one thing that a board has learned and that its jobs do not tell.
    twin.floor = Floor(twin.cluster, board.floor.policy)
    twin.version = board.version
    return twin


def _enter(twin: Board, entry: Entry) -> None:
    job_id = entry.job.id
    copy = twin.submit(entry.job, entry.unmet)
    copy.attempt = entry.attempt
    if entry.phase is Phase.HELD:
        return
    twin.ripen(job_id)
    if entry.phase in {Phase.RUNNING, Phase.STOPPING}:
        twin.start(job_id, entry.seats, entry.started_at)
        copy.attempt = entry.attempt
        copy.incomplete_since = entry.incomplete_since
        if entry.incomplete_since is not None:
            twin.incomplete[job_id] = copy
        if entry.phase is Phase.STOPPING:
            twin.stop(job_id)
    elif entry.phase is Phase.CLAIMING:
        twin.claim(job_id, entry.seats)
