"""The seam of an answer that is generated again: what was shown already must not be shown twice.

A model server that cannot go on from given tokens is asked the whole question again, with the same
seed. As long as it says what was said before, nothing is shown; from there on all is new.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fresh:
    """Text to show; empty while the old text is repeated."""

    text: str


@dataclass(frozen=True, slots=True)
class Diverged:
    """It says something else: `text` is what it has said so far, from the beginning."""

    text: str


class Seam:
    """Follows one repetition of a text that was shown up to a point."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        # What the repetition has said so far.
        self.said = ""
        self._over = not shown

    @property
    def open(self) -> bool:
        """Whether the end of what was shown has not been reached yet."""
        return not self._over

    def take(self, piece: str) -> Fresh | Diverged:
        """The next piece of the repetition, cut wherever the server likes to cut."""
        if self._over:
            return Fresh(piece)
        self.said += piece
        if self._shown.startswith(self.said):
            self._over = len(self.said) == len(self._shown)
            return Fresh("")
        self._over = True
        if self.said.startswith(self._shown):
            return Fresh(self.said[len(self._shown) :])
        return Diverged(self.said)
