"""What the loop needs from a model: `model.runner` on torch, and `scripted` without one."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.rules.drawing import DrawRule


class Runner(Protocol):
    """Computes steps. Called from one thread, the same each time."""

    @property
    def block_count(self) -> int:
        """Blocks of KV cache that it has, the null block not counted."""
        ...

    @property
    def context_tokens(self) -> int:
        """The longest sequence that the model knows."""
        ...

    def run(self, chunks: Sequence[Chunk], rules: Mapping[int, DrawRule]) -> dict[int, int | None]:
        """Compute the chunks and draw where they say so, each sequence by its rule.

        Gives the token by sequence id; None where the logits hold a NaN. What it raises fails
        every sequence of the step.
        """
        ...
