"""What a batch may become."""

import pytest

from tokenyard.jobs.batches.rules.states import (
    CANCELLABLE,
    FINAL,
    OPEN,
    TAKING,
    BatchStatus,
    decide_end,
    may_pass,
)
from tokenyard.vocabulary.reasons import Reason

ALLOWED = {
    ("validating", "in_progress"),
    ("validating", "failed"),
    ("validating", "cancelling"),
    ("in_progress", "finalizing"),
    ("in_progress", "cancelling"),
    ("finalizing", "completed"),
    ("finalizing", "expired"),
    ("finalizing", "failed"),
    ("cancelling", "cancelled"),
}


@pytest.mark.parametrize("before", BatchStatus)
@pytest.mark.parametrize("after", BatchStatus)
def test_only_these_steps_are_legal(before: BatchStatus, after: BatchStatus) -> None:
    assert may_pass(before, after) is ((before, after) in ALLOWED)


def test_every_status_is_open_or_final_and_every_open_one_leads_to_an_end() -> None:
    assert set(BatchStatus) == OPEN | FINAL
    assert not OPEN & FINAL
    reached = set(FINAL)
    while True:
        more = {a for a in BatchStatus for b in reached if may_pass(a, b)} - reached
        if not more:
            break
        reached |= more
    assert reached == set(BatchStatus)
    assert not any(may_pass(end, after) for end in FINAL for after in BatchStatus)


def test_a_cancelled_batch_still_takes_what_is_on_its_way() -> None:
    assert {BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING} == TAKING
    assert all(may_pass(status, BatchStatus.CANCELLING) for status in CANCELLABLE)


@pytest.mark.parametrize(
    ("status", "stopped", "end"),
    [
        (BatchStatus.FINALIZING, None, BatchStatus.COMPLETED),
        (BatchStatus.FINALIZING, Reason.BATCH_EXPIRED, BatchStatus.EXPIRED),
        (BatchStatus.FINALIZING, Reason.INSUFFICIENT_BUDGET, BatchStatus.COMPLETED),
        (BatchStatus.FINALIZING, Reason.FILE_LOST, BatchStatus.FAILED),
        (BatchStatus.CANCELLING, Reason.BATCH_CANCELLED, BatchStatus.CANCELLED),
    ],
)
def test_ends(status: BatchStatus, stopped: Reason | None, end: BatchStatus) -> None:
    assert decide_end(status, stopped) is end
    assert may_pass(status, end)


@pytest.mark.parametrize("status", sorted(set(BatchStatus) - {"finalizing", "cancelling"}))
def test_what_is_not_ending_has_no_end(status: BatchStatus) -> None:
    with pytest.raises(ValueError, match="does not end yet"):
        decide_end(status, None)
