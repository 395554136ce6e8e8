"""Limits through the API: an organisation's own, and those of the operator for all.

Admins limit what is in their organisation; models, the system and whole organisations belong to
the operator.
"""

from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.limits import LimitBook
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.limits import LimitBody, LimitDeleted, LimitList, LimitRequest
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.errors import Forbidden, InvalidRequest, NotFound
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import IdPrefix, LimitId
from tokenyard.vocabulary.limits import EACH, Level, Limit, Measure, Window
from tokenyard.vocabulary.reasons import Reason

_TAG = "Limits"
_LIMITS_MAX = 10_000
# What only the operator may limit.
_OPERATED = frozenset({Level.ORGANISATION, Level.MODEL, Level.SYSTEM})


class LimitRoutes:
    """Handlers of limits."""

    def __init__(self, *, doorway: Doorway, book: LimitBook, randomness: Randomness) -> None:
        self._doorway = doorway
        self._book = book
        self._randomness = randomness

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", "/api/organisation/limits", "listLimits",
                "The limits that hold: of the settings, and those that were set.",
                self._list, _TAG, answer=LimitList, permission=Permission.LIMITS_READ,
            ),
            Operation(
                "POST", "/api/organisation/limits", "putLimit", "Set a limit.",
                self._put, _TAG, LimitRequest, LimitBody, permission=Permission.LIMITS_WRITE,
            ),
            Operation(
                "DELETE", "/api/organisation/limits/{limit_id}", "deleteLimit", "Lift a limit.",
                self._delete, _TAG, answer=LimitDeleted, errors=(404,),
                permission=Permission.LIMITS_WRITE,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        mine = [one for one in self._book.stored if _sees(one, caller)]
        return json_answer(LimitList([_body(one) for one in (*self._book.defaults, *mine)]))

    async def _put(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(LimitRequest, await self._doorway.body(request))
        level, measure, window = Level(asked.level), Measure(asked.measure), Window(asked.window)
        _check(asked, level, measure, window)
        if level in _OPERATED and not caller.may(Permission.UPSTREAMS_WRITE):
            raise Forbidden(
                f"A limit at the level of the {level} belongs to the operator.",
                reason=Reason.PERMISSION_DENIED,
            )
        if len(self._book.stored) >= _LIMITS_MAX:
            raise InvalidRequest(f"There are {_LIMITS_MAX} limits already.")
        limit = Limit(
            level=level,
            subject=asked.subject,
            measure=measure,
            window=window,
            amount=asked.amount,
            burst=asked.burst,
            closed=asked.store_away == "closed",
            id=LimitId(mint(IdPrefix.LIMIT, self._randomness)),
            organisation=None if level in _OPERATED else caller.organisation,
        )
        await self._book.put(limit)
        return json_answer(_body(limit))

    async def _delete(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = LimitId(request.path_params["limit_id"])
        found = next((one for one in self._book.stored if one.id == wanted), None)
        operator = caller.may(Permission.UPSTREAMS_WRITE)
        if found is None or not (
            found.organisation == caller.organisation or (found.organisation is None and operator)
        ):
            raise NotFound(f"There is no limit '{wanted}'.", param="limit_id")
        await self._book.delete(wanted)
        return json_answer(LimitDeleted(wanted))


def _check(asked: LimitRequest, level: Level, measure: Measure, window: Window) -> None:
    if (measure is Measure.STREAMS) is not (window is Window.NOW):
        raise InvalidRequest(
            "Streams are limited `now`, all else in a `minute` or a `day`.", param="window"
        )
    if asked.burst and window is not Window.MINUTE:
        raise InvalidRequest("Only a minute's limit has a burst.", param="burst")
    if level is Level.SYSTEM and asked.subject != EACH:
        raise InvalidRequest("The system has no subjects.", param="subject")
    if "\0" in asked.subject:
        raise InvalidRequest("This is no subject.", param="subject")


def _sees(limit: Limit, caller: Principal) -> bool:
    if limit.organisation not in (None, caller.organisation):
        return False
    if limit.level is Level.ORGANISATION:
        return limit.subject in (EACH, caller.organisation)
    if caller.may(Permission.LIMITS_WRITE):
        return True
    mine = {caller.key, caller.user, caller.project, EACH}
    return limit.level in (Level.MODEL, Level.SYSTEM) or limit.subject in mine


def _body(limit: Limit) -> LimitBody:
    return LimitBody(
        id=limit.id or "",
        name=limit.name,
        level=limit.level,
        subject=limit.subject,
        measure=limit.measure,
        window=limit.window,
        amount=limit.amount,
        burst=limit.capacity,
        store_away="closed" if limit.closed else "open",
    )
