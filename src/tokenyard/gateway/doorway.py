"""What every operation does first: name the caller, and read a body of bounded length."""

from starlette.requests import ClientDisconnect, Request

from tokenyard.gateway.connection import ReaderGone
from tokenyard.gateway.identity import Identity, credentials_of
from tokenyard.vocabulary.errors import BodyTooLarge, InvalidRequest
from tokenyard.vocabulary.identity import Principal


class Doorway:
    """Turns a raw request into a caller and bytes."""

    def __init__(self, identity: Identity, *, body_bytes_max: int) -> None:
        self._identity = identity
        self._body_bytes_max = body_bytes_max

    async def caller(self, request: Request) -> Principal:
        """Who asks; raises Unauthenticated or Forbidden."""
        return await self._identity.authenticate(
            credentials_of(request.method, request.headers, request.cookies)
        )

    async def body(self, request: Request) -> bytes:
        """The whole body; raises BodyTooLarge as soon as it is known to be too long."""
        announced = request.headers.get("content-length", "0")
        if not announced.isascii() or not announced.isdigit():
            raise InvalidRequest("The content-length header is not a number.")
        if int(announced) > self._body_bytes_max:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > self._body_bytes_max:
                    raise self._too_large()
                chunks.append(chunk)
        except ClientDisconnect:
            raise ReaderGone from None
        return b"".join(chunks)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is longer than {self._body_bytes_max} bytes.")


def request_id(request: Request) -> str:
    """The id that this request has in answers and logs."""
    return str(request.scope["state"]["request_id"])
