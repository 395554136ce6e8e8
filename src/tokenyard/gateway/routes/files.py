"""OpenAI's Files API."""

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp

from tokenyard.gateway.admission import Admission
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_choice, read_int
from tokenyard.gateway.uploads import FILE_FIELD, Form, read_form
from tokenyard.jobs.batches.files import Files
from tokenyard.jobs.batches.records import Purpose
from tokenyard.jobs.batches.rendering import render_file
from tokenyard.protocol.batches import FileBody, FileDeleted, FileList, KeptAfter, UploadForm
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.ids import FileId

_TAG = "Files"
_PATH = "/v1/files/{file_id}"
_PAGE_MAX = 10_000
_LIMIT = Query("limit", "Most entries of the page.", int, 1, _PAGE_MAX)
_AFTER = Query("after", "Id of the last entry of the page before.")
_ORDER = Query("order", "Oldest or newest first.", choices=("asc", "desc"))
_PURPOSE = Query("purpose", "Only files for this.", choices=tuple(Purpose))
_TAKEN = {"batch": Purpose.BATCH, "user_data": Purpose.USER_DATA}
_KEPT = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}


class FileRoutes:
    """Handlers of the Files API."""

    def __init__(self, *, doorway: Doorway, admission: Admission, files: Files) -> None:
        self._doorway = doorway
        self._admission = admission
        self._files = files

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/v1/files", "createFile", "Upload a file.",
                self._create, _TAG, UploadForm, FileBody, errors=(413, 429, 503),
                request_type="multipart/form-data", permission=Permission.FILES_WRITE,
            ),
            Operation(
                "GET", "/v1/files", "listFiles", "The project's files.",
                self._list, _TAG, answer=FileList, query=(_LIMIT, _AFTER, _ORDER, _PURPOSE),
                permission=Permission.FILES_READ,
            ),
            Operation(
                "GET", _PATH, "retrieveFile", "What is known of a file.",
                self._get, _TAG, answer=FileBody, errors=(404,), permission=Permission.FILES_READ,
            ),
            Operation(
                "GET", f"{_PATH}/content", "downloadFile", "The bytes of a file.",
                self._content, _TAG, errors=(404,), content_type="application/octet-stream",
                permission=Permission.FILES_READ,
            ),
            Operation(
                "DELETE", _PATH, "deleteFile", "Delete a file that no open batch reads.",
                self._delete, _TAG, answer=FileDeleted, errors=(404, 409),
                permission=Permission.FILES_WRITE,
            ),
        ]  # fmt: skip

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        # Counted as a request; its place is not kept, as no model server works for it.
        (await self._admission.enter(caller)).release()
        async with self._files.take_in(caller) as upload:
            form = await read_form(
                request, upload.write, silence_seconds=self._files.silence_seconds
            )
            if form.filename is None:
                raise InvalidRequest("The form has no file.", param=FILE_FIELD)
            file = await upload.finish(
                filename=form.filename,
                purpose=_read_purpose(form),
                kept_seconds=_read_kept(form),
            )
        return json_answer(render_file(file))

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        after = request.query_params.get(_AFTER.name)
        purpose = None
        if _PURPOSE.name in request.query_params:
            purpose = Purpose(read_choice(request, _PURPOSE, ""))
        found, more = await self._files.page(
            caller,
            purpose=purpose,
            limit=read_int(request, _LIMIT) or _PAGE_MAX,
            after=None if after is None else FileId(after),
            newest_first=read_choice(request, _ORDER, "desc") == "desc",
        )
        return json_answer(
            FileList(
                data=[render_file(file) for file in found],
                has_more=more,
                first_id=found[0].id if found else "",
                last_id=found[-1].id if found else "",
            )
        )

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(render_file(await self._files.get(caller, _id(request))))

    async def _content(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        file, path = await self._files.locate(caller, _id(request))
        return FileResponse(path, media_type="application/octet-stream", filename=file.filename)

    async def _delete(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        await self._files.delete(caller, _id(request))
        return json_answer(FileDeleted(id=_id(request)))


def _id(request: Request) -> FileId:
    return FileId(request.path_params["file_id"])


def _read_purpose(form: Form) -> Purpose:
    told = form.fields.get("purpose", "")
    if told not in _TAKEN:
        raise InvalidRequest(f"'purpose' must be one of {', '.join(_TAKEN)}.", param="purpose")
    return _TAKEN[told]


def _read_kept(form: Form) -> int | None:
    """`expires_after[anchor]` and `expires_after[seconds]`, as OpenAI's clients spell them."""
    for name in form.fields:
        if name != "purpose" and name not in _KEPT:
            raise InvalidRequest(f"The form has an unknown field '{name[:64]}'.", param=name[:64])
    told = {inner: form.fields[name] for name, inner in _KEPT.items() if name in form.fields}
    if not told:
        return None
    try:
        return msgspec.convert(told, KeptAfter, strict=False).seconds
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"'expires_after': {error}.", param="expires_after") from None
