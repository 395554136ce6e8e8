"""Which GPU-seconds of an attempt its owner pays for.

Whoever causes an end bears what is lost by it: an attempt that the platform ended (it preempted the
job, lost a node, could not launch) is paid only for the work that a checkpoint has kept. All other
attempts are paid in full, also those that the job spoiled itself. Does not know prices.
"""

from collections.abc import Mapping

from tokenyard.vocabulary.reasons import Reason

# The job's own ends; None is success.
_OWN = {
    None,
    Reason.USER_ERROR,
    Reason.OUT_OF_MEMORY,
    Reason.TIME_LIMIT,
    Reason.DEADLINE_PASSED,
    Reason.CANCELLED_BY_USER,
}


def billable_seconds(outcome: Reason | None, gpu_seconds: float, lost_gpu_seconds: float) -> float:
    """GPU-seconds to be paid, at least 0."""
    lost = 0.0 if outcome in _OWN else lost_gpu_seconds
    return max(gpu_seconds - lost, 0.0)


def split_by_kind(gpu_seconds: float, gpus_by_kind: Mapping[str, float]) -> dict[str, int]:
    """Thousandths of GPU-seconds for each kind of GPU, in proportion to how many it had.

    The parts add up to the whole, rounded; who had no GPUs gets nothing.
    """
    total = sum(gpus_by_kind.values())
    whole = round(gpu_seconds * 1000)
    if total <= 0 or whole <= 0:
        return {}
    found: dict[str, int] = {}
    passed, given = 0.0, 0
    for kind, gpus in sorted(gpus_by_kind.items()):
        passed += gpus
        upto = round(whole * passed / total)
        if upto > given:
            found[kind] = upto - given
        given = upto
    return found
