"""Finds answers whose producer died or left, and has them continued here.

A producer tells that it is alive by counting; who sees its count stand still for as long as a lease
lasts takes its answers over, and the first one to do so wins. A process that is alone with its
store needs none of that: whatever it finds unfinished at its start is its own to finish.
"""

from tokenyard.chat.log_ports import ProductionStore
from tokenyard.chat.responses import Responses
from tokenyard.chat.rules.leases import Seen, find_dead, observe
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import Clock
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import ProducerId

_ORPHANS_AT_ONCE = 200


class Takeover:
    """Of one process."""

    def __init__(
        self,
        productions: ProductionStore,
        responses: Responses,
        settings: ChatSettings,
        *,
        clock: Clock,
        log: Log,
    ) -> None:
        self._productions = productions
        self._responses = responses
        self._settings = settings
        self._clock = clock
        self._log = log
        self._seen: dict[ProducerId, Seen] = {}
        self.closed = False

    async def adopt_all(self) -> int:
        """Go on with everything that is unfinished; for a process that is alone with its store.

        Returns how many there were.
        """
        adopted = 0
        while orphans := await self._productions.find_orphans(
            self._responses.producer, frozenset(), limit=_ORPHANS_AT_ONCE
        ):
            for orphan in orphans:
                adopted += await self._responses.adopt(orphan)
        return adopted

    async def keep(self) -> None:
        """Beat, look, take over; for a process beside others, as long as it lives."""
        while True:
            try:
                await self.look()
            except TokenyardError as error:
                # The store is away for everybody; nobody can take over from us either.
                self._log.warning(Event.STREAM_FOLLOW_FAILED, reason=error.reason)
            await self._clock.sleep(self._settings.beat_seconds)

    async def look(self) -> None:
        """One beat, and whatever it shows to be taken over or stopped."""
        ours = self._responses.producer
        told = await self._productions.beat(ours)
        now = self._clock.monotonic()
        self._seen = observe(self._seen, told, now)
        dead = find_dead(self._seen, now, self._settings.lease_seconds) - {ours}
        for orphan in await self._productions.find_orphans(ours, dead, limit=_ORPHANS_AT_ONCE):
            if orphan.production.producer == ours:
                self._responses.stop(orphan.response.id)
            elif not self.closed:
                await self._responses.adopt(orphan)
        if dead:
            await self._productions.bury(dead)
