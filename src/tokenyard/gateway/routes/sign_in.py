"""The ways in, which anybody may try: a link, a password, an invitation, a provider."""

from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer
from tokenyard.gateway.people import People
from tokenyard.gateway.sessions import SESSION_COOKIE
from tokenyard.gateway.sign_in import SignIn, Visitor
from tokenyard.protocol.decode import decode_request
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.vocabulary.errors import TokenyardError

_TAG = "Account"
_TOKEN = Query("token", "The secret of the link.")
_OPENID = "/api/sign-in/openid"
_JOURNEY_COOKIE = "tokenyard_journey"
_JOURNEY_SECONDS = 600
_Text = Annotated[str, Meta(max_length=256)]


class SignInWays(msgspec.Struct):
    """How people may sign in here, beside a link; providers by the name of their address."""

    password: bool
    providers: list[str]


class PasswordSignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who, and the proof."""

    email: _Text
    password: _Text


class SignedIn(msgspec.Struct):
    """The session's cookie came with this answer."""

    signed_in: bool = True


class InvitationLookup(msgspec.Struct, forbid_unknown_fields=True):
    """The secret of an invitation's link."""

    token: _Text


class InvitationBody(msgspec.Struct):
    """What an open invitation offers."""

    organisation: str
    email: str
    role: str
    expires_at: int


class AcceptInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """Who the bearer of the link wants to be."""

    token: _Text
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    password: _Text


class SignInRoutes:
    """Handlers of the ways in."""

    def __init__(
        self, *, doorway: Doorway, sign_in: SignIn, people: People, settings: IdentitySettings
    ) -> None:
        self._doorway = doorway
        self._sign_in = sign_in
        self._people = people
        self._settings = settings

    def operations(self) -> list[Operation]:
        """What this module serves."""
        back = "Come back from the provider, signed in."
        return [
            Operation(
                "GET", "/sign-in", "signIn", "Use a one-time link and go to the page.",
                self._by_link, _TAG, query=(_TOKEN,), authenticated=False, done=(303,),
            ),
            Operation(
                "GET", "/api/sign-in", "listSignInWays", "How people may sign in here.",
                self._ways, _TAG, answer=SignInWays, authenticated=False,
            ),
            Operation(
                "POST", "/api/sign-in", "signInWithPassword", "Begin a session with a password.",
                self._by_password, _TAG, PasswordSignIn, SignedIn,
                errors=(401, 403, 413, 429, 503), authenticated=False,
            ),
            Operation(
                "POST", "/api/invitations/look-up", "lookUpInvitation",
                "What the invitation of a link offers.",
                self._look_up, _TAG, InvitationLookup, InvitationBody, errors=(401, 403, 413),
                authenticated=False,
            ),
            Operation(
                "POST", "/api/invitations/accept", "acceptInvitation",
                "Become the user that an invitation is for, and begin a session.",
                self._accept, _TAG, AcceptInvitation, SignedIn,
                errors=(401, 403, 409, 413, 503), authenticated=False,
            ),
            Operation(
                "GET", f"{_OPENID}/{{provider}}", "signInWithProvider",
                "Go to an OpenID Connect provider to sign in.",
                self._to_provider, _TAG, errors=(404, 502), authenticated=False, done=(303,),
            ),
            Operation(
                "GET", f"{_OPENID}/{{provider}}/callback", "returnFromProvider", back,
                self._from_provider, _TAG, errors=(404,), authenticated=False, done=(303,),
            ),
        ]  # fmt: skip

    async def _by_link(self, request: Request) -> ASGIApp:
        token = request.query_params.get(_TOKEN.name, "")
        try:
            cookie = await self._sign_in.by_link(token, _visitor(request))
        except TokenyardError:
            return RedirectResponse("/?sign_in=invalid", status_code=303)
        return self._with_cookie(RedirectResponse("/", status_code=303), request, cookie)

    async def _ways(self, request: Request) -> ASGIApp:
        return json_answer(SignInWays(password=True, providers=self._sign_in.openid.names))

    async def _by_password(self, request: Request) -> ASGIApp:
        self._doorway.refuse_foreign(request)
        asked = decode_request(PasswordSignIn, await self._doorway.body(request))
        cookie = await self._sign_in.by_password(asked.email, asked.password, _visitor(request))
        return self._with_cookie(json_answer(SignedIn()), request, cookie)

    async def _look_up(self, request: Request) -> ASGIApp:
        self._doorway.refuse_foreign(request)
        asked = decode_request(InvitationLookup, await self._doorway.body(request))
        found = await self._sign_in.invitations.look_up(asked.token)
        there = await self._people.tenant(found.organisation)
        return json_answer(
            InvitationBody(there.name, found.email, found.role.value, int(found.expires_at))
        )

    async def _accept(self, request: Request) -> ASGIApp:
        self._doorway.refuse_foreign(request)
        asked = decode_request(AcceptInvitation, await self._doorway.body(request))
        cookie = await self._sign_in.by_invitation(
            asked.token, asked.name, asked.password, _visitor(request)
        )
        return self._with_cookie(json_answer(SignedIn()), request, cookie)

    async def _to_provider(self, request: Request) -> ASGIApp:
        name = request.path_params["provider"]
        address, journey = await self._sign_in.openid.begin(name, self._back(request, name))
        answer = RedirectResponse(address, status_code=303)
        answer.set_cookie(
            _JOURNEY_COOKIE,
            journey.pack(),
            max_age=_JOURNEY_SECONDS,
            path=_OPENID,
            httponly=True,
            samesite="lax",
            secure=self._is_secure(request),
        )
        return answer

    async def _from_provider(self, request: Request) -> ASGIApp:
        name, openid = request.path_params["provider"], self._sign_in.openid
        openid.provider(name)
        packed = request.cookies.get(_JOURNEY_COOKIE, "")
        try:
            claims = await openid.finish(
                name, packed, dict(request.query_params), self._back(request, name)
            )
            cookie = await self._sign_in.by_provider(claims, name, _visitor(request))
        except TokenyardError as error:
            # A person reads it, not a program: the page says what the reason means.
            answer: Response = RedirectResponse(
                f"/?sign_in=failed&reason={quote(error.reason)}", status_code=303
            )
        else:
            answer = self._with_cookie(RedirectResponse("/", status_code=303), request, cookie)
        answer.delete_cookie(_JOURNEY_COOKIE, path=_OPENID, httponly=True, samesite="lax")
        return answer

    def _with_cookie(self, answer: Response, request: Request, cookie: str) -> Response:
        answer.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=int(self._settings.session_seconds),
            httponly=True,
            samesite="lax",
            secure=self._is_secure(request),
        )
        return answer

    def _back(self, request: Request, provider: str) -> str:
        root = self._settings.public_url or str(request.base_url).rstrip("/")
        return f"{root}{_OPENID}/{quote(provider)}/callback"

    def _is_secure(self, request: Request) -> bool:
        return request.url.scheme == "https" or self._settings.public_url.startswith("https:")


def _visitor(request: Request) -> Visitor:
    return Visitor(
        place="" if request.client is None else request.client.host,
        agent=request.headers.get("user-agent", ""),
        cookie=request.cookies.get(SESSION_COOKIE, ""),
    )
