"""Responses: asked for, read, resumed and cancelled; the server writes them whoever is reading."""

from collections.abc import AsyncGenerator
from dataclasses import replace

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response as PlainResponse
from starlette.types import ASGIApp

from tokenyard.chat.office import ChatOffice
from tokenyard.chat.reading import Reading
from tokenyard.chat.records import Ask
from tokenyard.chat.responses import Permit
from tokenyard.chat.rules.resume import Cursor, Refused, parse_event_id
from tokenyard.chat.stream_office import StreamOffice
from tokenyard.chat.streams import LiveStream
from tokenyard.gateway.admission import BYTES_PER_TOKEN, Admission, Asking
from tokenyard.gateway.connection import EventStream, Patience
from tokenyard.gateway.doorway import Doorway, request_id
from tokenyard.gateway.handover import HANDOVER, Handed, Handover
from tokenyard.gateway.operation import Frames, Operation, Query, json_answer, read_choice, read_int
from tokenyard.gateway.presence import while_connected
from tokenyard.gateway.routes.asking import AskReader
from tokenyard.gateway.routes.pages import AFTER, LIMIT, ORDER, item_page, refuse_include
from tokenyard.gateway.rules.admission import Class
from tokenyard.ledger.ledger import Ledger
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.response_events import ResponseEvent
from tokenyard.protocol.responses import (
    CreateResponseRequest,
    ItemList,
    ResponseBody,
    ResponseDeleted,
)
from tokenyard.protocol.socket_frames import ClientFrame, ServerFrame
from tokenyard.protocol.sse import comment
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import InvalidRequest, UpgradeRequired
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import ItemId, ResponseId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Responses"
_EVENT_STREAM = "text/event-stream"
# How long a browser waits before it comes back, drawn for each connection.
_RETRY_MS_MIN, _RETRY_MS_MAX = 250, 2_000
_STREAM = Query(
    "stream", "Send the events instead of the response.", bool, choices=("true", "false")
)
_SNAPSHOT = Query(
    "snapshot",
    "Begin with the answer so far (`response.resync`) instead of all its events.",
    bool,
    choices=("true", "false"),
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
        streams: StreamOffice,
        reader: AskReader,
        chat: ChatOffice,
        tasks: TaskSupervisor,
        metrics: GatewayMetrics,
        patience: Patience,
    ) -> None:
        self._doorway = doorway
        self._admission = admission
        self._pool = pool
        self._ledger = ledger
        self._responses = streams.responses
        self._readings = streams.readings
        self._chat = chat
        self._reader = reader
        self._tasks = tasks
        self._metrics = metrics
        self._patience = patience

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/v1/responses", "createResponse",
                "Answer in a conversation or alone; the answer goes on when the client leaves.",
                self._create, _TAG, CreateResponseRequest, ResponseBody, ResponseEvent,
                errors=(404, 409, 413, 429, 503), permission=Permission.INFERENCE, replays=True,
            ),
            Operation(
                "GET", "/v1/responses", "connectResponses",
                "A WebSocket on which answers are asked for, resumed, cancelled and acknowledged.",
                self._connect, _TAG, socket=Frames(ClientFrame, ServerFrame), done=(101,),
                errors=(426, 503), permission=Permission.INFERENCE,
            ),
            Operation(
                "GET", "/v1/responses/{response_id}", "getResponse",
                "A response as it stands, or its events from any place on.",
                self._get, _TAG, answer=ResponseBody, streams=ResponseEvent,
                query=(_STREAM, _AFTER, _SNAPSHOT), errors=(404,), permission=Permission.CHAT_READ,
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
                self._input_items, _TAG, answer=ItemList, query=(LIMIT, AFTER, ORDER),
                errors=(404,), permission=Permission.CHAT_READ,
            ),
        ]  # fmt: skip

    async def _create(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        asked = decode_request(CreateResponseRequest, body)
        ask, model = await self._reader.read(caller, asked)
        service = self._admission.serve_as(asked.service_tier)
        ask = replace(
            ask,
            options=replace(ask.options, tier=service.tier),
            queue_place=service.queue_place,
        )
        permit = await self._permit(caller, ask, service.kind, model.window(), len(body))
        stream = await self._responses.create(caller, ask, permit)
        if ask.options.prompt is not None:
            await self._chat.prompts.count_use(ask.options.prompt)
        if ask.conversation is not None and self._chat.titles is not None:
            self._chat.titles.follow(caller, ask.conversation, ask.model, stream.ended())
        if asked.stream:
            return self._events(request, caller, stream.response, Reading(stream))
        if not asked.background:
            await while_connected(
                stream.ended(),
                request.scope,
                request.receive,
                tasks=self._tasks,
                name=f"wait for {stream.response}",
                abandon=None,
            )
        return json_answer(await self._responses.result(caller, stream.response))

    async def _connect(self, request: Request) -> ASGIApp:
        """Who asks without the upgrade; `sockets` serves those who ask with it."""
        await self._doorway.caller(request)
        raise UpgradeRequired(
            "This address is that of a WebSocket; send `Upgrade: websocket`.",
            headers={"upgrade": "websocket"},
        )

    async def _permit(
        self, caller: Principal, ask: Ask, kind: Class, window: int, size: int
    ) -> Permit:
        lease = await self._admission.enter(
            caller,
            Asking(
                ask.model,
                # The history comes on top; the true count is settled at the end.
                input_tokens=min(size // BYTES_PER_TOKEN + 1, window),
                output_tokens=ask.sampling.max_tokens,
                window=window,
                kind=kind,
            ),
        )
        try:
            reservation = await self._ledger.reserve(
                caller,
                ask.model,
                # The history may fill the window; what is left of it bounds the answer.
                prompt_tokens=window,
                completion_tokens_max=min(ask.sampling.max_tokens or window, window),
                tier=ask.options.tier,
            )
        except BaseException:
            lease.release()
            raise
        self._ledger.watch(reservation, lease.note)
        return Permit(reservation, lease.release)

    async def _get(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        refuse_include(request)
        wanted = ResponseId(request.path_params["response_id"])
        if read_choice(request, _STREAM, "false") == "false":
            return json_answer(await self._responses.get(caller, wanted))
        reading = await self._readings.open(
            caller,
            wanted,
            _read_cursor(request, wanted),
            picture=read_choice(request, _SNAPSHOT, "false") == "true",
        )
        if reading.over:
            return PlainResponse(status_code=204)
        return self._events(request, caller, wanted, reading)

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
        refuse_include(request)
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
        return json_answer(item_page(items[:limit], more=len(items) > limit))

    def _events(
        self, request: Request, caller: Principal, id: ResponseId, reading: Reading
    ) -> ASGIApp:
        handover: Handover | None = request.scope.get(HANDOVER)
        if handover is not None:
            return handover.take(Handed(caller, id, reading))
        patience, chance = self._patience, _draw(request_id(request))
        if _EVENT_STREAM in request.headers.get("accept", "") and patience.life is not None:
            # A browser's EventSource comes back by itself; not all of them at the same time.
            patience = replace(patience, life=patience.life * (0.8 + 0.4 * chance))
        else:
            patience = replace(patience, life=None)
        retry = b"retry: %d\n" % (_RETRY_MS_MIN + chance * (_RETRY_MS_MAX - _RETRY_MS_MIN))
        return EventStream(
            self._frames(caller, id, reading, retry),
            name=f"reader of {id}",
            tasks=self._tasks,
            patience=patience,
            headers={"x-response-id": id},
            closed=lambda reason: self._metrics.readers_closed.labels(reason).inc(),
            waiting=lambda: _tell_progress(reading.stream),
        )

    async def _frames(
        self, caller: Principal, id: ResponseId, reading: Reading, retry: bytes
    ) -> AsyncGenerator[bytes, None]:
        """The frames of all events; the time to come back is a line of the first one.

        Alone it would be an event without data, which OpenAI's client cannot read.
        """
        self._metrics.stream_readers.inc()
        head = retry
        try:
            while True:
                async for batch in reading.batches():
                    yield head + b"".join([event.frame for event in batch])
                    head = b""
                if not reading.lost:
                    return
                # The log was lost on the way: say so, and go on from a picture.
                reading = await self._readings.resync_reader(caller, id)
        finally:
            self._metrics.stream_readers.dec()


def _tell_progress(stream: LiveStream | None) -> bytes | None:
    """What a reader is told while the answer waits for its first words.

    A comment, because it is not part of the answer: it has no number, and nobody is told it again.
    """
    if stream is None or not stream.waits:
        return None
    read = stream.progress
    if read is None:
        return comment("waiting")
    if read.place is not UNSET:
        return comment(f"waiting, place {read.place} in line")
    return comment(f"reading {read.processed} of {read.total}, {read.cache} known")


def _draw(request_id: str) -> float:
    """A number from 0 to 1 that is another one for each request: the end of its random id."""
    return int(request_id[-4:], 16) / 0xFFFF


def _read_cursor(request: Request, response: ResponseId) -> Cursor | None:
    """`Last-Event-ID` wins over `starting_after`; both mean strictly after."""
    told = request.headers.get("last-event-id")
    if told is None:
        after = read_int(request, _AFTER)
        return None if after is None else Cursor(after)
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
