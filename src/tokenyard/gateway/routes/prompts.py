"""Stored prompts: versions, labels, differences, and an importer of OpenAI's prompt objects."""

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.chat.prompts import Prompt, Prompts, PromptVersion
from tokenyard.chat.rules.prompts import PromptContent
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_int
from tokenyard.gateway.routes.pages import AFTER, LIMIT
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.prompts import (
    TEXT_MAX,
    CreatePromptRequest,
    CreateVersionRequest,
    DiffLineBody,
    ForeignMessage,
    ForeignPrompt,
    ImportPromptsRequest,
    PromptContentBody,
    PromptDeleted,
    PromptDiff,
    PromptList,
    PromptMessageBody,
    PromptVersionBody,
    PromptVersionList,
    RenamePromptRequest,
    SetLabelRequest,
    StoredPromptBody,
    VariableBody,
)
from tokenyard.vocabulary.errors import Conflict, InvalidRequest
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import PromptId
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason

_TAG = "Prompts"
_ALL = "/api/prompts"
_ONE = "/api/prompts/{prompt_id}"
_LABEL = f"{_ONE}/labels/{{label}}"
_BEFORE = Query("before", "The last version of the page before.", int, 1, 2**31 - 1)
_FROM = Query("from", "The older version: a number or a label.")
_TO = Query("to", "The newer version: a number or a label.")


class PromptRoutes:
    """Handlers of the Prompts API."""

    def __init__(self, *, doorway: Doorway, prompts: Prompts) -> None:
        self._doorway = doorway
        self._prompts = prompts

    def operations(self) -> list[Operation]:
        """What this module serves."""
        read, write = Permission.PROMPTS_READ, Permission.PROMPTS_WRITE
        return [
            Operation(
                "POST", _ALL, "createPrompt", "A new prompt with its first version.",
                self._create, _TAG, CreatePromptRequest, StoredPromptBody,
                errors=(413, 429), permission=write,
            ),
            Operation(
                "GET", _ALL, "listPrompts", "The project's prompts, the newest first.",
                self._list, _TAG, answer=PromptList, query=(LIMIT, AFTER), permission=read,
            ),
            Operation(
                "POST", f"{_ALL}/import", "importPrompts", "Take prompt objects of OpenAI's over.",
                self._import, _TAG, ImportPromptsRequest, PromptList,
                errors=(409, 413, 429), permission=write,
            ),
            Operation(
                "GET", _ONE, "getPrompt", "One prompt.",
                self._get, _TAG, answer=StoredPromptBody, errors=(404,), permission=read,
            ),
            Operation(
                "POST", _ONE, "renamePrompt", "Give it another name.",
                self._rename, _TAG, RenamePromptRequest, StoredPromptBody,
                errors=(404, 413), permission=write,
            ),
            Operation(
                "DELETE", _ONE, "deletePrompt", "Delete it with all its versions.",
                self._delete, _TAG, answer=PromptDeleted, errors=(404,), permission=write,
            ),
            Operation(
                "POST", f"{_ONE}/versions", "createPromptVersion",
                "Save the next version; the ones before never change.",
                self._add_version, _TAG, CreateVersionRequest, PromptVersionBody,
                errors=(404, 409, 413, 429), permission=write,
            ),
            Operation(
                "GET", f"{_ONE}/versions", "listPromptVersions", "Its versions, newest first.",
                self._versions, _TAG, answer=PromptVersionList, query=(LIMIT, _BEFORE),
                errors=(404,), permission=read,
            ),
            Operation(
                "GET", f"{_ONE}/versions/{{version}}", "getPromptVersion",
                "The version that a number or a label means.",
                self._version, _TAG, answer=PromptVersionBody, errors=(404,), permission=read,
            ),
            Operation(
                "GET", f"{_ONE}/diff", "diffPrompt", "What changed between two versions.",
                self._diff, _TAG, answer=PromptDiff, query=(_FROM, _TO),
                errors=(404,), permission=read,
            ),
            Operation(
                "PUT", _LABEL, "setPromptLabel",
                "Put a label on a version; a roll-back is the label put back.",
                self._set_label, _TAG, SetLabelRequest, StoredPromptBody,
                errors=(404, 413, 429), permission=write,
            ),
            Operation(
                "DELETE", _LABEL, "deletePromptLabel", "Take a label away.",
                self._drop_label, _TAG, answer=StoredPromptBody, errors=(404,), permission=write,
            ),
        ]  # fmt: skip

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(CreatePromptRequest, await self._doorway.body(request))
        content = _read_content(asked.content)
        return json_answer(
            _render(await self._prompts.create(caller, asked.name, content, note=asked.note))
        )

    async def _list(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        after = request.query_params.get(AFTER.name)
        found, more = await self._prompts.page(
            caller,
            limit=read_int(request, LIMIT) or 20,
            after=None if after is None else PromptId(after),
        )
        return json_answer(PromptList(data=[_render(one) for one in found], has_more=more))

    async def _import(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(ImportPromptsRequest, await self._doorway.body(request))
        # All are read before one is written, so that a refusal leaves nothing behind.
        read = [(one, _read_foreign(one, place)) for place, one in enumerate(asked.prompts)]
        made = [await self._take_over(caller, one, content) for one, content in read]
        return json_answer(PromptList(data=[_render(one) for one in made], has_more=False))

    async def _take_over(
        self, caller: Principal, foreign: ForeignPrompt, content: PromptContent
    ) -> Prompt:
        name = (foreign.name or foreign.id or "Imported prompt")[:200]
        note = f"Version {foreign.version} at OpenAI." if foreign.version else "From OpenAI."
        try:
            return await self._prompts.create(caller, name, content, note=note, id=foreign.id)
        except Conflict:
            # The same prompt in a later version.
            assert foreign.id is not None
            await self._prompts.add_version(caller, PromptId(foreign.id), content, note=note)
            return await self._prompts.get(caller, PromptId(foreign.id))

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        return json_answer(_render(await self._prompts.get(caller, _id(request))))

    async def _rename(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(RenamePromptRequest, await self._doorway.body(request))
        return json_answer(_render(await self._prompts.rename(caller, _id(request), asked.name)))

    async def _delete(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        await self._prompts.delete(caller, _id(request))
        return json_answer(PromptDeleted(id=_id(request)))

    async def _add_version(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(CreateVersionRequest, await self._doorway.body(request))
        wanted = _id(request)
        if (asked.content is None) is (asked.from_version is None):
            raise InvalidRequest("Give either 'content' or 'from_version'.", param="content")
        if asked.content is not None:
            made = await self._prompts.add_version(
                caller, wanted, _read_content(asked.content), note=asked.note
            )
        else:
            made = await self._prompts.restore(caller, wanted, asked.from_version or 0)
        return json_answer(_render_version(wanted, made))

    async def _versions(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        found, more = await self._prompts.versions(
            caller,
            _id(request),
            limit=read_int(request, LIMIT) or 20,
            before=read_int(request, _BEFORE),
        )
        data = [_render_version(_id(request), one) for one in found]
        return json_answer(PromptVersionList(data=data, has_more=more))

    async def _version(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        name = request.path_params["version"]
        prompt, found = await self._prompts.version(caller, _id(request), name)
        return json_answer(_render_version(prompt.id, found))

    async def _diff(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        names = []
        for query in (_FROM, _TO):
            name = request.query_params.get(query.name)
            if not name:
                raise InvalidRequest(f"'{query.name}' is missing.", param=query.name)
            names.append(name)
        lines = await self._prompts.compare(caller, _id(request), *names)
        return json_answer(
            PromptDiff(lines=[DiffLineBody(op=line.op, text=line.text) for line in lines])
        )

    async def _set_label(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(SetLabelRequest, await self._doorway.body(request))
        label = request.path_params["label"]
        changed = await self._prompts.set_label(caller, _id(request), label, asked.version)
        return json_answer(_render(changed))

    async def _drop_label(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        label = request.path_params["label"]
        return json_answer(
            _render(await self._prompts.set_label(caller, _id(request), label, None))
        )


def _id(request: Request) -> PromptId:
    return PromptId(request.path_params["prompt_id"])


def _read_content(body: PromptContentBody) -> PromptContent:
    return msgspec.convert(msgspec.to_builtins(body), PromptContent)


def _read_foreign(foreign: ForeignPrompt, place: int) -> PromptContent:
    if foreign.tools:
        raise InvalidRequest(
            "The tools of a prompt are not supported.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            param=f"prompts.{place}.tools",
        )
    messages = tuple(_read_message(message, place) for message in foreign.messages or ())
    return PromptContent(
        instructions=foreign.instructions or "",
        messages=messages,
        model=foreign.model,
        temperature=foreign.temperature,
        top_p=foreign.top_p,
        max_output_tokens=foreign.max_output_tokens,
    )


def _read_message(message: ForeignMessage, place: int) -> Message:
    if isinstance(message.content, str):
        text = message.content
    else:
        for part in message.content:
            if part.type not in ("input_text", "output_text", "text"):
                raise InvalidRequest(
                    f"Parts of type '{part.type[:64]}' are not supported.",
                    reason=Reason.UNSUPPORTED_PARAMETER,
                    param=f"prompts.{place}.messages",
                )
        text = "".join(part.text for part in message.content)
    if len(text) > TEXT_MAX:
        raise InvalidRequest(
            f"A message holds at most {TEXT_MAX} characters.", param=f"prompts.{place}.messages"
        )
    return Message(message.role, text)


def _render(prompt: Prompt) -> StoredPromptBody:
    return StoredPromptBody(
        id=prompt.id,
        name=prompt.name,
        created_at=int(prompt.created_at),
        updated_at=int(prompt.updated_at),
        newest_version=prompt.newest,
        labels=dict(prompt.labels),
    )


def _render_version(prompt: PromptId, version: PromptVersion) -> PromptVersionBody:
    held = version.content
    content = PromptContentBody(
        instructions=held.instructions,
        messages=[
            PromptMessageBody(role=turn.role, content=turn.content) for turn in held.messages
        ],
        variables=[
            msgspec.convert(msgspec.to_builtins(variable), VariableBody)
            for variable in held.variables
        ],
        model=held.model,
        temperature=held.temperature,
        top_p=held.top_p,
        max_output_tokens=held.max_output_tokens,
    )
    used = version.last_used_at
    return PromptVersionBody(
        prompt_id=prompt,
        version=version.number,
        content=content,
        created_at=int(version.created_at),
        user_id=version.user,
        note=version.note,
        uses=version.uses,
        last_used_at=None if used is None else int(used),
    )
