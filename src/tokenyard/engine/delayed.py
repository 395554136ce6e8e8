"""Two ways to drive a Runner as a Device: at once, and as late as a device may be.

`Immediate` is how a runner on the CPU serves the loop. `Delayed` computes nothing before it is
waited for, and then only from what was known at the launch: it shows that a loop, or whatever else
plans ahead, does not depend on results that a real device would not have yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tokenyard.engine.ports import Runner
from tokenyard.engine.rules.batching import UNKNOWN, Chunk
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule

Drawn = dict[int, int | None]


class Immediate:
    """Keeps the Device port without any lag: a step is over when its launch returns."""

    lag = 0

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.block_count = runner.block_count
        self.context_tokens = runner.context_tokens

    def launch(self, chunks: Sequence[Chunk], rules: Mapping[int, DrawRule]) -> Drawn:
        return self._runner.run(chunks, rules)

    def collect(self, ticket: Drawn) -> Drawn:
        return ticket


@dataclass(slots=True, eq=False)
class _Step:
    """A step as it was when it was launched."""

    chunks: list[Chunk]
    rules: dict[int, DrawRule]
    drawn: Drawn | None = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class Delayed:
    """Keeps the Device port with a lag of one step, over a runner that has none."""

    runner: Runner
    lag: int = 1
    _steps: list[_Step] = field(default_factory=list)
    # Of the newest step that was computed.
    _newest: Drawn = field(default_factory=dict)

    @property
    def block_count(self) -> int:
        return self.runner.block_count

    @property
    def context_tokens(self) -> int:
        return self.runner.context_tokens

    def launch(self, chunks: Sequence[Chunk], rules: Mapping[int, DrawRule]) -> _Step:
        step = _Step([_copy(chunk) for chunk in chunks], dict(rules))
        self._steps.append(step)
        return step

    def collect(self, ticket: _Step) -> Drawn:
        while ticket.drawn is None and ticket.error is None:
            self._compute(self._steps.pop(0))
        if ticket.error is not None:
            raise ticket.error
        return ticket.drawn or {}

    def _compute(self, step: _Step) -> None:
        for chunk in step.chunks:
            tokens = chunk.sequence.tokens
            if tokens[-1] == UNKNOWN:
                # After a NaN or a failure there is none; the step goes on, as on a device.
                tokens[-1] = self._newest.get(chunk.sequence.id) or 0
        try:
            step.drawn = self.runner.run(step.chunks, step.rules)
        except Exception as error:
            # Raised to whoever collects this step.
            step.error = error
        self._newest = step.drawn or {}


def _copy(chunk: Chunk) -> Chunk:
    text = chunk.sequence
    copied = Text(text.id, list(text.tokens), blocks=list(text.blocks))
    copied.prompt_count = text.prompt_count
    return Chunk(copied, chunk.start, chunk.count, chunk.draws)
