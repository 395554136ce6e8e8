"""The LoRA adapters of one model server: which names stand for which, and when one may go.

A name can be used from the moment its adapter is loaded. Once unloaded, no new request finds it;
its matrices go when the last request that has it is over. Numbers are never used twice, so nothing
that was cached for one adapter is found by another. Does not know matrices.
"""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tokenyard.engine.ports import AdapterKeeper
from tokenyard.vocabulary.errors import InvalidRequest, NotFound, StartError
from tokenyard.vocabulary.reasons import Reason

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


@dataclass(frozen=True, slots=True)
class NamedAdapter:
    """An adapter that can be asked for. created: seconds since the epoch."""

    name: str
    number: int
    created: int


class AdapterTable:
    """On the event loop. keeper: None when the runner cannot have adapters."""

    def __init__(self, keeper: AdapterKeeper | None, *, adapters_max: int, rank_max: int) -> None:
        self._keeper = keeper
        self._adapters_max = adapters_max
        self._rank_max = rank_max
        self._named: dict[str, NamedAdapter] = {}
        self._leaving: set[int] = set()
        self._open: Counter[int] = Counter()
        self._next_number = 1
        self._lock = asyncio.Lock()

    @property
    def all(self) -> list[NamedAdapter]:
        return list(self._named.values())

    def find(self, name: str) -> NamedAdapter | None:
        """What that name stands for."""
        return self._named.get(name)

    async def load(self, name: str, path: Path, now: float) -> NamedAdapter:
        """Read an adapter beside the event loop; raises InvalidRequest when it cannot be had."""
        async with self._lock:
            keeper = self._check(name)
            number = self._next_number
            self._next_number += 1
            try:
                await asyncio.to_thread(keeper.load_adapter, number, path, rank_max=self._rank_max)
            except StartError as error:
                raise InvalidRequest(error.message, param="lora_path") from None
            self._named[name] = NamedAdapter(name, number, int(now))
            return self._named[name]

    def unload(self, name: str) -> None:
        """Forget a name; raises NotFound when there is none."""
        adapter = self._named.pop(name, None)
        if adapter is None:
            raise NotFound(
                f"No adapter is called {name!r}.", reason=Reason.MODEL_NOT_FOUND, param="lora_name"
            )
        self._leaving.add(adapter.number)
        self._let_go(adapter.number)

    def take(self, number: int) -> None:
        """A request has that adapter."""
        self._open[number] += 1

    def give_back(self, number: int) -> None:
        """A request that had it is over."""
        self._open[number] -= 1
        self._let_go(number)

    def _let_go(self, number: int) -> None:
        if number in self._leaving and not self._open[number] and self._keeper is not None:
            self._leaving.discard(number)
            del self._open[number]
            self._keeper.drop_adapter(number)

    def _check(self, name: str) -> AdapterKeeper:
        if self._keeper is None:
            raise InvalidRequest(
                "This model server has no adapters.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param="lora_name",
            )
        if not NAME.fullmatch(name) or name in self._named:
            raise InvalidRequest(
                f"An adapter cannot be called {name[:128]!r}: the name is taken or odd.",
                param="lora_name",
            )
        if len(self._named) + len(self._leaving) >= self._adapters_max:
            raise InvalidRequest(
                f"There are {self._adapters_max} adapters already (engine.adapters_max).",
                param="lora_name",
            )
        return self._keeper
