"""The signed-in person: who they are, where they work, their sessions and password; the prices."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard import __version__
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.identity import Identity, no_project
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.gateway.people import People
from tokenyard.gateway.routes.projects import render_project
from tokenyard.gateway.sessions import SESSION_COOKIE
from tokenyard.gateway.sign_in import SignIn, Visitor
from tokenyard.ledger.ledger import Ledger
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.organisation import Deleted, ProjectBody
from tokenyard.vocabulary.errors import Forbidden
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import ProjectId, SessionId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Account"
_Password = Annotated[str, Meta(max_length=256)]


class Reference(msgspec.Struct):
    """An object by its id and what people call it."""

    id: str
    name: str


class Month(msgspec.Struct):
    """What this calendar month (UTC) has cost, and what it may; in nano-units."""

    cost_nanos: int
    budget_nanos: int | None


class SessionBody(msgspec.Struct):
    """Who is calling, and where they stand."""

    user: Reference
    email: str | None
    # Whether there is a password to give when it is changed.
    has_password: bool
    organisation: Reference
    project: Reference
    role: str
    operator: bool
    # What the caller may, in the words of the permission table.
    permissions: list[str]
    build: str
    currency: str
    month: Month


class OwnProjects(msgspec.Struct):
    """Where the caller may work, with the caller's role in each."""

    data: list[ProjectBody]


class ChooseProject(msgspec.Struct, forbid_unknown_fields=True):
    """Where the session is to work from now on."""

    project: Annotated[str, Meta(max_length=100)]


class BrowserSession(msgspec.Struct):
    """A browser that is signed in as the caller."""

    id: str
    created_at: int
    expires_at: int
    last_used_at: int | None
    # What the browser said of itself.
    agent: str
    current: bool


class BrowserSessions(msgspec.Struct):
    """The newest first."""

    data: list[BrowserSession]


class ChangeProfile(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays as it is."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    email: Annotated[str, Meta(min_length=3, max_length=254)] | None = None


class ProfileBody(msgspec.Struct):
    """Who the caller is."""

    id: str
    name: str
    email: str | None


class ChangePassword(msgspec.Struct, forbid_unknown_fields=True):
    """The current one is not needed by who has none yet."""

    new: _Password
    current: _Password = ""


class PasswordChanged(msgspec.Struct):
    """All sessions have ended; sign in with the new one."""

    changed: bool = True


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

    def __init__(
        self,
        *,
        doorway: Doorway,
        identity: Identity,
        people: People,
        sign_in: SignIn,
        ledger: Ledger,
    ) -> None:
        self._doorway = doorway
        self._identity = identity
        self._people = people
        self._sign_in = sign_in
        self._ledger = ledger

    def operations(self) -> list[Operation]:
        """What this module serves."""
        own = Permission.ACCOUNT
        return [
            Operation(
                "GET", "/api/session", "getSession", "Who is calling, and this month's cost.",
                self._session, _TAG, answer=SessionBody, permission=own,
            ),
            Operation(
                "GET", "/api/session/projects", "listOwnProjects", "Where the caller may work.",
                self._projects, _TAG, answer=OwnProjects, permission=own,
            ),
            Operation(
                "POST", "/api/session/project", "chooseProject",
                "Let this browser work in another project.",
                self._choose, _TAG, ChooseProject, ProjectBody, errors=(404, 413),
                permission=own,
            ),
            Operation(
                "GET", "/api/sessions", "listSessions", "The caller's signed-in browsers.",
                self._sessions, _TAG, answer=BrowserSessions, permission=own,
            ),
            Operation(
                "DELETE", "/api/sessions/{session_id}", "deleteSession", "Sign a browser out.",
                self._end_session, _TAG, answer=Deleted, errors=(404,), permission=own,
            ),
            Operation(
                "POST", "/api/session/profile", "changeProfile",
                "Set one's own name, and the address to sign in with.",
                self._change_profile, _TAG, ChangeProfile, ProfileBody, errors=(409, 413),
                permission=own,
            ),
            Operation(
                "POST", "/api/session/password", "changePassword",
                "Set one's own password, and end all one's sessions.",
                self._change_password, _TAG, ChangePassword, PasswordChanged,
                errors=(413, 429, 503), permission=own,
            ),
            Operation(
                "POST", "/api/sign-out", "signOut", "End the session of this browser.",
                self._sign_out, _TAG, answer=SignedOut, permission=own,
            ),
            Operation(
                "GET", "/api/prices", "listPrices", "The price book.",
                self._prices, _TAG, answer=PriceList, permission=Permission.MODELS_READ,
            ),
        ]  # fmt: skip

    async def _session(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        user = await self._people.user(caller, caller.user)
        organisation = await self._people.organisation(caller)
        project = await self._people.project(caller)
        spent = await self._ledger.statements.month_to_date(caller.project)
        budget = self._ledger.monthly_budget
        return json_answer(
            SessionBody(
                user=Reference(user.id, user.name),
                email=user.email,
                has_password=user.password_hash is not None,
                organisation=Reference(organisation.id, organisation.name),
                project=Reference(project.id, project.name),
                role=caller.role.value,
                operator=user.operator,
                permissions=sorted(caller.permissions),
                build=__version__,
                currency=self._ledger.currency,
                month=Month(spent.nanos, None if budget is None else budget.nanos),
            )
        )

    async def _projects(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        found = await self._people.projects_of(caller)
        return json_answer(OwnProjects([render_project(*one) for one in found]))

    async def _choose(self, request: Request) -> ASGIApp:
        caller = await self._in_person(request)
        asked = decode_request(ChooseProject, await self._doorway.body(request))
        wanted = ProjectId(asked.project)
        there = await self._identity.in_project(caller, wanted)
        if not there.may(Permission.ACCOUNT):
            raise no_project(wanted)
        _, session = await self._identity.by_session(request.cookies[SESSION_COOKIE])
        await self._identity.sessions.choose_project(session, wanted, caller.organisation)
        return json_answer(render_project(await self._people.project(there), there.role))

    async def _sessions(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        current = None
        if caller.key is None:
            _, session = await self._identity.by_session(request.cookies[SESSION_COOKIE])
            current = session.id
        held = await self._identity.sessions.list(caller.user)
        return json_answer(
            BrowserSessions(
                [
                    BrowserSession(
                        id=one.id,
                        created_at=int(one.created_at),
                        expires_at=int(one.expires_at),
                        last_used_at=None if one.last_used_at is None else int(one.last_used_at),
                        agent=one.agent,
                        current=one.id == current,
                    )
                    for one in held
                ]
            )
        )

    async def _end_session(self, request: Request) -> ASGIApp:
        caller = await self._in_person(request)
        wanted = SessionId(request.path_params["session_id"])
        await self._identity.sessions.end(wanted, caller.user, caller.organisation)
        return json_answer(Deleted(id=wanted, object="session.deleted"))

    async def _change_profile(self, request: Request) -> ASGIApp:
        caller = await self._in_person(request)
        asked = decode_request(ChangeProfile, await self._doorway.body(request))
        user = await self._sign_in.change_profile(caller, asked.name, asked.email)
        return json_answer(ProfileBody(user.id, user.name, user.email))

    async def _change_password(self, request: Request) -> ASGIApp:
        caller = await self._in_person(request)
        asked = decode_request(ChangePassword, await self._doorway.body(request))
        place = "" if request.client is None else request.client.host
        visitor = Visitor(place, request.headers.get("user-agent", ""), "")
        await self._sign_in.change_password(caller, asked.current, asked.new, visitor)
        return json_answer(PasswordChanged())

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

    async def _in_person(self, request: Request) -> Principal:
        """A caller who has signed in: a key that was found shall not open the account."""
        caller = await self._doorway.caller(request)
        if caller.key is not None:
            raise Forbidden(
                "This needs a signed-in person, not a key.", reason=Reason.PERMISSION_DENIED
            )
        return caller
