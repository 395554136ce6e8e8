"""What the loop needs from a model: `model.runner` on torch, and `scripted` without one.

A Runner computes a step while it is called. A Device computes beside the loop: it takes steps in
and is asked for their tokens later, in the same order.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.rules.drawing import DrawRule, TokenReport

PromptReports = tuple[int, list[TokenReport]]


class Draws(dict[int, int | None]):
    """Drawn tokens by sequence id, with the reports that some rules asked for.

    prompts: reports on tokens of prompts (`Sequence.prompt_top`): the place of the first, and all.
    more: by id, tokens that follow the drawn one, where `Chunk.drafts` were right.
    sums: of what the model makes of a chunk's tokens (`Sequence.embeds`), number by number.
    """

    def __init__(
        self,
        tokens: Mapping[int, int | None],
        reports: Mapping[int, TokenReport],
        prompts: Mapping[int, PromptReports] | None = None,
        sums: Mapping[int, list[float]] | None = None,
        more: Mapping[int, list[int]] | None = None,
    ) -> None:
        super().__init__(tokens)
        self.reports = reports
        self.prompts = prompts or {}
        self.sums = sums or {}
        self.more = more or {}


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

        Gives the token by sequence id; None where the logits hold a NaN. A runner that honours
        `DrawRule.report_top` gives `Draws`. What it raises fails every sequence of the step; a
        MemoryError is told as such.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """A Runner or Device that can say how it computes."""

    @property
    def arithmetic(self) -> str:
        """Formats and kernels in a few words, for the log."""
        ...


@runtime_checkable
class Reporter(Protocol):
    """A Runner or Device that says whether it honours `DrawRule.report_top`."""

    @property
    def reports_logprobs(self) -> bool: ...


@runtime_checkable
class PromptReader(Protocol):
    """A Runner or Device that says whether it honours `Sequence.prompt_top` and `embeds`."""

    @property
    def reports_prompts(self) -> bool: ...


@runtime_checkable
class Verifier(Protocol):
    """A Runner that says whether it honours `Chunk.drafts`."""

    @property
    def verifies_drafts(self) -> bool: ...


@runtime_checkable
class AdapterKeeper(Protocol):
    """A Runner that honours `Sequence.adapter`. Both calls may come from any thread."""

    def load_adapter(self, number: int, path: Path, *, rank_max: int) -> None:
        """Read a folder as PEFT writes it; takes up to seconds. Raises StartError."""
        ...

    def drop_adapter(self, number: int) -> None:
        """Let it go; no sequence has it any more."""
        ...


@runtime_checkable
class Masker(Protocol):
    """A Runner or Device that says whether it honours `DrawRule.allowed`."""

    @property
    def masks_tokens(self) -> bool: ...


@runtime_checkable
class Device(Protocol):
    """Computes steps in the order of their launch, beside the thread that launches them.

    block_count and context_tokens are a Runner's.
    """

    @property
    def block_count(self) -> int: ...

    @property
    def context_tokens(self) -> int: ...

    @property
    def lag(self) -> int:
        """Steps that may be under way while the next one is planned: 0 or 1."""
        ...

    def launch(self, chunks: Sequence[Chunk], rules: Mapping[int, DrawRule]) -> Any:
        """Take in a step; gives what `collect` wants. A token may be UNKNOWN if the step before
        draws it. What the chunks say is read before this returns, and not later.
        """
        ...

    def collect(self, ticket: Any) -> dict[int, int | None]:
        """Wait for a step; gives what `Runner.run` gives, and raises as it does."""
        ...
