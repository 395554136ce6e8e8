"""Conversations as files: out in OpenAI's or Open WebUI's form, and in from either."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from tokenyard.chat.rules.transfer import Format, list_entries
from tokenyard.chat.transfer import Transfer
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_choice
from tokenyard.protocol.conversations import ImportResult
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.ids import ConversationId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Conversations"
_FORMAT = Query("format", "Whose form the file has.", choices=tuple(Format))
_ONE = Query("conversation_id", "Only this conversation.")


class TransferRoutes:
    """Handlers of export and import."""

    def __init__(self, *, doorway: Doorway, transfer: Transfer) -> None:
        self._doorway = doorway
        self._transfer = transfer

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "GET", "/api/export", "exportConversations",
                "The caller's conversations as a file for another program.",
                self._export, _TAG, answer=list[dict[str, Any]], query=(_FORMAT, _ONE),
                errors=(404,), permission=Permission.CHAT_READ,
            ),
            Operation(
                "POST", "/api/import", "importConversations",
                "Take in the file of another program: a list of conversations, or one.",
                self._import, _TAG, list[dict[str, Any]], ImportResult,
                errors=(413,), permission=Permission.CHAT_WRITE,
            ),
        ]  # fmt: skip

    async def _export(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        form = Format(read_choice(request, _FORMAT, Format.OPENAI))
        only = request.query_params.get(_ONE.name)
        entries = self._transfer.give_out(
            caller, form, None if only is None else ConversationId(only)
        )
        # The first one before the headers, so that what is not there is a 404.
        first = await anext(entries, None)
        headers = {"content-disposition": f'attachment; filename="conversations-{form}.json"'}
        return StreamingResponse(
            _write_list(first, entries), media_type="application/json", headers=headers
        )

    async def _import(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        try:
            file = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise InvalidRequest(
                f"The file is not JSON: {error}.", reason=Reason.INVALID_JSON
            ) from None
        except RecursionError:
            raise InvalidRequest("The file is nested too deep.", param="body") from None
        taken = await self._transfer.take_in(caller, list_entries(file))
        return json_answer(
            ImportResult(
                conversation_ids=list(taken.conversations),
                messages=taken.messages,
                skipped_messages=taken.skipped,
            )
        )


async def _write_list(
    first: dict[str, Any] | None, entries: AsyncIterator[dict[str, Any]]
) -> AsyncIterator[bytes]:
    """A JSON list, one entry in memory at a time."""
    yield b"["
    if first is not None:
        yield msgspec.json.encode(first)
        async for entry in entries:
            yield b",\n" + msgspec.json.encode(entry)
    yield b"]\n"
