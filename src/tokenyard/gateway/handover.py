"""How a reader of events is given to a connection of another kind than the request's own.

A WebSocket asks the gateway as a request would, so that limits, permissions, idempotency and the
log are the same; in place of an event stream it takes the reading itself. Knows nothing of sockets.
"""

from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp

from tokenyard.chat.reading import Reading
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ResponseId

# Where an inner request has its `Handover` in its scope. What the gateway records for a repeated
# request has none of what begins so: it is read by many.
HANDOVER = "tokenyard.handover"


@dataclass(frozen=True, slots=True)
class Handed:
    """Who reads what from where on."""

    caller: Principal
    response: ResponseId
    reading: Reading


class Handover:
    """Holds what was handed over, until it is fetched."""

    def __init__(self) -> None:
        self.handed: Handed | None = None

    def take(self, handed: Handed) -> ASGIApp:
        """Keep the reading; the answer that goes in place of its events."""
        self.handed = handed
        return Response(status_code=200)
