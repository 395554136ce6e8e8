"""The journal in SQL: what reserves, settles and releases money, inside somebody's transaction.

Each event is entered once, however often it is told; the balances change in the same transaction.
Decides nothing: the entries come from `ledger.rules.journal`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, tuple_

from tokenyard.ledger.months import period_of
from tokenyard.ledger.records import (
    Balance,
    Cap,
    CapReached,
    Entry,
    EntryKind,
    Reservation,
    Scope,
    Subject,
    UsageRow,
    subjects_of,
)
from tokenyard.ledger.rules.budget import decide
from tokenyard.ledger.rules.journal import enter_release, enter_reservation, enter_settlement
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.dialect import add_or_insert, insert_or_ignore
from tokenyard.storage.sql.ledger_tables import ledger_balances, ledger_entries, ledger_open
from tokenyard.storage.sql.prepared import Prepared, insert_new
from tokenyard.storage.sql.schema import usage_rows
from tokenyard.storage.sql.writer import Together
from tokenyard.vocabulary.ids import KeyId, OrganisationId, ProjectId, ReservationId, UserId

# The balance of what is reserved now belongs to no month.
RESERVED = 0

_NEW_USAGE = insert_new(usage_rows)
_NEW_ENTRY = Prepared(insert(ledger_entries))
_NEW_OPEN = insert_new(ledger_open)
_TAKE_OPEN = (
    delete(ledger_open)
    .where(ledger_open.c.id.in_(bindparam("b_ids", expanding=True)))
    .returning(*ledger_open.c)
)
_ZERO_BALANCE = insert_or_ignore(ledger_balances, *ledger_balances.primary_key.columns)
_ADD_BALANCE = Prepared(
    add_or_insert(
        ledger_balances, list(ledger_balances.primary_key.columns), ledger_balances.c.nanos
    )
)
_Payer = tuple[OrganisationId, ProjectId, UserId, KeyId | None, str, int]
_PLACE = ("scope", "subject", "period", "currency")
_LOCK_BALANCES = (
    select(ledger_balances)
    .where(
        tuple_(*(ledger_balances.c[name] for name in _PLACE)).in_(
            bindparam("b_places", expanding=True)
        )
    )
    .order_by(*(ledger_balances.c[name] for name in _PLACE))
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class Released:
    """A reservation that is to be given back."""

    reservation: ReservationId
    at: float
    note: str = ""


Event = Reservation | UsageRow | Released


def post(event: Event) -> Together[bool]:
    """A change that enters an event; many of them become a few statements.

    The result tells whether it was new.
    """
    return Together(enter, event)


def enter(connection: Connection, events: Sequence[Event]) -> list[bool]:
    """Enter events; which of them were new. A reservation comes before its end."""
    entries: list[Entry] = []
    told: dict[int, bool] = {}
    reserved = [event for event in events if isinstance(event, Reservation)]
    if reserved:
        opened = _NEW_OPEN.add(connection, [_open_values(one) for one in reserved])
        for one, new in zip(reserved, opened, strict=True):
            told[id(one)] = new
            if new:
                entries.append(enter_reservation(one))
    bills = [event for event in events if isinstance(event, UsageRow)]
    new_bills = []
    if bills:
        added = _NEW_USAGE.add(connection, [rows.write_usage_row(bill) for bill in bills])
        for bill, new in zip(bills, added, strict=True):
            told[id(bill)] = new
            if new:
                new_bills.append(bill)
    released = {one.reservation: one for one in events if isinstance(one, Released)}
    ended = [bill.reservation for bill in new_bills if bill.reservation is not None]
    taken = _take_open(connection, [*ended, *released])
    for bill in new_bills:
        held = None if bill.reservation is None else taken.pop(bill.reservation, None)
        entries.append(enter_settlement(bill, 0 if held is None else held.reserved_nanos))
    for event in events:
        if isinstance(event, Released):
            held = taken.pop(event.reservation, None)
            told[id(event)] = held is not None
            if held is not None:
                entries.append(enter_release(held, event.at, event.note))
    write_entries(connection, entries)
    return [told[id(event)] for event in events]


def reserve_under_caps(
    connection: Connection, reservation: Reservation, caps: Sequence[Cap]
) -> CapReached | None:
    """Reserve if it fits under every cap, all others locked out meanwhile."""
    period, currency = period_of(reservation.at), reservation.worst_cost.currency
    places = [
        (cap.scope.value, cap.subject, month, currency)
        for cap in caps
        for month in (RESERVED, period)
    ]
    zeros = [dict(zip(_PLACE, place, strict=True), nanos=0) for place in sorted(set(places))]
    connection.execute(_ZERO_BALANCE, zeros)
    found = connection.execute(_LOCK_BALANCES, {"b_places": places}).all()
    reached = decide(caps, sum_balances(found), reservation.worst_cost.nanos)
    if reached is None:
        enter(connection, [reservation])
    return reached


def sum_balances(found: Sequence[Row[Any]]) -> dict[Subject, Balance]:
    """Rows of balances as one for each subject."""
    balances: dict[Subject, Balance] = {}
    for row in found:
        subject = (Scope(row.scope), row.subject)
        held = balances.get(subject, Balance())
        balances[subject] = (
            replace(held, reserved_nanos=held.reserved_nanos + int(row.nanos))
            if row.period == RESERVED
            else replace(held, spent_nanos=held.spent_nanos + int(row.nanos))
        )
    return balances


def write_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add lines to the journal and to the balances of everybody they concern."""
    if not entries:
        return
    _NEW_ENTRY.run(connection, [_entry_values(entry) for entry in entries])
    # By payer first: entries that come at the same time often have the same one.
    moves: dict[_Payer, list[int]] = {}
    for entry in entries:
        period = period_of(entry.at)
        payer = entry.organisation, entry.project, entry.user, entry.key, entry.currency, period
        moved = moves.setdefault(payer, [0, 0])
        moved[0] += entry.reserved_nanos
        moved[1] += entry.spent_nanos
    changes: Counter[tuple[str, str, int, str]] = Counter()
    for (organisation, project, user, key, currency, period), (reserved, spent) in moves.items():
        for scope, subject in subjects_of(organisation, project, user, key):
            changes[scope.value, subject, RESERVED, currency] += reserved
            changes[scope.value, subject, period, currency] += spent
    # In one order everywhere, so that two processes never wait for each other.
    changed = [
        dict(zip(_PLACE, place, strict=True), nanos=nanos)
        for place, nanos in sorted(changes.items())
        if nanos
    ]
    if changed:
        _ADD_BALANCE.run(connection, changed)


def _take_open(
    connection: Connection, reservations: Sequence[ReservationId]
) -> dict[ReservationId, Entry]:
    if not reservations:
        return {}
    taken = connection.execute(_TAKE_OPEN, {"b_ids": sorted(set(reservations))})
    return {ReservationId(row.id): _reserve_entry(row) for row in taken}


def _reserve_entry(row: Row[Any]) -> Entry:
    """The entry that opened it."""
    return Entry(
        id=f"{row.id}/{EntryKind.RESERVE}",
        kind=EntryKind.RESERVE,
        at=row.at,
        organisation=OrganisationId(row.organisation_id),
        project=ProjectId(row.project_id),
        user=UserId(row.user_id),
        key=None if row.key_id is None else KeyId(row.key_id),
        reserved_nanos=int(row.nanos),
        spent_nanos=0,
        currency=row.currency,
    )


def _open_values(reservation: Reservation) -> rows.Values:
    return {
        "id": reservation.id,
        "work": reservation.work or reservation.id,
        "holder": reservation.holder,
        "at": reservation.at,
        "organisation_id": reservation.organisation,
        "project_id": reservation.project,
        "user_id": reservation.user,
        "key_id": reservation.key,
        "model": reservation.model,
        "tier": reservation.tier.value,
        "nanos": reservation.worst_cost.nanos,
        "currency": reservation.worst_cost.currency,
    }


def _entry_values(entry: Entry) -> rows.Values:
    return {
        "id": entry.id,
        "kind": entry.kind.value,
        "at": entry.at,
        "period": period_of(entry.at),
        "organisation_id": entry.organisation,
        "project_id": entry.project,
        "user_id": entry.user,
        "key_id": entry.key,
        "available_nanos": entry.available_nanos,
        "reserved_nanos": entry.reserved_nanos,
        "spent_nanos": entry.spent_nanos,
        "currency": entry.currency,
        "note": entry.note,
    }
