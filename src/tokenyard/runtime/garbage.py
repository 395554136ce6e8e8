"""How often Python looks for circles of objects that nobody holds.

Its defaults suit short programs: they walk all that was loaded and opened, over and over, which
was an eighth of the gateway's time for each request. Counting references frees everything else at
once, with or without this.
"""

import gc

# Container objects that were made and not freed before the youngest are looked at; of 700.
_YOUNG_MAX = 20_000
_ROUNDS = (20, 20)


def settle() -> None:
    """Once everything is open: what is there now stays, and is not looked at any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, *_ROUNDS)
