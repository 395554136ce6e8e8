"""Queues and priorities as the settings name them, in the words of the rules."""

from collections.abc import Sequence
from dataclasses import replace

from tokenyard.jobs.rules.fairness import QueueSpec, QueueTree, Reclaim, Within
from tokenyard.jobs.rules.profile import PROFILES, Profile
from tokenyard.jobs.rules.workload import UNLIMITED, Amount
from tokenyard.runtime.job_settings import JobSettings, QueueSettings
from tokenyard.vocabulary.errors import InvalidRequest, StartError
from tokenyard.vocabulary.ids import QueueName


def queue_specs(settings: JobSettings) -> list[QueueSpec]:
    """The tree; raises StartError when it is none."""
    specs = [_spec(queue) for queue in settings.queues]
    try:
        QueueTree(specs, UNLIMITED)
    except (InvalidRequest, KeyError) as error:
        raise StartError(f"jobs.queues is wrong: {error}") from None
    return specs


def leaf_names(specs: Sequence[QueueSpec]) -> list[QueueName]:
    """Queues that jobs can be in."""
    parents = {spec.parent for spec in specs}
    return [spec.name for spec in specs if spec.name not in parents]


def profile_named(settings: JobSettings) -> Profile:
    """The policy; raises StartError when there is none of that name."""
    profile = PROFILES.get(settings.profile)
    if profile is None:
        known = ", ".join(sorted(PROFILES))
        raise StartError(f"jobs.profile: there is no {settings.profile!r}; there are {known}.")
    return profile if settings.stretch < 0 else replace(profile, stretch=settings.stretch)


def priority_value(settings: JobSettings, name: str) -> int:
    """The value of a class; raises InvalidRequest."""
    for known in settings.priorities:
        if known.name == name:
            return known.value
    names = ", ".join(known.name for known in settings.priorities)
    raise InvalidRequest(
        f"There is no priority class {name!r}; there are {names}.", param="priority"
    )


def _spec(queue: QueueSettings) -> QueueSpec:
    return QueueSpec(
        QueueName(queue.name),
        parent=QueueName(queue.parent) if queue.parent else None,
        nominal=_gpus(queue.gpus),
        borrow_max=_gpus(queue.borrow_gpus),
        lend_max=_gpus(queue.lend_gpus),
        weight=queue.weight,
        within=Within.LOWER_PRIORITY,
        reclaim=Reclaim.ANY,
    )


def _gpus(count: float) -> Amount | None:
    """Only GPUs are governed by quota; CPUs and memory come with them."""
    if count < 0:
        return None
    return Amount(round(count * 1000), UNLIMITED.cpu_milli, UNLIMITED.memory_mib)
