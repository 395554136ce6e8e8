"""Chat Completions, Completions, models: stateless, and aborted when the client leaves."""

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenyard.gateway.admission import BYTES_PER_TOKEN, Admission, Asking
from tokenyard.gateway.connection import EventStream, Patience
from tokenyard.gateway.doorway import Doorway, request_id
from tokenyard.gateway.operation import BytesAnswer, Operation, json_answer
from tokenyard.gateway.presence import while_connected
from tokenyard.gateway.relay import Relay
from tokenyard.gateway.rules.tiers import Service, choose_service
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
from tokenyard.protocol.embeddings import EmbeddingList, EmbeddingRequest
from tokenyard.protocol.models import Model, ModelList
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.affinity import affinity_of
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.vocabulary.errors import InvalidRequest, NotFound
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import ModelName, ProjectId
from tokenyard.vocabulary.reasons import Reason

_TAG = "Completions"
_USUAL = choose_service(None, 0)


class RequestStopped(msgspec.Struct):
    """The answer to a stop."""

    stopped: bool = True


@dataclass(frozen=True, slots=True)
class _Task:
    """A request for an answer, of whatever kind.

    size: bytes of its body. tokens_max: as it says itself. answers, inputs: how many of each.
    """

    path: GenerationPath
    model: ModelName
    tree: dict[str, Any]
    size: int
    tokens_max: int | None
    answers: int = 1
    inputs: int = 1
    streams: bool = False
    # Of the servers that may be asked.
    tags: frozenset[str] = frozenset()
    include_usage: bool = False
    service: Service = _USUAL
    # Whether the request named a tier, which the answer then tells.
    names_tier: bool = False

    def needs(self, window: int) -> Asking:
        """What it is believed to need."""
        return Asking(
            self.model,
            input_tokens=min(self.size // BYTES_PER_TOKEN + 1, window * self.inputs),
            output_tokens=self.tokens_max,
            window=window,
            answers=self.answers,
            kind=self.service.kind,
        )

    def prompt_tokens_max(self, window: int) -> int:
        """A bound: a token is never shorter than a byte, and the wire's own words in the body
        outweigh those that a chat template adds.
        """
        return min(self.size, window * self.inputs)

    def completion_tokens_max(self, window: int) -> int:
        """A bound of what may be generated."""
        asked = window if self.tokens_max is None else self.tokens_max
        return min(asked, window) * self.answers


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
                errors=(404, 413, 429, 502, 503), permission=Permission.INFERENCE, replays=True,
            ),
            Operation(
                "POST", "/v1/completions", "createCompletion",
                "Continue a text, whole or as a stream of chunks.",
                self._text, _TAG, CompletionRequest, Completion, Completion,
                errors=(404, 413, 429, 502, 503), permission=Permission.INFERENCE, replays=True,
            ),
            Operation(
                "POST", "/v1/embeddings", "createEmbedding", "Turn texts into vectors.",
                self._embed, _TAG, EmbeddingRequest, EmbeddingList,
                errors=(404, 413, 429, 502, 503), permission=Permission.INFERENCE, replays=True,
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
        asked = decode_request(kind, body)
        check_stream_options(asked)
        refuse_priority(asked)
        if isinstance(asked, ChatCompletionRequest):
            asked.check_turns()
        tree = msgspec.json.decode(body)
        if asked.stream:
            tree["stream_options"] = {"include_usage": True}
        tier = asked.service_tier if isinstance(asked, ChatCompletionRequest) else None
        service = self._admission.serve_as(tier)
        if service.queue_place:
            tree["priority"] = service.queue_place
        return await self._answer(
            request,
            caller,
            _Task(
                path=path,
                model=ModelName(self._pool.resolve(asked.model)),
                tags=caller.server_tags | self._pool.tags_of(asked.model),
                tree=tree,
                size=len(body),
                tokens_max=asked.tokens_max(),
                answers=asked.n or 1,
                streams=asked.stream or False,
                include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
                service=service,
                names_tier=tier is not None,
            ),
        )

    async def _embed(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        body = await self._doorway.body(request)
        asked = decode_request(EmbeddingRequest, body)
        try:
            inputs = len(asked.texts())
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"'input': {error}.", param="input") from None
        return await self._answer(
            request,
            caller,
            _Task(
                path=GenerationPath.EMBEDDINGS,
                model=ModelName(self._pool.resolve(asked.model)),
                tags=caller.server_tags | self._pool.tags_of(asked.model),
                tree=msgspec.json.decode(body),
                size=len(body),
                tokens_max=0,
                # Each input may fill the window.
                inputs=inputs,
            ),
        )

    async def _answer(self, request: Request, caller: Principal, task: "_Task") -> ASGIApp:
        """Admit a task, set its money aside, and give the application that answers it."""
        began = self._clock.monotonic()
        model, window = task.model, self._pool.find(task.model).window()
        lease = await self._admission.enter(caller, task.needs(window))
        try:
            reservation = await self._ledger.reserve(
                caller,
                model,
                prompt_tokens=task.prompt_tokens_max(window),
                completion_tokens_max=task.completion_tokens_max(window),
                tier=task.service.tier,
            )
        except BaseException:
            lease.release()
            raise
        self._ledger.watch(reservation, lease.note)
        self._metrics.admission.observe(self._clock.monotonic() - began)
        task.tree["model"] = model
        call = GenerationCall(task.path, msgspec.json.encode(task.tree), request_id(request))
        size = self._pool.affinity_bytes
        affinity = affinity_of(task.tree, size) if size else b""

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                with self._pool.lend(model, affinity=affinity, tags=task.tags) as upstream:
                    relay = Relay(
                        call,
                        upstream,
                        reservation=reservation,
                        lease=lease,
                        ledger=self._ledger,
                        clock=self._clock,
                        metrics=self._metrics,
                        include_usage=task.include_usage,
                        tier=task.service.tier if task.names_tier else None,
                    )
                    self._running[call.request_id] = (caller.project, relay)
                    if task.streams:
                        answer: ASGIApp = self._stream(relay, call)
                    else:
                        answer = await self._whole(relay, call, scope, receive)
                    await answer(scope, receive, send)
            finally:
                self._running.pop(call.request_id, None)
                self._ledger.release(reservation)
                lease.release()

        return respond

    def _stream(self, relay: Relay, call: GenerationCall) -> ASGIApp:
        return EventStream(
            relay.events(),
            name=f"stream {call.request_id}",
            tasks=self._tasks,
            patience=Patience(self._heartbeat_seconds),
            headers=relay.headers,
            abandon=relay.abandon,
        )

    async def _whole(
        self, relay: Relay, call: GenerationCall, scope: Scope, receive: Receive
    ) -> ASGIApp:
        body = await while_connected(
            relay.answer(),
            scope,
            receive,
            tasks=self._tasks,
            name=f"answer {call.request_id}",
            abandon=relay.abandon,
        )
        return BytesAnswer(body, relay.headers)
