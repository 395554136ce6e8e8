"""Items on the wire as drafts of the chat's; files are fetched and read as text."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from typing import assert_never

from tokenyard.chat.documents import Documents
from tokenyard.chat.records import Attachment, Draft, FunctionCall, ItemKind
from tokenyard.jobs.batches.files import Files
from tokenyard.jobs.batches.records import Purpose
from tokenyard.protocol.response_items import InputFile, InputItem
from tokenyard.vocabulary.errors import BodyTooLarge, Forbidden, InvalidRequest
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import FileId
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason

_UNNAMED = "file"


class DraftReader:
    """Reads items that are asked, or added to conversations."""

    def __init__(self, files: Files, documents: Documents) -> None:
        self._files = files
        self._documents = documents

    async def read(
        self, caller: Principal, items: Sequence[InputItem], param: str = "input"
    ) -> list[Draft]:
        """Drafts in their order; raises InvalidRequest, and NotFound for files."""
        return [
            await self._read(caller, item, f"{param}[{place}]") for place, item in enumerate(items)
        ]

    async def _read(self, caller: Principal, item: InputItem, path: str) -> Draft:
        item.check(path)
        match item.type:
            case "message":
                attached = [await self._attach(caller, one) for one in item.files()]
                role = item.role or Role.USER
                return Draft(role, item.text(), attachments=tuple(attached))
            case "function_call":
                call = FunctionCall(item.call_id or "", item.name or "")
                return Draft(Role.ASSISTANT, item.text(), ItemKind.FUNCTION_CALL, call=call)
            case "function_call_output":
                call = FunctionCall(item.call_id or "")
                return Draft(Role.TOOL, item.text(), ItemKind.FUNCTION_OUTPUT, call=call)
            case "reasoning":
                return Draft(Role.ASSISTANT, item.text(), ItemKind.REASONING)
            case _:
                assert_never(item.type)

    async def _attach(self, caller: Principal, told: InputFile) -> Attachment:
        if (told.file_id is None) is (told.file_data is None):
            raise InvalidRequest(
                "An 'input_file' has either 'file_id' or 'file_data'.", param="input"
            )
        if told.file_id is not None:
            return await self._fetch(caller, FileId(told.file_id), told.filename)
        data = _decode(told.file_data or "")
        return await self._documents.read(told.filename or _UNNAMED, data)

    async def _fetch(self, caller: Principal, file: FileId, filename: str | None) -> Attachment:
        if not caller.may(Permission.FILES_READ):
            raise Forbidden(
                "This key may not read files.", reason=Reason.PERMISSION_DENIED, param="input"
            )
        stored, path = await self._files.locate(caller, file)
        if stored.purpose is not Purpose.USER_DATA:
            raise InvalidRequest(
                f"The file '{file}' has the purpose '{stored.purpose}', not 'user_data'.",
                param="input",
            )
        if stored.bytes > self._documents.bytes_max:
            raise BodyTooLarge(
                f"The file '{stored.filename}' is longer than {self._documents.bytes_max} bytes.",
                reason=Reason.FILE_TOO_LARGE,
                param="input",
            )
        data = await asyncio.to_thread(path.read_bytes)
        return await self._documents.read(filename or stored.filename, data, file)


def _decode(told: str) -> bytes:
    """Bytes of a base64 `data:` URL, or of base64 alone."""
    head, comma, tail = told.partition(",")
    if comma and not (head.startswith("data:") and head.endswith(";base64")):
        raise InvalidRequest("'file_data' is not a base64 'data:' URL.", param="input")
    try:
        return base64.b64decode(tail if comma else head, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("'file_data' is not base64.", param="input") from None
