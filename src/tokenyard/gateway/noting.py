"""Entries of the audit log for changes whose stores know nothing of it: limits, nodes, servers.

Written right after the change and before the answer, so that nobody is told of a change that is not
in the log. Keys, people and projects are written together with theirs, in one transaction.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from tokenyard.gateway.operation import Operation
from tokenyard.gateway.ports import AuditStore
from tokenyard.gateway.rules.origins import SAFE_METHODS
from tokenyard.gateway.rules.permissions import NOTED
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.audit import entry_by
from tokenyard.vocabulary.identity import Principal


class _Named(msgspec.Struct):
    id: str = ""
    name: str = ""


class Noting:
    """Notes what was done by operations with certain permissions."""

    def __init__(self, audit: AuditStore, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock

    def concerns(self, operation: Operation) -> bool:
        """Whether what the operation does is noted here."""
        return operation.permission in NOTED and operation.method not in SAFE_METHODS

    async def note(self, operation: Operation, request: Request, answer: ASGIApp) -> None:
        """Write down what the caller has just done."""
        if not isinstance(answer, Response) or answer.status_code >= 300:
            return
        caller: Principal = request.scope["state"]["caller"]
        changed = next(reversed(request.path_params.values()), "") or _named(answer)
        entry = entry_by(
            caller,
            self._clock.now(),
            f"{operation.permission}.{operation.name}",
            changed or operation.name,
            {"path": request.url.path},
        )
        await self._audit.append(entry)


def _named(answer: Response) -> str:
    """What the answer says that it is about."""
    try:
        told = msgspec.json.decode(bytes(answer.body), type=_Named)
    except msgspec.MsgspecError:
        return ""
    return told.id or told.name
