"""How much of a node's free GPUs the typical job cannot use, and how a placement changes that.

Fragmentation is an expectation over a mix of typical requests: for each request that a node cannot
host, all its free GPU counts as lost; for one that it can host, the GPUs too small for it do.
This is the measure of Weng et al., USENIX ATC 2023 (section 4). All sums are integers (weights are
counts), so that a placement that changes nothing scores exactly 50. It knows no jobs or queues.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import exp

from tokenyard.jobs.rules.workload import GPU_MILLI, Request

# The rarest requests, up to this share of all jobs, are left out of the mix.
POPULARITY_PERCENT = 95
MEMO_ENTRIES_MAX = 200_000


def typical(
    requests: Iterable[Request] | Mapping[Request, int], percent: int = POPULARITY_PERCENT
) -> dict[Request, int]:
    """The most frequent requests that together make up `percent` of all, with their counts."""
    counts: Counter[Request] = Counter()
    for r, count in Counter(requests).items():
        milli = r.gpu_milli if r.gpus else GPU_MILLI
        counts[Request(r.gpus, milli, r.cpu_milli, 0, r.gpu_models)] += count
    ordered = sorted(
        counts.items(),
        key=lambda item: (item[1], item[0].cpu_milli, _milli(item[0]), item[0].gpus),
        reverse=True,
    )
    wanted = sum(counts.values()) * percent / 100
    chosen: dict[Request, int] = {}
    covered = 0
    for request, count in ordered:
        if covered >= wanted:
            break
        chosen[request] = count
        covered += count
    return chosen


def _milli(request: Request) -> int:
    return request.gpu_milli if request.gpus else 0


class _Group:
    """Requests that differ in CPU only: their weight as a step function of the CPU that is free."""

    __slots__ = ("gpus", "milli", "models", "steps")

    def __init__(self, gpus: int, milli: int, models: frozenset[str], steps: list[int]) -> None:
        self.gpus = gpus
        self.milli = milli
        self.models = models
        # steps[k]: total weight of requests whose CPU is among the k lowest thresholds.
        self.steps = steps


class Mix:
    """A fixed mix of typical requests, with memos of what it has been asked.

    The memos change no answer. `models` matter only if some request of the mix names a model.
    """

    def __init__(self, weights: dict[Request, int]) -> None:
        self.weight = sum(weights.values())
        self._thresholds = sorted({r.cpu_milli for r in weights if r.gpus})
        self._groups = _groups(weights, self._thresholds)
        self._by_model = any(group.models for group in self._groups)
        self._fragments: dict[tuple[str, int, tuple[int, ...]], int] = {}
        self._descents: dict[tuple[str, int, int, tuple[int, ...], int, int], int] = {}

    def fragment(self, model: str, cpu_free: int, gpus: Sequence[int]) -> float:
        """Expected thousandths of GPU on such a node that a typical request cannot use."""
        rank = bisect_right(self._thresholds, cpu_free)
        state = tuple(sorted(gpus))
        return self._weighed(model if self._by_model else "", rank, state) / max(self.weight, 1)

    def descent(self, model: str, cpu_free: int, gpus: Sequence[int], request: Request) -> int:
        """int(100 · sigmoid(fall in whole GPUs)) for placing one such member there."""
        before = bisect_right(self._thresholds, cpu_free)
        after = bisect_right(self._thresholds, cpu_free - request.cpu_milli)
        state = tuple(sorted(gpus))
        model = model if self._by_model else ""
        key = (model, before, after, state, request.gpus, request.gpu_milli)
        known = self._descents.get(key)
        if known is None:
            known = max(
                self._score(model, before, state, after, left) for left in _outcomes(state, request)
            )
            if len(self._descents) >= MEMO_ENTRIES_MAX:
                self._descents.clear()
            self._descents[key] = known
        return known

    def descend(self, model: str, cpu_free: int, gpus: Sequence[int], request: Request) -> int:
        """The GPU on which a share falls steepest; the lowest index of equals."""
        best_gpu, best_score = -1, -1
        before = bisect_right(self._thresholds, cpu_free)
        after = bisect_right(self._thresholds, cpu_free - request.cpu_milli)
        state = tuple(sorted(gpus))
        model = model if self._by_model else ""
        for gpu, free in enumerate(gpus):
            if free < request.gpu_milli:
                continue
            left = list(gpus)
            left[gpu] -= request.gpu_milli
            score = self._score(model, before, state, after, tuple(sorted(left)))
            if score > best_score:
                best_gpu, best_score = gpu, score
        return best_gpu

    def _score(
        self, model: str, before: int, state: tuple[int, ...], after: int, left: tuple[int, ...]
    ) -> int:
        fall = self._weighed(model, before, state) - self._weighed(model, after, left)
        gpus = fall / (max(self.weight, 1) * GPU_MILLI)
        return int(100 / (1 + exp(-gpus)))

    def _weighed(self, model: str, rank: int, state: tuple[int, ...]) -> int:
        """Fragmentation times the mix's weight, an exact integer; `state` ascending."""
        key = (model, rank, state)
        known = self._fragments.get(key)
        if known is not None:
            return known
        free = sum(state)
        lost = free * self.weight
        for group in self._groups:
            weight = group.steps[rank]
            if not weight or (group.models and model not in group.models):
                continue
            usable = [gpu for gpu in state if gpu >= group.milli]
            if len(usable) >= group.gpus:
                lost -= weight * sum(usable)
        if len(self._fragments) >= MEMO_ENTRIES_MAX:
            self._fragments.clear()
        self._fragments[key] = lost
        return lost


def _groups(weights: dict[Request, int], thresholds: list[int]) -> list[_Group]:
    by_gpu: dict[tuple[int, int, frozenset[str]], dict[int, int]] = {}
    for request, weight in weights.items():
        if request.gpus:
            key = (request.gpus, request.gpu_milli, request.gpu_models)
            at_cpu = by_gpu.setdefault(key, {})
            at_cpu[request.cpu_milli] = at_cpu.get(request.cpu_milli, 0) + weight
    groups = []
    for (gpus, milli, models), at_cpu in by_gpu.items():
        steps = [0]
        for threshold in thresholds:
            steps.append(steps[-1] + at_cpu.get(threshold, 0))
        groups.append(_Group(gpus, milli, models, steps))
    return groups


def _outcomes(state: tuple[int, ...], request: Request) -> list[tuple[int, ...]]:
    """What may be left of the GPUs, ascending, after one member has sat down."""
    if not request.gpus:
        return [state]
    if request.gpu_milli == GPU_MILLI:
        # Idle GPUs are at the end of the ascending state.
        kept = state[: len(state) - request.gpus]
        return [tuple(sorted(kept + (0,) * request.gpus))]
    outcomes = []
    for position, free in enumerate(state):
        if free >= request.gpu_milli and (position == 0 or state[position - 1] != free):
            left = [*state[:position], free - request.gpu_milli, *state[position + 1 :]]
            outcomes.append(tuple(sorted(left)))
    return outcomes
