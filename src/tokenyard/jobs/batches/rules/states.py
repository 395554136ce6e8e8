"""Which status a batch may pass to, and what it ends as.

Knows statuses only. The statuses are those of OpenAI's `Batch`:

    validating ──► in_progress ──► finalizing ──► completed | expired | failed
        │               │
        ├──► failed     └──► cancelling ──► cancelled
        └──► cancelling
"""

from enum import StrEnum

from tokenyard.vocabulary.reasons import Reason


class BatchStatus(StrEnum):
    """Where a batch is."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


FINAL = frozenset(
    {BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
)
OPEN = frozenset(BatchStatus) - FINAL
# While a batch is in one of these, results of its lines are taken.
TAKING = frozenset({BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING})
CANCELLABLE = frozenset({BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS})

_NEXT = {
    BatchStatus.VALIDATING: {
        BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLING,
    },
    BatchStatus.IN_PROGRESS: {BatchStatus.FINALIZING, BatchStatus.CANCELLING},
    BatchStatus.FINALIZING: {BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.FAILED},
    BatchStatus.CANCELLING: {BatchStatus.CANCELLED},
}  # fmt: skip


def may_pass(before: BatchStatus, after: BatchStatus) -> bool:
    """Whether a batch may go from one status straight to the other."""
    return after in _NEXT.get(before, ())


def decide_end(status: BatchStatus, stopped: Reason | None) -> BatchStatus:
    """What a batch whose files are being written ends as.

    status: FINALIZING or CANCELLING; raises ValueError for others. stopped: why lines were left
    out. A batch that met its project's budget is completed, with a named error for each line.
    """
    if status is BatchStatus.CANCELLING:
        return BatchStatus.CANCELLED
    if status is not BatchStatus.FINALIZING:
        raise ValueError(f"a batch that is {status} does not end yet")
    if stopped is Reason.BATCH_EXPIRED:
        return BatchStatus.EXPIRED
    if stopped is Reason.FILE_LOST:
        return BatchStatus.FAILED
    return BatchStatus.COMPLETED
