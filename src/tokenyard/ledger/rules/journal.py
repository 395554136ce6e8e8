"""Double entry: how reservations, bills and corrections become lines of the journal.

Each line moves money of one payer between three accounts, `available`, `reserved` and `spent`, and
sums to zero. A reservation is closed by exactly one line: its settlement or its release. Decides
nothing about caps, and does not know where lines are kept.
"""

from dataclasses import replace

from tokenyard.ledger.records import Entry, EntryKind, Reservation, UsageRow


def enter_reservation(reservation: Reservation) -> Entry:
    """Set the worst cost aside."""
    return Entry(
        id=f"{reservation.id}/{EntryKind.RESERVE}",
        kind=EntryKind.RESERVE,
        at=reservation.at,
        organisation=reservation.organisation,
        project=reservation.project,
        user=reservation.user,
        key=reservation.key,
        reserved_nanos=reservation.worst_cost.nanos,
        spent_nanos=0,
        currency=reservation.worst_cost.currency,
    )


def enter_release(reserved: Entry, at: float, note: str = "") -> Entry:
    """Give everything back that the entry of a reservation set aside."""
    return replace(
        reserved,
        id=f"{reserved.id.rpartition('/')[0]}/{EntryKind.RELEASE}",
        kind=EntryKind.RELEASE,
        at=at,
        reserved_nanos=-reserved.reserved_nanos,
        note=note,
    )


def enter_settlement(row: UsageRow, reserved_nanos: int) -> Entry:
    """Spend what was used, and free what had been set aside for it (0 when nothing is any more)."""
    return Entry(
        id=f"{row.id}/{EntryKind.SETTLE}",
        kind=EntryKind.SETTLE,
        at=row.at,
        organisation=row.organisation,
        project=row.project,
        user=row.user,
        key=row.key,
        reserved_nanos=-reserved_nanos,
        spent_nanos=row.cost.nanos,
        currency=row.cost.currency,
    )


def enter_adjustment(row: UsageRow, id: str, nanos: int, at: float, note: str) -> Entry:
    """Correct a bill by hand: a positive amount costs more, a negative one gives back."""
    return replace(
        enter_settlement(row, 0),
        id=f"{id}/{EntryKind.ADJUST}",
        kind=EntryKind.ADJUST,
        at=at,
        spent_nanos=nanos,
        note=note,
    )
