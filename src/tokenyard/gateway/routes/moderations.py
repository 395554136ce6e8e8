"""Moderations: passes texts to the moderation server that the operator has chosen."""

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.gateway.admission import Admission
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.moderations import ModerationBody, ModerationRequest
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import NotFound, UpstreamFailed
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.reasons import Reason


class ModerationRoutes:
    """The handler of moderations."""

    def __init__(self, *, doorway: Doorway, admission: Admission, pool: UpstreamPool) -> None:
        self._doorway = doorway
        self._admission = admission
        self._pool = pool

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/v1/moderations", "createModeration",
                "What the moderation model says of texts.",
                self._moderate, "Moderations", ModerationRequest, ModerationBody,
                errors=(404, 413, 429, 502, 503), permission=Permission.INFERENCE,
            ),
        ]  # fmt: skip

    async def _moderate(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(ModerationRequest, await self._doorway.body(request))
        moderation = self._pool.moderation
        if moderation is None:
            raise NotFound(
                "No moderation server is configured here (moderation.url).",
                reason=Reason.MODERATION_NOT_CONFIGURED,
            )
        lease = await self._admission.enter(caller)
        try:
            told = await moderation.ask(msgspec.to_builtins(asked.input), asked.model)
            msgspec.json.decode(told, type=ModerationBody)
            return json_answer(bytes(told), headers=lease.headers)
        except msgspec.MsgspecError as error:
            raise UpstreamFailed("The moderation server answered something else.") from error
        finally:
            lease.release()
