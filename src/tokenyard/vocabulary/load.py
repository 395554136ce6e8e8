"""How busy a model server says that it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that run and wait, the KV cache's use (0 to 1), and the wait for a first token.

    prefix_hit_share: of all prompt tokens since its start, those that the prefix cache had.
    first_token_seconds: the mean over the requests since the look before; 0 when there were none.
    """

    running: int
    waiting: int
    kv_share: float
    first_token_seconds: float = 0.0
    prefix_hit_share: float = 0.0
