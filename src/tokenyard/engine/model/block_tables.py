"""The block table of each sequence on the device, kept up by its changes alone.

A sequence holds a line from its first step until it is not running any more; lines are taken back
only when they run out, so a sequence that is seen in each step costs one comparison.
Does not know steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tokenyard.engine.rules.batching import Sequence, SequenceState

# Twice the running sequences: those that ended in the step under way still hold theirs.
LINES_PER_SEQUENCE = 2


@dataclass(slots=True, eq=False)
class _Line:
    sequence: Sequence
    number: int
    # The sequence's own list: a new one after it gave way, longer when it grew.
    blocks: list[int]
    sent: int = 0


class BlockTables:
    """tables: (lines, blocks) int32; entries beyond a sequence's blocks are left as they were."""

    def __init__(self, sequences_max: int, blocks_max: int, device: torch.device) -> None:
        lines = LINES_PER_SEQUENCE * sequences_max
        self.tables = torch.zeros(lines, blocks_max, dtype=torch.int32, device=device)
        self.changes_max = sequences_max * blocks_max
        self._free = list(range(lines - 1, -1, -1))
        self._lines: dict[int, _Line] = {}
        self._places: list[int] = []
        self._blocks: list[int] = []

    def line_of(self, sequence: Sequence) -> int:
        """The sequence's line; notes what has changed in it for `take_changes`."""
        line = self._lines.get(sequence.id)
        if line is None:
            if not self._free:
                self._take_back()
            line = _Line(sequence, self._free.pop(), sequence.blocks)
            self._lines[sequence.id] = line
        elif line.blocks is not sequence.blocks:
            line.blocks, line.sent = sequence.blocks, 0
        if line.sent < len(sequence.blocks):
            first = line.number * self.tables.shape[1]
            self._places += range(first + line.sent, first + len(sequence.blocks))
            self._blocks += sequence.blocks[line.sent :]
            line.sent = len(sequence.blocks)
        return line.number

    def take_changes(self) -> dict[str, list[int]]:
        """Places in the flat tables and the blocks that belong there, since the last call."""
        changes = {"places": self._places, "blocks": self._blocks}
        self._places, self._blocks = [], []
        return changes

    def apply(self, places: Tensor, blocks: Tensor) -> None:
        """Part of the device's work: write the changes."""
        self.tables.view(-1).index_copy_(0, places.long(), blocks)

    def _take_back(self) -> None:
        for number, line in list(self._lines.items()):
            if line.sequence.state is not SequenceState.RUNNING:
                self._free.append(line.number)
                del self._lines[number]
