"""One sentence for everyone who waits, with numbers, a prediction and what would help."""

import msgspec
import pytest

from tokenyard.jobs.rules.board import Board
from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.decisions import Blocked
from tokenyard.jobs.rules.explain import (
    Change,
    ChangeKind,
    Explanation,
    evidence_of,
    explain,
    forecast,
    sentence_of,
)
from tokenyard.jobs.rules.fairness import QueueSpec
from tokenyard.jobs.rules.gangs import Shortfall
from tokenyard.jobs.rules.plan import apply, plan
from tokenyard.jobs.rules.profile import FIFO, FIFO_EASY, Profile
from tokenyard.jobs.rules.workload import UNLIMITED, Amount, Job, Request, Role, Topology
from tokenyard.protocol.jobs import EvidenceBody
from tokenyard.vocabulary.errors import NotFound
from tokenyard.vocabulary.ids import JobId, NodeName, QueueName
from tokenyard.vocabulary.reasons import Reason

Q = QueueName("q")


def board_of(*gpus: int, profile: Profile = FIFO_EASY, nominal: int | None = None) -> Board:
    nodes = [
        Node(NodeName(f"n{i}"), gpus=count, cpu_milli=0, memory_mib=0, model="A" if i else "B",
             labels={"rack": f"r{i // 2}"})
        for i, count in enumerate(gpus)
    ]  # fmt: skip
    own = Amount(nominal * 1000, UNLIMITED[1], UNLIMITED[2]) if nominal is not None else None
    return Board(nodes, [QueueSpec(Q, nominal=own)], profile)


def put(board: Board, name: str, gpus: int, members: int = 1, seconds: float = 100.0,
        topology: Topology | None = None, models: str = "") -> JobId:  # fmt: skip
    request = Request(gpus=gpus, gpu_models=frozenset(models))
    job = Job(JobId(name), Q, (Role(request, members, members),), submitted_at=board.version,
              estimate_seconds=seconds, topology=topology)  # fmt: skip
    board.submit(job)
    return job.id


def words_of(told: Explanation) -> list[str]:
    return [change.words for change in told.what_if]


def start_all(board: Board, now: float = 0.0) -> None:
    apply(board, plan(board, now).decisions, now)


def test_too_little_is_free() -> None:
    board = board_of(8)
    put(board, "running", 6)
    start_all(board)
    first = put(board, "first", 4, seconds=50.0)
    second = put(board, "second", 8)
    told = explain(board, first, 10.0)
    assert told is not None
    assert told.reason is Reason.INSUFFICIENT_RESOURCES
    assert told.sentence == (
        "Too little is free: 0 of 1 members would fit, and 2 GPUs are free. It needs 1 x 4 GPUs."
    )
    assert told.what_if[0].words == "with 2 fewer GPUs per node it would start now"
    assert told.predicted_start == 100.0
    assert (told.ahead_count, told.ahead) == (0, ())
    told = explain(board, second, 10.0)
    assert told is not None
    assert (told.ahead_count, told.ahead) == (1, ("first",))
    # first runs from 100 to 150; only then are all 8 free.
    assert told.predicted_start == 150.0


def test_pieces_and_distance() -> None:
    board = board_of(4, 4, 4, 4)
    for number in range(4):
        put(board, f"running-{number}", 3)
    start_all(board)
    broken = put(board, "broken", 2)
    told = explain(board, broken, 1.0)
    assert told is not None
    assert told.reason is Reason.FRAGMENTED
    assert "4 GPUs" in told.sentence
    assert words_of(told) == ["with 1 fewer GPU per node it would start now"]
    board.finish(broken)
    apart = put(board, "apart", 1, 3, topology=Topology("rack"))
    told = explain(board, apart, 1.0)
    assert told is not None
    assert told.reason is Reason.TOPOLOGY
    assert "all on one rack (required topology)" in told.sentence
    assert told.what_if == (
        Change(
            ChangeKind.LOOSE_TOPOLOGY, "with rack as a preference it would start now", 0, "rack"
        ),
        Change(
            ChangeKind.FEWER_MEMBERS,
            "with a minimum of 2 worker members it would start now",
            2,
            "worker",
        ),
    )


def test_models_that_are_all_taken() -> None:
    board = board_of(2, 2)
    put(board, "running", 2, models="B")
    start_all(board)
    told = explain(board, put(board, "new", 2, models="B"), 1.0)
    assert told is not None
    assert "2 GPUs of model B" in told.sentence
    assert words_of(told) == ["with any GPU model it would start now"]


def test_quota() -> None:
    board = board_of(8, nominal=4)
    put(board, "running", 3)
    start_all(board)
    told = explain(board, put(board, "new", 2), 1.0)
    assert told is not None
    assert told.reason is Reason.QUEUE_QUOTA
    assert told.evidence == {
        "about": "new",
        "queue": Q,
        "queue_gpus_used": 3.0,
        "queue_gpus_left": 1.0,
    }
    assert told.sentence == (
        "Queue q has used up its quota and nobody has more to lend. The job needs 2 GPUs; "
        "the queue uses 3 GPUs and may use 1 more."
    )


def test_what_can_never_be() -> None:
    board = board_of(4, 4)
    job = put(board, "never", 8)
    found = explain(board, job, 0.0)
    assert found is not None
    assert found.reason is Reason.NEVER_FITS
    assert found.predicted_start is None


def test_order_that_is_kept() -> None:
    board = board_of(4, profile=FIFO)
    put(board, "running", 3)
    start_all(board)
    put(board, "big", 4)
    told = explain(board, put(board, "small", 1), 1.0)
    assert told is not None
    assert told.reason is Reason.BEHIND_IN_QUEUE
    assert told.sentence == "big is ahead in a queue that keeps its order."


def test_who_runs_or_is_unknown() -> None:
    board = board_of(4)
    job = put(board, "new", 1)
    assert explain(board, job, 0.0) is None
    assert forecast(board, job, 0.0) == 0.0
    with pytest.raises(NotFound):
        explain(board, JobId("ghost"), 0.0)


def test_explaining_changes_nothing() -> None:
    board = board_of(4)
    put(board, "running", 4)
    start_all(board)
    job = put(board, "new", 2)
    before = (board.version, board.cluster.gpu_free, [e.phase for e in board.entries.values()])
    explain(board, job, 0.0)
    assert before == (
        board.version, board.cluster.gpu_free, [e.phase for e in board.entries.values()]
    )  # fmt: skip


WAITING_REASONS = [
    Reason.QUEUE_QUOTA, Reason.BORROW_LIMIT, Reason.QUEUE_CAP, Reason.PRIORITY_CAP,
    Reason.INSUFFICIENT_RESOURCES, Reason.FRAGMENTED, Reason.TOPOLOGY, Reason.NODES_CLOSED,
    Reason.NEVER_FITS, Reason.RESERVED_FOR_OTHERS, Reason.BEHIND_IN_QUEUE,
    Reason.VICTIMS_STOPPING, Reason.NOT_BEFORE, Reason.DEPENDENCY, Reason.BACKING_OFF,
    Reason.CYCLE_LIMIT, Reason.GANG_INCOMPLETE,
]  # fmt: skip


@pytest.mark.parametrize("reason", WAITING_REASONS)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    board = board_of(4)
    put(board, "j", 1)
    blocked = Blocked(reason, JobId("other"), Shortfall(reason, "worker", 2, 1), until=5.0)
    sentence = sentence_of(board, board.entries[JobId("j")].job, blocked)
    assert sentence.endswith(".")
    assert "{" not in sentence
    # And its numbers fit what the API says of them.
    evidence = evidence_of(board, board.entries[JobId("j")].job, blocked)
    msgspec.convert(evidence, EvidenceBody)


def test_a_long_queue_is_reckoned_instead_of_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight GPUs and jobs of 8 x 100 s: the n-th of them starts after n times 100 seconds."""
    board = board_of(8)
    for number in range(50):
        last = put(board, f"j{number:02d}", 8)
    start_all(board)
    played = explain(board, last, 0.0)
    assert played is not None
    assert (played.ahead_count, played.prediction_is_exact) == (48, True)
    assert played.ahead[0] == "j01"
    monkeypatch.setattr("tokenyard.jobs.rules.explain.FORECAST_WORK_MAX", 10)
    reckoned = explain(board, last, 0.0)
    assert reckoned is not None
    assert not reckoned.prediction_is_exact
    assert reckoned.predicted_start == pytest.approx(played.predicted_start)
    assert reckoned.predicted_start == pytest.approx(4900.0)
    assert reckoned.ahead == played.ahead


@pytest.mark.parametrize(
    ("until", "words"),
    [(100.0, "before 100 s."), (1_796_073_895.4, "before 2026-11-30 21:24:55 UTC.")],
)
def test_a_moment_is_told_as_people_tell_it(until: float, words: str) -> None:
    board = board_of(1)
    put(board, "late", 1)
    job = board.entries[JobId("late")].job
    told = sentence_of(board, job, Blocked(Reason.NOT_BEFORE, job.id, until=until))
    assert told.endswith(words)


def test_one_of_a_thing_is_no_plural() -> None:
    board = board_of(1)
    request = Request(cpu_milli=1000)
    board.submit(Job(JobId("one"), Q, (Role(request),)))
    short = Shortfall(Reason.INSUFFICIENT_RESOURCES, needed=1, gpus_free=1.0)
    blocked = Blocked(short.reason, JobId("one"), short)
    told = sentence_of(board, board.entries[JobId("one")].job, blocked)
    assert told.endswith("and 1 GPU is free. It needs 1 x 1 CPU.")
