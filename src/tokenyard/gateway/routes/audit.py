"""The audit log: to look through, and to take away whole."""

import csv
import io
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_choice, read_int
from tokenyard.gateway.ports import AuditStore
from tokenyard.protocol.organisation import AuditActor, AuditBody, AuditList
from tokenyard.vocabulary.audit import AuditFilter, AuditRecord, spell_details
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import ProjectId, UserId

_TAG = "Audit"
_PATH = "/api/organisation/audit_logs"
_LIMIT = Query("limit", "Most entries of the page.", int, 1, 100)
_BEFORE = Query("before", "Only entries with a smaller number.", int, 1, 2**53)
_TYPE = Query("type", "Only what was done like this, such as api_key.created.")
_ACTOR = Query("actor", "Only what this user did.")
_PROJECT = Query("project", "Only what was done in this project.")
_OBJECT = Query("object_id", "Only what was done to this.")
_SINCE = Query("since", "Seconds since the epoch.", int, 0, 2**40)
_UNTIL = Query("until", "Seconds since the epoch.", int, 0, 2**40)
_FILTERS = (_TYPE, _ACTOR, _PROJECT, _OBJECT, _SINCE, _UNTIL)
_FORMAT = Query("format", "How each entry is written.", choices=("jsonl", "csv"))
_AT_ONCE = 500
_COLUMNS = (
    "number", "effective_at", "type", "user", "api_key", "project", "object_id", "details", "hash",
)  # fmt: skip
# A cell that begins with one of them would be run by a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class AuditRoutes:
    """Handlers of the audit log."""

    def __init__(self, *, doorway: Doorway, audit: AuditStore) -> None:
        self._doorway = doorway
        self._audit = audit

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", _PATH, "listAuditLogs", "Who did what to which object, the newest first.",
                self._list, _TAG, answer=AuditList, query=(_LIMIT, _BEFORE, *_FILTERS),
                permission=Permission.AUDIT_READ,
            ),
            Operation(
                "GET", f"{_PATH}/export", "exportAuditLogs",
                "All of it, the oldest first, as lines of JSON or as CSV.",
                self._export, _TAG, query=(_FORMAT, *_FILTERS),
                content_type="application/octet-stream", permission=Permission.AUDIT_READ,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        limit = read_int(request, _LIMIT) or 20
        found = await self._audit.list_entries(
            caller.organisation,
            _read_filter(request),
            limit=limit + 1,
            before=read_int(request, _BEFORE),
        )
        page = found[:limit]
        return json_answer(
            AuditList(
                data=[_render(record) for record in page],
                has_more=len(found) > limit,
                last_number=page[-1].number if page else None,
            )
        )

    async def _export(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        form = read_choice(request, _FORMAT, "jsonl")
        lines = self._lines(caller, _read_filter(request), as_csv=form == "csv")
        return StreamingResponse(
            lines,
            media_type="application/octet-stream",
            headers={"content-disposition": f'attachment; filename="audit.{form}"'},
        )

    async def _lines(
        self, caller: Principal, wanted: AuditFilter, *, as_csv: bool
    ) -> AsyncIterator[bytes]:
        if as_csv:
            yield _spell_row(_COLUMNS)
        after = 0
        while True:
            found = await self._audit.list_entries(
                caller.organisation, wanted, limit=_AT_ONCE, after=after
            )
            if found:
                spell = _spell_csv if as_csv else _spell_json
                yield b"".join(spell(record) for record in found)
                after = found[-1].number
            if len(found) < _AT_ONCE:
                return


def _read_filter(request: Request) -> AuditFilter:
    asked = request.query_params
    actor, project = asked.get(_ACTOR.name), asked.get(_PROJECT.name)
    return AuditFilter(
        action=asked.get(_TYPE.name),
        user=None if actor is None else UserId(actor),
        project=None if project is None else ProjectId(project),
        object=asked.get(_OBJECT.name),
        since=read_int(request, _SINCE),
        until=read_int(request, _UNTIL),
    )


def _render(record: AuditRecord) -> AuditBody:
    entry = record.entry
    return AuditBody(
        number=record.number,
        effective_at=entry.at,
        type=entry.action,
        actor=AuditActor(entry.user, entry.key),
        project=entry.project,
        object_id=entry.object,
        details=dict(entry.details),
        hash=record.hash,
    )


def _spell_json(record: AuditRecord) -> bytes:
    return msgspec.json.encode(_render(record)) + b"\n"


def _spell_csv(record: AuditRecord) -> bytes:
    entry = record.entry
    return _spell_row(
        (
            str(record.number),
            repr(entry.at),
            entry.action,
            entry.user or "",
            entry.key or "",
            entry.project or "",
            entry.object,
            spell_details(entry.details),
            record.hash,
        )
    )


def _spell_row(cells: tuple[str, ...]) -> bytes:
    line = io.StringIO()
    safe = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
    csv.writer(line, lineterminator="\n").writerow(safe)
    return line.getvalue().encode()
