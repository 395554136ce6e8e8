"""Reservations that no cap concerns, until they are entered: only what lasts is worth a line.

Nobody has to see one that no cap looks at, and most are over in a moment. A process that dies
before it enters them loses nothing: they come back by never having been there.
"""

from collections.abc import Callable

from tokenyard.ledger.ports import LedgerStore
from tokenyard.ledger.records import Reservation
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.ids import OrganisationId, ReservationId


class Entering:
    """What one process has set aside and not entered yet. failed: hears of what could not be."""

    def __init__(
        self,
        store: LedgerStore,
        seconds: float,
        *,
        clock: Clock,
        failed: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._failed = failed
        # The oldest first.
        self._waiting: dict[ReservationId, Reservation] = {}

    def add(self, reservation: Reservation) -> None:
        """To be entered if the work lasts; at once where another process may have to find it."""
        if reservation.work:
            self._store.post_reservation(reservation, self._failed)
        else:
            self._waiting[reservation.id] = reservation

    def take(self, reservation: ReservationId) -> bool:
        """It is over, or about to be: True when it was not entered, and needs no end."""
        return self._waiting.pop(reservation, None) is not None

    def enter_all(self, organisation: OrganisationId) -> None:
        """A cap is to be looked at, beside which everything of this tenant counts."""
        self._enter([one for one in self._waiting.values() if one.organisation == organisation])

    async def keep(self) -> None:
        """Enter what lasts, until cancelled."""
        while True:
            await self._clock.sleep(self._seconds)
            before = self._clock.now() - self._seconds
            self._enter([one for one in self._waiting.values() if one.at <= before])

    def _enter(self, reservations: list[Reservation]) -> None:
        for reservation in reservations:
            del self._waiting[reservation.id]
            self._store.post_reservation(reservation, self._failed)
