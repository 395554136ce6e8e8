"""Responses: asked for, read, resumed and cancelled; the server writes them whoever is reading."""

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response as PlainResponse
from starlette.types import ASGIApp

from tokenyard.chat.office import ChatOffice
from tokenyard.chat.records import Ask
from tokenyard.chat.responses import Permit, Responses
from tokenyard.chat.rules.resume import (
    Ended,
    ReadFrom,
    Refused,
    decide,
    parse_event_id,
    spell_event_id,
)
from tokenyard.chat.streams import LiveStream
from tokenyard.gateway.admission import BYTES_PER_TOKEN, Admission, Asking
from tokenyard.gateway.connection import EventStream, while_connected
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, Query, json_answer, read_choice, read_int
from tokenyard.gateway.routes.asking import AskReader
from tokenyard.gateway.routes.pages import AFTER, LIMIT, ORDER, message_page
from tokenyard.ledger.ledger import Ledger
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.response_events import ResponseEvent
from tokenyard.protocol.responses import (
    CreateResponseRequest,
    MessageList,
    ResponseBody,
    ResponseDeleted,
)
from tokenyard.protocol.sse import frame
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import ItemId, ResponseId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Responses"
_STREAM = Query(
    "stream", "Send the events instead of the response.", bool, choices=("true", "false")
)
_AFTER = Query("starting_after", "Go on strictly after this event.", int, 0, 2**31)


class ResponseRoutes:
    """Handlers of the Responses API."""

    def __init__(
        self,
        *,
        doorway: Doorway,
        admission: Admission,
        pool: UpstreamPool,
        ledger: Ledger,
        responses: Responses,
        reader: AskReader,
        chat: ChatOffice,
        tasks: TaskSupervisor,
        metrics: GatewayMetrics,
        heartbeat_seconds: float,
    ) -> None:
        self._doorway = doorway
        self._admission = admission
        self._pool = pool
        self._ledger = ledger
        self._responses = responses
        self._chat = chat
        self._reader = reader
        self._tasks = tasks
        self._metrics = metrics
        self._heartbeat_seconds = heartbeat_seconds

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/v1/responses", "createResponse",
                "Answer in a conversation or alone; the answer goes on when the client leaves.",
                self._create, _TAG, CreateResponseRequest, ResponseBody, ResponseEvent,
                errors=(404, 409, 413, 429, 503), permission=Permission.INFERENCE,
            ),
            Operation(
                "GET", "/v1/responses/{response_id}", "getResponse",
                "A response as it stands, or its events from any place on.",
                self._get, _TAG, answer=ResponseBody, streams=ResponseEvent,
                query=(_STREAM, _AFTER), errors=(404,), permission=Permission.CHAT_READ,
            ),
            Operation(
                "POST", "/v1/responses/{response_id}/cancel", "cancelResponse",
                "Stop a response and keep what there is of it.",
                self._cancel, _TAG, answer=ResponseBody, errors=(404,),
                permission=Permission.INFERENCE,
            ),
            Operation(
                "DELETE", "/v1/responses/{response_id}", "deleteResponse",
                "Stop a response if it runs, and delete it.",
                self._delete, _TAG, answer=ResponseDeleted, errors=(404,),
                permission=Permission.CHAT_WRITE,
            ),
            Operation(
                "GET", "/v1/responses/{response_id}/input_items", "listInputItems",
                "What was asked of a response.",
                self._input_items, _TAG, answer=MessageList, query=(LIMIT, AFTER, ORDER),
                errors=(404,), permission=Permission.CHAT_READ,
            ),
        ]  # fmt: skip

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        asked = decode_request(CreateResponseRequest, body)
        ask, model = await self._reader.read(caller, asked)
        permit = await self._permit(caller, ask, model.window(), len(body))
        stream = await self._responses.create(caller, ask, permit)
        if ask.options.prompt is not None:
            await self._chat.prompts.count_use(ask.options.prompt)
        if ask.conversation is not None and self._chat.titles is not None:
            self._chat.titles.follow(caller, ask.conversation, ask.model, stream.closed())
        if asked.stream:
            return self._events(stream, 0)
        if not asked.background:
            await while_connected(
                stream.closed(),
                request.receive,
                tasks=self._tasks,
                name=f"wait for {stream.response}",
                abandon=None,
            )
        return json_answer(await self._responses.result(caller, stream.response))

    async def _permit(self, caller: Principal, ask: Ask, window: int, size: int) -> Permit:
        lease = await self._admission.enter(
            caller,
            Asking(
                ask.model,
                # The history comes on top; the true count is settled at the end.
                input_tokens=min(size // BYTES_PER_TOKEN + 1, window),
                output_tokens=ask.sampling.max_tokens,
                window=window,
            ),
        )
        try:
            reservation = await self._ledger.reserve(
                caller,
                ask.model,
                # The history may fill the window; what is left of it bounds the answer.
                prompt_tokens=window,
                completion_tokens_max=min(ask.sampling.max_tokens or window, window),
            )
        except BaseException:
            lease.release()
            raise
        self._ledger.watch(reservation, lease.note)
        return Permit(reservation, lease.release)

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = ResponseId(request.path_params["response_id"])
        if read_choice(request, _STREAM, "false") == "false":
            return json_answer(await self._responses.get(caller, wanted))
        stream = await self._responses.stream(caller, wanted)
        if stream is None:
            raise NotFound(
                "The events of this response are no longer kept; GET it without 'stream'.",
                param="response_id",
            )
        log = stream.log
        cursor = _read_cursor(request, wanted)
        match decide(cursor, next_sequence=log.next_sequence, closed=log.closed):
            case ReadFrom(sequence):
                return self._events(stream, sequence)
            case Ended():
                return PlainResponse(status_code=204)
            case Refused(why):
                raise _bad_cursor(why)

    async def _cancel(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = ResponseId(request.path_params["response_id"])
        return json_answer(await self._responses.cancel(caller, wanted))

    async def _delete(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = ResponseId(request.path_params["response_id"])
        await self._responses.delete(caller, wanted)
        return json_answer(ResponseDeleted(id=wanted))

    async def _input_items(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        items = await self._responses.input_items(
            caller, ResponseId(request.path_params["response_id"])
        )
        if read_choice(request, ORDER, "desc") == "desc":
            items.reverse()
        after = request.query_params.get(AFTER.name)
        if after is not None:
            seen = [item.id for item in items]
            if after not in seen:
                raise InvalidRequest("'after' names no item of this list.", param="after")
            items = items[seen.index(ItemId(after)) + 1 :]
        limit = read_int(request, LIMIT) or 20
        return json_answer(message_page(items[:limit], more=len(items) > limit))

    def _events(self, stream: LiveStream, start: int) -> EventStream:
        return EventStream(
            self._frames(stream, start),
            name=f"reader of {stream.response}",
            tasks=self._tasks,
            heartbeat_seconds=self._heartbeat_seconds,
            headers={"x-response-id": stream.response},
        )

    async def _frames(self, stream: LiveStream, start: int) -> AsyncGenerator[bytes, None]:
        self._metrics.stream_readers.inc()
        try:
            async for batch in stream.read(start):
                yield b"".join(
                    frame(
                        event.data,
                        event=event.type,
                        id=spell_event_id(stream.response, stream.epoch, event.sequence),
                    )
                    for event in batch
                )
        finally:
            self._metrics.stream_readers.dec()


def _read_cursor(request: Request, response: ResponseId) -> int | None:
    """`Last-Event-ID` wins over `starting_after`; both mean strictly after."""
    told = request.headers.get("last-event-id")
    if told is None:
        return read_int(request, _AFTER)
    cursor = parse_event_id(told, response)
    if isinstance(cursor, Refused):
        raise _bad_cursor(cursor.why)
    return cursor


def _bad_cursor(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The place to go on from is wrong: {why}.",
        reason=Reason.INVALID_CURSOR,
        param="starting_after",
    )
