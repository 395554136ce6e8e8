"""How many tokens a prompt has, by the model's own tokenizer, and remembered.

A model server that cannot count is replaced by an estimate that says that it is one.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from tokenyard.chat.rules.context import tell_turn
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.messages import Message

# English has some four characters a token, other languages fewer.
_ESTIMATED_BYTES = 3
_ESTIMATED_TURN = 5


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of a prompt; `exact` when the model server counted them."""

    tokens: int
    exact: bool


class TokenCounts:
    """Counts of the prompts that were asked for lately."""

    def __init__(self, pool: UpstreamPool, *, cached_max: int) -> None:
        self._pool = pool
        self._cached_max = cached_max
        self._cached: OrderedDict[bytes, int] = OrderedDict()

    async def count(
        self, model: ModelName, turns: Sequence[Message], tags: Iterable[str] = ()
    ) -> Count:
        """The tokens of these turns as a prompt; raises what the pool and the server refuse.

        tags: that a server must have to be asked.
        """
        told = msgspec.json.encode([model, turns])
        key = hashlib.blake2b(told, digest_size=16).digest()
        found = self._cached.get(key)
        if found is None:
            with self._pool.lend(model, tags=frozenset(tags)) as upstream:
                found = await upstream.count_tokens(model, turns)
        if found is None:
            return Count(_estimate(turns), exact=False)
        self._cached[key] = found
        self._cached.move_to_end(key)
        if len(self._cached) > self._cached_max:
            self._cached.popitem(last=False)
        return Count(found, exact=True)


def _estimate(turns: Sequence[Message]) -> int:
    return sum(
        len(tell_turn(turn).encode()) // _ESTIMATED_BYTES + _ESTIMATED_TURN for turn in turns
    )
