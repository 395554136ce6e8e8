"""Which of the nodes that fit is best for one member, and which of its GPUs.

Each policy is a score: higher is better, and equal scores go to the lowest node index. That tie
rule is fixed, because results depend on it by several points. Scores are pure functions of one
node's state, so that an index can keep them; `RandomFit` draws among the nodes that fit instead.
"""

from dataclasses import dataclass
from typing import Protocol

from tokenyard.jobs.rules.cluster import Node
from tokenyard.jobs.rules.fragmentation import Mix
from tokenyard.jobs.rules.workload import GPU_MILLI, Request

_MASK = (1 << 64) - 1


class Policy(Protocol):
    """A way to prefer nodes and GPUs."""

    @property
    def draws(self) -> int | None:
        """A seed when the node is drawn at random; None when the best score wins."""
        ...

    def score(self, node: Node, request: Request) -> float:
        """How good the node is for one such member; called only where it fits."""
        ...

    def pick(self, node: Node, request: Request) -> tuple[int, ...]:
        """The GPUs to use there."""
        ...


def mix_bits(seed: int, counter: int) -> int:
    """The counter-th draw of a seed, 64 bits (SplitMix64, Steele et al. 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + (counter + 1) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def pick_tightest(node: Node, request: Request) -> tuple[int, ...]:
    """Whole GPUs: the first idle ones. A share: the GPU that it leaves the least of."""
    if not request.gpus:
        return ()
    if request.gpu_milli == GPU_MILLI:
        picked = [gpu for gpu, free in enumerate(node.gpus) if free == GPU_MILLI]
        return tuple(picked[: request.gpus])
    milli = request.gpu_milli
    fitting = [(free, gpu) for gpu, free in enumerate(node.gpus) if free >= milli]
    return (min(fitting)[1],)


@dataclass(frozen=True, slots=True)
class BestFit:
    """Least left over, CPU and GPU weighed alike against the largest node; whole percents.

    The formula and its rounding are those of the best-fit baseline in Weng et al., "Beware of
    Fragmentation", USENIX ATC 2023, so that their published table can be compared with.
    """

    cpu_milli_max: int = 128_000
    gpu_milli_max: int = 8_000
    draws: int | None = None

    def score(self, node: Node, request: Request) -> float:
        """Whole percents of the largest node that are not left over."""
        cpu = (node.cpu_free - request.cpu_milli) / self.cpu_milli_max
        gpu = (node.gpu_free - request.gpus * request.gpu_milli) / self.gpu_milli_max
        return int((1.0 - (cpu * 0.5 + gpu * 0.5)) * 100)

    def pick(self, node: Node, request: Request) -> tuple[int, ...]:
        """The tightest GPUs."""
        return pick_tightest(node, request)


@dataclass(frozen=True, slots=True)
class FirstFit:
    """The lowest node index that fits."""

    draws: int | None = None

    def score(self, node: Node, request: Request) -> float:
        """All alike: the tie rule decides."""
        return 0.0

    def pick(self, node: Node, request: Request) -> tuple[int, ...]:
        """The tightest GPUs."""
        return pick_tightest(node, request)


@dataclass(frozen=True, slots=True)
class Pack:
    """The node with the fewest idle GPUs left, then the least CPU: keeps whole nodes whole."""

    draws: int | None = None

    def score(self, node: Node, request: Request) -> float:
        """Fewer free thousandths are better; CPU breaks ties."""
        return -(node.gpu_free + node.cpu_free / (node.cpu_milli + 1))

    def pick(self, node: Node, request: Request) -> tuple[int, ...]:
        """The tightest GPUs."""
        return pick_tightest(node, request)


@dataclass(frozen=True, slots=True)
class Spread:
    """The emptiest node."""

    draws: int | None = None

    def score(self, node: Node, request: Request) -> float:
        """More free thousandths are better; CPU breaks ties."""
        return node.gpu_free + node.cpu_free / (node.cpu_milli + 1)

    def pick(self, node: Node, request: Request) -> tuple[int, ...]:
        """The tightest GPUs."""
        return pick_tightest(node, request)


@dataclass(frozen=True, slots=True)
class RandomFit:
    """Any node that fits, each as likely as the other; for comparison only."""

    seed: int = 0

    @property
    def draws(self) -> int | None:
        """The seed of the draws."""
        return self.seed

    def score(self, node: Node, request: Request) -> float:
        """Unused: the node is drawn."""
        return 0.0

    def pick(self, node: Node, request: Request) -> tuple[int, ...]:
        """A random GPU for a share; the first idle ones otherwise."""
        if request.gpu_milli == GPU_MILLI:
            return pick_tightest(node, request)
        fitting = [gpu for gpu, free in enumerate(node.gpus) if free >= request.gpu_milli]
        # The node's own fill stands in for a counter: it differs at every choice on that node.
        draw = mix_bits(self.seed ^ node.index, node.gpu_free * 131 + node.cpu_free)
        return (fitting[draw % len(fitting)],)


@dataclass(frozen=True, slots=True)
class LeastFragmentation:
    """The steepest descent of expected fragmentation (FGD, Weng et al., USENIX ATC 2023)."""

    mix: Mix
    draws: int | None = None

    def score(self, node: Node, request: Request) -> float:
        """0 to 100; 50 means that fragmentation does not change."""
        return self.mix.descent(node.model, node.cpu_free, node.gpus, request)

    def pick(self, node: Node, request: Request) -> tuple[int, ...]:
        """For a share the GPU with the steepest descent, the lowest index first."""
        if request.gpu_milli == GPU_MILLI or not request.gpus:
            return pick_tightest(node, request)
        return (self.mix.descend(node.model, node.cpu_free, node.gpus, request),)
