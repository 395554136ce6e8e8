"""The routes of the model server.

Decides status codes and who is told that the model is still loading. A caller that goes away ends
its generation. Does not know how the process starts or stops.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tokenyard.engine.catalogue import ModelFile
from tokenyard.engine.front import Engine
from tokenyard.engine.generation import GenerationGroup
from tokenyard.engine.grammar import Form, Grammar, GrammarCompiler
from tokenyard.engine.rules.speech import SpeechParser
from tokenyard.engine.server.answers import (
    AnswerForm,
    AnswerHead,
    ChatForm,
    TextForm,
    collect,
    stream,
)
from tokenyard.engine.server.coding import beside, decode_tokens, encode_prompt, opens_thought
from tokenyard.engine.server.embeddings import collect_vectors, read_inputs
from tokenyard.engine.server.requests import (
    AbortAnswer,
    AbortRequest,
    DetokenizeAnswer,
    DetokenizeRequest,
    LoadAdapterRequest,
    TokenizeAnswer,
    TokenizeRequest,
    UnloadAdapterRequest,
    check_supported,
    choose_adapter,
    cut_prompt,
    read_asking,
    read_form,
    read_tools,
    tells,
    unsupported,
)
from tokenyard.engine.template import MARK_BYTES, PLAIN, Asking, ChatTemplate
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.protocol import sse
from tokenyard.protocol.chat_completions import (
    ChatCompletionRequest,
    CompletionRequest,
    check_stream_options,
)
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.embeddings import EmbeddingRequest
from tokenyard.protocol.errors import error_response
from tokenyard.protocol.models import Model, ModelList, SamplingDefaults
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import CONTENT_TYPE, EngineMetrics
from tokenyard.vocabulary.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TokenyardError,
    Unavailable,
)
from tokenyard.vocabulary.ids import IdPrefix
from tokenyard.vocabulary.messages import Message
from tokenyard.vocabulary.reasons import Reason

JSON = "application/json"
# Names a call for `POST /v1/abort`; the gateway sends its own request id.
REQUEST_ID = "x-request-id"
OWNER = "tokenyard"
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What there is once the model is loaded and warm."""

    engine: Engine
    tokenizer: Tokenizer
    # None when the checkpoint has no chat template.
    template: ChatTemplate | None
    grammars: GrammarCompiler

    def chat_template(self) -> ChatTemplate:
        """Raises InvalidRequest when the checkpoint has none."""
        if self.template is None:
            raise InvalidRequest(
                "This model has no chat template; use /v1/completions.",
                reason=Reason.TEMPLATE_FAILED,
                param="messages",
            )
        return self.template


@dataclass(slots=True)
class ModelServer:
    """What the routes share. `loaded` is set when the first request will be fast."""

    model: ModelFile
    settings: EngineSettings
    clock: Clock
    randomness: Randomness
    log: Log
    metrics: EngineMetrics
    tasks: TaskSupervisor
    loaded: LoadedModel | None = None
    stopping: bool = False
    # Calls in progress by the `x-request-id` they came with.
    calls: dict[str, GenerationGroup] = field(default_factory=dict)

    def sampling_defaults(self) -> SamplingDefaults:
        """How the model draws when a request does not say."""
        return SamplingDefaults(temperature=self.model.temperature, top_p=self.model.top_p)

    def adapter(self, model: str | None) -> int:
        """The adapter that the name stands for, 0 for the model itself; raises NotFound."""
        adapters = None if self.loaded is None else self.loaded.engine.adapters
        return choose_adapter(model, self.model.name, adapters)

    def ready(self) -> LoadedModel:
        """The model; raises Unavailable before it is there."""
        if self.loaded is None:
            raise Unavailable(
                "The model is being loaded.",
                reason=Reason.MODEL_LOADING,
                retry_after_seconds=RETRY_SECONDS,
            )
        return self.loaded


class _Caller:
    """Watches the caller's connection: when it goes away, its generation is aborted."""

    def __init__(self, server: ModelServer, generation: GenerationGroup, request: Request) -> None:
        self._calls = server.calls
        self._name = request.headers.get(REQUEST_ID)
        self._generation = generation
        self._receive = request.receive
        if self._name is not None:
            self._calls[self._name] = generation
        self._watch = server.tasks.spawn("watch caller", self._until_gone())

    def let_go(self) -> None:
        """Stop watching; a generation that has not ended has no reader any more."""
        self._watch.cancel()
        self._generation.abort()
        if self._name is not None and self._calls.get(self._name) is self._generation:
            del self._calls[self._name]

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._generation.abort()


class _EventStream(Response):
    """Sends events as they come; the first one is at hand before the status is sent."""

    def __init__(self, caller: _Caller, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        super().__init__(media_type=sse.CONTENT_TYPE, headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._caller = caller
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def put(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await put(self._first)
            try:
                async with aclosing(self._rest):
                    async for events in self._rest:
                        await put(events)
            except TokenyardError as error:
                await put(sse.frame(msgspec.json.encode(error_response(error)[1])))
            await put(b"", more=False)
        finally:
            self._caller.let_go()


def make_app(server: ModelServer) -> Starlette:
    """The ASGI application."""
    routes = _Routes(server)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/completions", routes.complete, methods=["POST"]),
            Route("/v1/embeddings", routes.embed, methods=["POST"]),
            Route("/v1/load_lora_adapter", routes.load_adapter, methods=["POST"]),
            Route("/v1/unload_lora_adapter", routes.unload_adapter, methods=["POST"]),
            Route("/v1/abort", routes.abort, methods=["POST"]),
            Route("/v1/models", routes.models, methods=["GET"]),
            Route("/v1/models/{name:path}", routes.one_model, methods=["GET"]),
            Route("/tokenize", routes.tokenize, methods=["POST"]),
            Route("/detokenize", routes.detokenize, methods=["POST"]),
            Route("/health", routes.health, methods=["GET"]),
            Route("/metrics", routes.metrics, methods=["GET"]),
        ],
        exception_handlers={
            TokenyardError: _refuse,
            HTTPException: _refuse_route,
            Exception: _fail(server.log),
        },
    )


class _Routes:
    """One method for each route."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    async def chat(self, request: Request) -> Response:
        server = self._server
        body = decode_request(ChatCompletionRequest, await _read_body(request, server))
        check_supported(body)
        check_stream_options(body)
        server.adapter(body.model)
        loaded = server.ready()
        template = loaded.chat_template()
        manners = template.manners
        tools = read_tools(body)
        asking = read_asking(body, manners, tools.functions)
        prompt = await _encode_chat(server, template, body.turns(), asking)
        prompt = cut_prompt(prompt, body.truncate_prompt_tokens, loaded.engine.capacity_tokens)
        opened = manners.thinks and opens_thought(loaded.tokenizer, prompt)
        calls = tools.form(manners.style, manners.thinking(opened))
        grammar = await _compile_form(loaded, read_form(body, calls, forced=tools.forced))
        limit = "max_completion_tokens" if body.max_completion_tokens else "max_tokens"
        generation = loaded.engine.submit_group(
            prompt,
            body.sampling(server.sampling_defaults()),
            body.n or 1,
            salt=body.cache_salt or "",
            priority=body.priority or 0,
            max_tokens_param=limit,
            grammar=grammar,
            before=body.continue_token_ids or (),
            adapter=server.adapter(body.model),
            tells_progress=bool(body.return_progress and body.stream),
        )
        head = _head(server, IdPrefix.CHAT_COMPLETION, body.model)

        def parse() -> SpeechParser:
            return SpeechParser(
                style=manners.style if tools.functions else None,
                offered={one.name for one in tools.functions},
                thinks=manners.thinks,
                opened=opened,
            )

        told = tells(body, loaded.tokenizer, prompt)
        form = ChatForm(head, loaded.tokenizer.spell, told, parse)
        return await _answer(server, request, generation, form, streams=bool(body.stream))

    async def complete(self, request: Request) -> Response:
        server = self._server
        body = decode_request(CompletionRequest, await _read_body(request, server))
        check_supported(body)
        check_stream_options(body)
        server.adapter(body.model)
        loaded = server.ready()
        prompt = await encode_prompt(loaded.tokenizer, body.prompt)
        prompt = cut_prompt(prompt, body.truncate_prompt_tokens, loaded.engine.capacity_tokens)
        grammar = await _compile_form(loaded, read_form(body))
        generation = loaded.engine.submit_group(
            prompt,
            body.sampling(server.sampling_defaults()),
            body.n or 1,
            salt=body.cache_salt or "",
            priority=body.priority or 0,
            grammar=grammar,
            before=body.continue_token_ids or (),
            adapter=server.adapter(body.model),
            tells_progress=bool(body.return_progress and body.stream),
        )
        head = _head(server, IdPrefix.COMPLETION, body.model)
        form = TextForm(head, loaded.tokenizer.spell, tells(body, loaded.tokenizer, prompt))
        return await _answer(server, request, generation, form, streams=bool(body.stream))

    async def embed(self, request: Request) -> Response:
        server = self._server
        body = decode_request(EmbeddingRequest, await _read_body(request, server))
        server.adapter(body.model)
        loaded = server.ready()
        keep, capacity = body.truncate_prompt_tokens, loaded.engine.capacity_tokens
        texts = [
            cut_prompt(await encode_prompt(loaded.tokenizer, one), keep, capacity)
            for one in read_inputs(body)
        ]
        group = loaded.engine.submit_embeddings(
            texts, salt=body.cache_salt or "", adapter=server.adapter(body.model)
        )
        caller = _Caller(server, group, request)
        try:
            return Response(await collect_vectors(group, body), media_type=JSON)
        finally:
            caller.let_go()

    async def tokenize(self, request: Request) -> Response:
        server = self._server
        body = decode_request(TokenizeRequest, await _read_body(request, server))
        server.adapter(body.model)
        loaded = server.ready()
        if (body.messages is None) == (body.prompt is None):
            raise InvalidRequest("Give either 'messages' or 'prompt'.", param="messages")
        if body.messages is not None:
            turns = tuple(one.turn(place) for place, one in enumerate(body.messages))
            tokens = await _encode_chat(server, loaded.chat_template(), turns)
        else:
            tokens = await encode_prompt(loaded.tokenizer, body.prompt or "")
        capacity = loaded.engine.capacity_tokens
        return _json(TokenizeAnswer(count=len(tokens), tokens=tokens, context_window=capacity))

    async def detokenize(self, request: Request) -> Response:
        server = self._server
        body = decode_request(DetokenizeRequest, await _read_body(request, server))
        server.adapter(body.model)
        text = await decode_tokens(server.ready().tokenizer, body.tokens)
        return _json(DetokenizeAnswer(prompt=text))

    async def abort(self, request: Request) -> Response:
        """Cut a call short; its own answer then ends with `abort` and what was counted."""
        body = decode_request(AbortRequest, await _read_body(request, self._server))
        generation = self._server.calls.get(body.request_id)
        if generation is not None:
            generation.cut()
        return _json(AbortAnswer(aborted=generation is not None))

    async def load_adapter(self, request: Request) -> Response:
        server = self._server
        body = decode_request(LoadAdapterRequest, await _read_body(request, server))
        adapters = server.ready().engine.adapters
        if body.lora_name == server.model.name:
            raise InvalidRequest("That is the model's own name.", param="lora_name")
        await adapters.load(body.lora_name, Path(body.lora_path), server.clock.now())
        return _json(ModelList(data=_describe(server)))

    async def unload_adapter(self, request: Request) -> Response:
        server = self._server
        body = decode_request(UnloadAdapterRequest, await _read_body(request, server))
        server.ready().engine.adapters.unload(body.lora_name)
        return _json(ModelList(data=_describe(server)))

    async def models(self, request: Request) -> Response:
        return _json(ModelList(data=_describe(self._server)))

    async def one_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._server.adapter(name)
        return _json(next(one for one in _describe(self._server) if one.id == name))

    async def health(self, request: Request) -> Response:
        if self._server.stopping:
            return _json({"status": "stopping"}, 503)
        if self._server.loaded is None:
            return _json({"status": "loading"}, 503)
        return _json({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        return Response(
            self._server.metrics.render_for(self._server.model.name), media_type=CONTENT_TYPE
        )


async def _answer(
    server: ModelServer,
    request: Request,
    generation: GenerationGroup,
    form: AnswerForm,
    *,
    streams: bool,
) -> Response:
    caller = _Caller(server, generation, request)
    try:
        if not streams:
            answer = await collect(generation, form)
            caller.let_go()
            return Response(answer, media_type=JSON)
        events = stream(generation, form)
        return _EventStream(caller, await anext(events), events)
    except BaseException:
        caller.let_go()
        raise


async def _compile_form(loaded: LoadedModel, form: Form | None) -> Grammar | None:
    if form is None:
        return None
    if not loaded.engine.masks_tokens:
        raise unsupported(form.param.partition(".")[0])
    return await asyncio.to_thread(loaded.grammars.compile, form)


async def _encode_chat(
    server: ModelServer, template: ChatTemplate, turns: tuple[Message, ...], asking: Asking = PLAIN
) -> list[int]:
    mark, now = server.randomness.bytes(MARK_BYTES), server.clock.now()
    size = sum(len(turn.content) for turn in turns)
    return await beside(size, lambda: template.encode(turns, mark=mark, now=now, asking=asking))


async def _read_body(request: Request, server: ModelServer) -> bytes:
    limit = server.settings.body_bytes_max
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge(f"The body is longer than {limit} bytes.")
    return bytes(body)


def _head(server: ModelServer, prefix: IdPrefix, model: str) -> AnswerHead:
    created = int(server.clock.now())
    return AnswerHead(mint(prefix, server.randomness), created, model)


def _describe(server: ModelServer) -> list[Model]:
    """The model, and its adapters."""
    model = Model(
        id=server.model.name,
        created=server.model.created_at,
        owned_by=OWNER,
        sampling_defaults=server.sampling_defaults(),
    )
    if server.loaded is not None:
        model.context_window = server.loaded.engine.capacity_tokens
    return [
        model,
        *(
            msgspec.structs.replace(model, id=one.name, created=one.created, parent=model.id)
            for one in (server.loaded.engine.adapters.all if server.loaded else ())
        ),
    ]


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type=JSON)


async def _refuse(request: Request, error: Exception) -> Response:
    status, body, headers = error_response(error)
    return Response(msgspec.json.encode(body), status, headers, media_type=JSON)


async def _refuse_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    path = f"{request.method} {request.url.path}"
    if status == 405:
        return await _refuse(request, MethodNotAllowed(f"{path}: this path has other methods."))
    return await _refuse(request, NotFound(f"{path}: there is no such route."))


def _fail(log: Log) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def fail(request: Request, error: Exception) -> Response:
        log.error(Event.REQUEST_FAILED, error, path=request.url.path)
        return await _refuse(request, error)

    return fail
