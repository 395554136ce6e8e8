"""The seam of an answer that is generated again: what was shown already must not be shown twice.

A model server that cannot go on from given tokens is asked the whole question again, with the same
seed. As long as it says what was said before, nothing is shown; from there on all is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenyard.chat.records import FunctionCall, ItemKind


@dataclass(frozen=True, slots=True)
class Part:
    """Text that an answer goes on by: words, a thought, or arguments of a call.

    call: of the part that begins a call; later parts of it have none.
    """

    kind: ItemKind
    text: str
    call: FunctionCall | None = None


@dataclass(frozen=True, slots=True)
class Fresh:
    """Parts to show; none while what was shown is repeated."""

    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Diverged:
    """It says something else: `parts` are what it has said so far, from the beginning."""

    parts: tuple[Part, ...]


class Seam:
    """Follows one repetition of what was shown up to a point."""

    def __init__(self, shown: Sequence[Part]) -> None:
        # What the repetition has said so far.
        self.said: list[Part] = []
        self._kind: ItemKind | None = None
        self._shown = "".join(self._spell(part) for part in shown)
        self._kind = None
        self._spelled = ""
        self._over = not self._shown

    @property
    def open(self) -> bool:
        """Whether the end of what was shown has not been reached yet."""
        return not self._over

    def take(self, parts: Sequence[Part]) -> Fresh | Diverged:
        """The next parts of the repetition, cut wherever the server likes to cut."""
        if self._over:
            return Fresh(tuple(parts))
        fresh: list[Part] = []
        diverged = False
        for part in parts:
            self.said.append(part)
            if self._over:
                fresh.append(part)
                continue
            self._spelled += self._spell(part)
            if self._shown.startswith(self._spelled):
                self._over = len(self._spelled) == len(self._shown)
                continue
            self._over = True
            diverged = not self._spelled.startswith(self._shown)
            rest = self._spelled[len(self._shown) :]
            # Where only the end of it is new, its item has begun already.
            whole = len(rest) > len(part.text)
            fresh.append(part if whole else replace(part, text=rest, call=None))
        return Diverged(tuple(self.said)) if diverged else Fresh(tuple(fresh))

    def _spell(self, part: Part) -> str:
        """The part as text, with a mark in front where it begins an item."""
        begins = part.call is not None or part.kind is not self._kind
        self._kind = part.kind
        # A call has another id each time.
        name = part.call.name if part.call is not None else ""
        return (f"\0{part.kind}:{name}\0" if begins else "") + part.text
