"""The signed-in person: the one-time link, the session, what this month has cost, the prices."""

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from tokenyard import __version__
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.identity import Identity
from tokenyard.gateway.operation import Operation, Query, json_answer
from tokenyard.gateway.sessions import SESSION_COOKIE
from tokenyard.ledger.ledger import Ledger
from tokenyard.vocabulary.errors import Unauthenticated
from tokenyard.vocabulary.identity import Permission

_TAG = "Account"
_TOKEN = Query("token", "The secret of the link.")


class Reference(msgspec.Struct):
    """An object named by its id."""

    id: str


class Month(msgspec.Struct):
    """What this calendar month (UTC) has cost, and what it may; in nano-units."""

    cost_nanos: int
    budget_nanos: int | None


class SessionBody(msgspec.Struct):
    """Who is signed in, and where they stand."""

    user: Reference
    organisation: Reference
    project: Reference
    role: str
    # The words of what the caller may; the page shows what they allow.
    permissions: list[str]
    build: str
    currency: str
    month: Month


class PriceBody(msgspec.Struct):
    """Prices of a model, in nano-units per million tokens; `*` stands for every other model."""

    model: str
    input_nanos_per_million: int
    cached_input_nanos_per_million: int
    output_nanos_per_million: int


class PriceList(msgspec.Struct):
    """The price book, the first match counts."""

    currency: str
    prices: list[PriceBody]


class SignedOut(msgspec.Struct):
    """The answer to a sign-out."""

    signed_out: bool = True


class AccountRoutes:
    """Handlers of the page's own account."""

    def __init__(self, *, doorway: Doorway, identity: Identity, ledger: Ledger) -> None:
        self._doorway = doorway
        self._identity = identity
        self._ledger = ledger

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", "/sign-in", "signIn", "Use a one-time link and go to the page.",
                self._sign_in, _TAG, query=(_TOKEN,), authenticated=False,
                content_type="text/html",
            ),
            Operation(
                "GET", "/api/session", "getSession", "Who is calling, and this month's cost.",
                self._session, _TAG, answer=SessionBody, permission=Permission.ACCOUNT,
            ),
            Operation(
                "POST", "/api/sign-out", "signOut", "End the session of this browser.",
                self._sign_out, _TAG, answer=SignedOut, permission=Permission.ACCOUNT,
            ),
            Operation(
                "GET", "/api/prices", "listPrices", "The price book.",
                self._prices, _TAG, answer=PriceList, permission=Permission.MODELS_READ,
            ),
        ]  # fmt: skip

    async def _sign_in(self, request: Request) -> ASGIApp:
        try:
            cookie = await self._identity.sessions.sign_in_with_link(
                request.query_params.get("token", ""),
                agent=request.headers.get("user-agent", ""),
                before=request.cookies.get(SESSION_COOKIE, ""),
            )
        except Unauthenticated:
            return RedirectResponse("/?sign_in=invalid", status_code=303)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=int(self._identity.sessions.seconds_max),
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    async def _session(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        spent = await self._ledger.statements.month_to_date(caller.project)
        budget = self._ledger.monthly_budget
        return json_answer(
            SessionBody(
                user=Reference(caller.user),
                organisation=Reference(caller.organisation),
                project=Reference(caller.project),
                role=caller.role,
                permissions=sorted(caller.permissions),
                build=__version__,
                currency=self._ledger.currency,
                month=Month(spent.nanos, None if budget is None else budget.nanos),
            )
        )

    async def _sign_out(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        cookie = request.cookies.get(SESSION_COOKIE, "")
        await self._identity.sessions.end_by_cookie(cookie, caller.organisation)
        answer = json_answer(SignedOut())
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
        return answer

    async def _prices(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        prices = [
            PriceBody(
                entry.model,
                entry.rates.input_nanos,
                entry.rates.cached_input_nanos,
                entry.rates.output_nanos,
            )
            for entry in self._ledger.prices.entries
        ]
        return json_answer(PriceList(self._ledger.currency, prices))
