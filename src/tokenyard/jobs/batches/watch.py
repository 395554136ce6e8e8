"""One of several processes carries the batches of all: who leads finds them in the store.

Decides when to look. Does not know who leads, nor what it is to carry a batch.
"""

from collections.abc import Callable

from tokenyard.jobs.batches.batches import Batches
from tokenyard.jobs.batches.ports import BatchStore
from tokenyard.runtime.clock import Clock
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError

_LOOK_SECONDS = 1.0


class BatchWatch:
    """Looks for what other processes took in or cancelled."""

    def __init__(self, store: BatchStore, batches: Batches, clock: Clock, log: Log) -> None:
        self._store = store
        self._batches = batches
        self._clock = clock
        self._log = log

    async def keep(self, leads: Callable[[], bool]) -> None:
        """Carry all that is open while this process leads; for ever."""
        while True:
            try:
                await self.look(leads=leads())
            except TokenyardError as error:
                self._log.error(Event.BATCH_FAILED, error)
            await self._clock.sleep(_LOOK_SECONDS)

    async def look(self, *, leads: bool) -> None:
        """Take over what there is, or put down what there was."""
        if leads:
            self._batches.take_over(await self._store.open_batches())
        else:
            self._batches.put_down()
