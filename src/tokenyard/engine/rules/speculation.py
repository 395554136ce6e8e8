"""Guesses at the next tokens of a text, from the text itself: what followed the same words before.

A guess costs little where a step reads all weights anyway, and is right where a text repeats its
prompt: quotations, edits of code, tables. Whether it was right is decided by drawing each token as
if there had been no guess, so no answer depends on it. Does not know the model.
Source: prompt lookup decoding (A. Saxena, 2023), as in vLLM's `ngram` speculation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

# Fewer equal tokens than this are chance; more make the guess no better.
NGRAM_TOKENS = 3


@dataclass(slots=True, eq=False)
class DraftBook:
    """Where each run of tokens of one growing text was last followed by another token."""

    # The place after the run.
    _places: dict[tuple[int, ...], int] = field(default_factory=dict)
    # Runs that end before this place are noted.
    _noted: int = NGRAM_TOKENS

    def propose(self, tokens: Sequence[int], count: int) -> tuple[int, ...]:
        """At most `count` tokens that may follow; none where nothing repeats.

        Each call has the same text as the last one, and perhaps more.
        """
        # The newest run is not noted: nothing has followed it yet.
        for end in range(self._noted, len(tokens)):
            self._places[tuple(tokens[end - NGRAM_TOKENS : end])] = end
        self._noted = max(self._noted, len(tokens))
        if count < 1 or len(tokens) < NGRAM_TOKENS:
            return ()
        place = self._places.get(tuple(tokens[-NGRAM_TOKENS:]))
        return () if place is None else tuple(tokens[place : place + count])
