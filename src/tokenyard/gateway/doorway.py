"""What every operation does first: name the caller, and read a body of bounded length."""

import re
from dataclasses import replace

from starlette.requests import Request

from tokenyard.gateway.identity import Identity, credentials_of
from tokenyard.gateway.presence import ReaderGone
from tokenyard.gateway.rules.origins import comes_from_us
from tokenyard.vocabulary.errors import BodyTooLarge, Forbidden, InvalidRequest
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import ProjectId
from tokenyard.vocabulary.reasons import Reason

# A path with it is about that project, and the caller is asked for what it may there.
PROJECT_PARAMETER = "project_id"
# Tags, divided by commas, that a model server must have to be asked for this request.
SERVER_TAGS = "x-server-tags"
# Where in the state of a request its headers are, once they were read.
HEADERS = "headers"
_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TAGS_MAX = 20


class Doorway:
    """Turns a raw request into a caller and bytes."""

    def __init__(self, identity: Identity, *, body_bytes_max: int) -> None:
        self._identity = identity
        self._body_bytes_max = body_bytes_max

    async def caller(self, request: Request) -> Principal:
        """Who asks, in the project that the path names or in its own.

        Raises Unauthenticated, Forbidden when it lacks what the operation needs, or NotFound for a
        project that it has no business in.
        """
        headers = headers_of(request)
        cookies = request.cookies if "cookie" in headers else {}
        caller = await self._identity.authenticate(credentials_of(request.method, headers, cookies))
        project = request.path_params.get(PROJECT_PARAMETER)
        if project is not None:
            caller = await self._identity.in_project(caller, ProjectId(project))
        told = headers.get(SERVER_TAGS)
        if told is not None:
            caller = replace(caller, server_tags=caller.server_tags | _read_tags(told))
        request.scope["state"]["caller"] = caller
        needed: Permission = request.scope["state"]["permission"]
        if not caller.may(needed):
            raise Forbidden(
                f"This needs the permission '{needed}', which your role"
                f"{' and the scopes of this key do' if caller.key else ' does'} not give.",
                reason=Reason.PERMISSION_DENIED,
            )
        return caller

    def refuse_foreign(self, request: Request) -> None:
        """Raises Forbidden for a browser that is on a page of another site.

        For what needs no caller and begins a session: nobody is to be signed in unawares.
        """
        headers = request.headers
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        told = origin is not None or site is not None
        if told and not comes_from_us(request.method, headers.get("host", ""), origin, site):
            raise Forbidden("This request comes from a page of another site.")

    async def body(self, request: Request) -> bytes:
        """The whole body; raises BodyTooLarge as soon as it is known to be too long."""
        announced = headers_of(request).get("content-length", "0")
        if not announced.isascii() or not announced.isdigit():
            raise InvalidRequest("The content-length header is not a number.")
        if int(announced) > self._body_bytes_max:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ReaderGone
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > self._body_bytes_max:
                raise self._too_large()
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is longer than {self._body_bytes_max} bytes.")


def _read_tags(told: str) -> frozenset[str]:
    tags = frozenset(tag for part in told.split(",") if (tag := part.strip()))
    if len(tags) > _TAGS_MAX or not all(_TAG.fullmatch(tag) for tag in tags):
        raise InvalidRequest(
            f"'{SERVER_TAGS}' names up to {_TAGS_MAX} tags, divided by commas.", param=SERVER_TAGS
        )
    return tags


def headers_of(request: Request) -> dict[str, str]:
    """The headers by name, of equal names the first; read once for all who look at them."""
    state = request.scope["state"]
    found: dict[str, str] | None = state.get(HEADERS)
    if found is None:
        found = state[HEADERS] = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(request.scope["headers"])
        }
    return found


def request_id(request: Request) -> str:
    """The id that this request has in answers and logs."""
    return str(request.scope["state"]["request_id"])
