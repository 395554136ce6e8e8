"""Chat Completions, Completions, models: stateless, and aborted when the client leaves."""

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenyard.gateway.admission import BYTES_PER_TOKEN, Admission, Asking
from tokenyard.gateway.connection import EventStream, while_connected
from tokenyard.gateway.doorway import Doorway, request_id
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.gateway.relay import Relay
from tokenyard.ledger.ledger import Ledger
from tokenyard.protocol.chat_completions import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    check_stream_options,
    refuse_priority,
)
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.models import Model, ModelList
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.affinity import affinity_of
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.vocabulary.errors import NotFound
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.ids import ModelName, ProjectId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Completions"


class RequestStopped(msgspec.Struct):
    """The answer to a stop."""

    stopped: bool = True


class CompletionRoutes:
    """Handlers of the stateless API."""

    def __init__(
        self,
        *,
        doorway: Doorway,
        admission: Admission,
        pool: UpstreamPool,
        ledger: Ledger,
        tasks: TaskSupervisor,
        clock: Clock,
        metrics: GatewayMetrics,
        heartbeat_seconds: float,
    ) -> None:
        self._doorway = doorway
        self._admission = admission
        self._pool = pool
        self._ledger = ledger
        self._tasks = tasks
        self._clock = clock
        self._metrics = metrics
        self._heartbeat_seconds = heartbeat_seconds
        # Calls in progress by request id, with the project that may stop them.
        self._running: dict[str, tuple[ProjectId, Relay]] = {}

    def operations(self) -> list[Operation]:
        """What this module serves."""
        return [
            Operation(
                "POST", "/v1/chat/completions", "createChatCompletion",
                "Answer a conversation, whole or as a stream of chunks.",
                self._chat, _TAG, ChatCompletionRequest, ChatCompletion, ChatCompletionChunk,
                errors=(404, 413, 429, 502, 503), permission=Permission.INFERENCE,
            ),
            Operation(
                "POST", "/v1/completions", "createCompletion",
                "Continue a text, whole or as a stream of chunks.",
                self._text, _TAG, CompletionRequest, Completion, Completion,
                errors=(404, 413, 429, 502, 503), permission=Permission.INFERENCE,
            ),
            Operation(
                "POST", "/api/requests/{request_id}/stop", "stopRequest",
                "Stop a completion by its x-request-id; its own answer ends with what it used.",
                self._stop, _TAG, answer=RequestStopped, errors=(404,),
                permission=Permission.INFERENCE,
            ),
            Operation(
                "GET", "/v1/models", "listModels", "The models that answer now.",
                self._list_models, "Models", answer=ModelList, permission=Permission.MODELS_READ,
            ),
            Operation(
                "GET", "/v1/models/{model}", "retrieveModel", "One model.",
                self._get_model, "Models", answer=Model, errors=(404,),
                permission=Permission.MODELS_READ,
            ),
        ]  # fmt: skip

    async def _list_models(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        allowed = caller.models
        models = [one for one in self._pool.models() if allowed is None or one.id in allowed]
        return json_answer(ModelList(data=models))

    async def _get_model(self, request: Request) -> ASGIApp:
        await self._doorway.caller(request)
        name = request.path_params["model"]
        for model in self._pool.models():
            if model.id == name:
                return json_answer(model)
        raise NotFound(
            f"The model '{name}' does not exist here.",
            reason=Reason.MODEL_NOT_FOUND,
            param="model",
        )

    async def _stop(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        wanted = request.path_params["request_id"]
        project, relay = self._running.get(wanted, (None, None))
        if relay is None or project != caller.project:
            raise NotFound(f"No completion '{wanted}' is in progress.", param="request_id")
        await relay.abandon()
        return json_answer(RequestStopped())

    async def _chat(self, request: Request) -> ASGIApp:
        return await self._complete(request, ChatCompletionRequest, GenerationPath.CHAT)

    async def _text(self, request: Request) -> ASGIApp:
        return await self._complete(request, CompletionRequest, GenerationPath.TEXT)

    async def _complete(
        self,
        request: Request,
        kind: type[ChatCompletionRequest] | type[CompletionRequest],
        path: GenerationPath,
    ) -> ASGIApp:
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        began = self._clock.monotonic()
        asked = decode_request(kind, body)
        check_stream_options(asked)
        refuse_priority(asked)
        if isinstance(asked, ChatCompletionRequest):
            asked.check_turns()
        model = ModelName(self._pool.resolve(asked.model))
        window = self._pool.find(model).window()
        sampling = asked.sampling()
        lease = await self._admission.enter(
            caller, _needs(model, len(body), sampling.max_tokens, asked.n or 1, window)
        )
        try:
            reservation = await self._ledger.reserve(
                caller,
                model,
                # A token is never shorter than a byte, and the wire's own words in the body
                # outweigh those that a chat template adds.
                prompt_tokens=min(len(body), window),
                completion_tokens_max=min(sampling.max_tokens or window, window) * (asked.n or 1),
            )
        except BaseException:
            lease.release()
            raise
        self._ledger.watch(reservation, lease.note)
        self._metrics.admission.observe(self._clock.monotonic() - began)
        tree = msgspec.json.decode(body)
        tree["model"] = model
        if asked.stream:
            tree["stream_options"] = {"include_usage": True}
        call = GenerationCall(path, msgspec.json.encode(tree), request_id(request))
        affinity = affinity_of(tree, self._pool.affinity_bytes)
        include_usage = asked.stream_options is not None and asked.stream_options.include_usage

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                with self._pool.lend(model, affinity=affinity) as upstream:
                    relay = Relay(
                        call,
                        upstream,
                        reservation=reservation,
                        lease=lease,
                        ledger=self._ledger,
                        clock=self._clock,
                        metrics=self._metrics,
                        include_usage=include_usage,
                    )
                    self._running[call.request_id] = (caller.project, relay)
                    answer = self._stream if asked.stream else self._whole
                    respond = await answer(relay, call, receive)
                    await respond(scope, receive, send)
            finally:
                self._running.pop(call.request_id, None)
                self._ledger.release(reservation)
                lease.release()

        return respond

    async def _stream(self, relay: Relay, call: GenerationCall, receive: Receive) -> ASGIApp:
        return EventStream(
            relay.events(),
            name=f"stream {call.request_id}",
            tasks=self._tasks,
            heartbeat_seconds=self._heartbeat_seconds,
            headers=relay.headers,
            abandon=relay.abandon,
        )

    async def _whole(self, relay: Relay, call: GenerationCall, receive: Receive) -> ASGIApp:
        body = await while_connected(
            relay.answer(),
            receive,
            tasks=self._tasks,
            name=f"answer {call.request_id}",
            abandon=relay.abandon,
        )
        return json_answer(body, headers=relay.headers)


def _needs(model: str, size: int, tokens_max: int | None, answers: int, window: int) -> Asking:
    """What a request of so many bytes is believed to need."""
    return Asking(
        model,
        input_tokens=min(size // BYTES_PER_TOKEN + 1, window),
        output_tokens=tokens_max,
        window=window,
        answers=answers,
    )
