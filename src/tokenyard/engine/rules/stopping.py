"""When an answer ends, and how much of its text may be shown before that is certain.

Does not know tokens' texts or where the text goes.
"""

from collections.abc import Iterable

from tokenyard.vocabulary.generation import FinishReason


class StopScanner:
    """Finds stop texts in an answer that arrives in pieces.

    Text that could be the start of a stop text is held back until the next piece decides it. A
    stop text and all after it is never shown; with `shows`, the stop text itself is.
    """

    def __init__(self, stops: Iterable[str], *, shows: bool = False) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._shows = shows
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def push(self, piece: str) -> tuple[str, bool]:
        """Text that may be shown now, and whether a stop text was completed."""
        if not self._stops:
            return piece, False
        text = self._held + piece
        found = [(place, len(stop)) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self._held = ""
            place, length = min(found)
            return text[: place + length if self._shows else place], True
        keep = self._open_length(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def finish(self) -> str:
        """What was held back when the answer ended for another reason."""
        text, self._held = self._held, ""
        return text

    def _open_length(self, text: str) -> int:
        """Length of the longest end of `text` with which some stop text begins."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0


def decide_finish(
    token: int, generated: int, *, end_ids: frozenset[int], tokens_max: int
) -> FinishReason | None:
    """Whether the answer ends with its newest token, the `generated`-th one.

    An end token wins over the length, as its text is not part of the answer.
    """
    if token in end_ids:
        return FinishReason.STOP
    if generated >= tokens_max:
        return FinishReason.LENGTH
    return None


def count_tokens_max(prompt: int, asked: int | None, capacity: int) -> int:
    """Tokens that an answer may have; `capacity` bounds prompt and answer together."""
    room = capacity - prompt
    return room if asked is None else min(asked, room)
