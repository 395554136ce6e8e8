"""Texts as tokens and back, and how many a request would send; by the model's own tokenizer."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.types import ASGIApp

from tokenyard.chat.windows import Windows
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import Operation, json_answer
from tokenyard.gateway.routes.asking import AskReader
from tokenyard.protocol.chat_completions import ChatCompletionRequest
from tokenyard.protocol.decode import decode_request
from tokenyard.protocol.responses import CreateResponseRequest
from tokenyard.protocol.tokens import (
    DetokenizeBody,
    Detokenized,
    TokenCount,
    TokenizeBody,
    Tokenized,
)
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Permission, Principal
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.reasons import Reason

_TAG = "Tokens"


class TokenRoutes:
    """Handlers of tokens."""

    def __init__(
        self, *, doorway: Doorway, pool: UpstreamPool, reader: AskReader, windows: Windows
    ) -> None:
        self._doorway = doorway
        self._pool = pool
        self._reader = reader
        self._windows = windows

    def operations(self) -> list[Operation]:
        """What this module serves."""
        permission, errors = Permission.INFERENCE, (404, 413, 502, 503)
        return [
            Operation(
                "POST", "/tokenize", "tokenize", "The tokens of a text or a conversation.",
                self._tokenize, _TAG, TokenizeBody, Tokenized,
                errors=errors, permission=permission,
            ),
            Operation(
                "POST", "/detokenize", "detokenize", "The text of tokens.",
                self._detokenize, _TAG, DetokenizeBody, Detokenized,
                errors=errors, permission=permission,
            ),
            Operation(
                "POST", "/v1/responses/input_tokens", "countResponseTokens",
                "How many tokens a request for a response would send.",
                self._count_response, _TAG, CreateResponseRequest, TokenCount,
                errors=errors, permission=permission,
            ),
            Operation(
                "POST", "/v1/chat/completions/input_tokens", "countChatTokens",
                "How many tokens a chat completion would send.",
                self._count_chat, _TAG, ChatCompletionRequest, TokenCount,
                errors=errors, permission=permission,
            ),
        ]  # fmt: skip

    async def _tokenize(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(TokenizeBody, await self._doorway.body(request))
        if (asked.messages is None) == (asked.prompt is None):
            raise InvalidRequest("Give either 'messages' or 'prompt'.", param="prompt")
        model, tags = self._resolve(caller, asked.model)
        messages = asked.messages or ()
        turns = tuple(message.turn(place) for place, message in enumerate(messages))
        with self._pool.lend(model, tags=tags) as upstream:
            tokens = await upstream.tokenize(model, turns if asked.prompt is None else asked.prompt)
        if tokens is None:
            raise _untold(model)
        window = self._pool.find(model).context_window
        return json_answer(
            Tokenized(
                count=len(tokens),
                max_model_len=0 if window is UNSET else window,
                tokens=tokens,
            )
        )

    async def _detokenize(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(DetokenizeBody, await self._doorway.body(request))
        model, tags = self._resolve(caller, asked.model)
        with self._pool.lend(model, tags=tags) as upstream:
            text = await upstream.detokenize(model, asked.tokens)
        if text is None:
            raise _untold(model)
        return json_answer(Detokenized(prompt=text))

    async def _count_response(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(CreateResponseRequest, await self._doorway.body(request))
        ask, _ = await self._reader.read(caller, asked)
        caller.check_model(ask.model)
        gauge = await self._windows.measure(caller, ask)
        return json_answer(TokenCount(input_tokens=gauge.used, exact=gauge.exact))

    async def _count_chat(self, request: Request) -> ASGIApp:
        caller = await self._doorway.caller(request)
        asked = decode_request(ChatCompletionRequest, await self._doorway.body(request))
        if asked.tools:
            raise InvalidRequest(
                "Tools are not counted; leave 'tools' out.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param="tools",
            )
        model, tags = self._resolve(caller, asked.model)
        with self._pool.lend(model, tags=tags) as upstream:
            count = await upstream.count_tokens(model, asked.turns())
        if count is None:
            raise _untold(model)
        return json_answer(TokenCount(input_tokens=count))

    def _resolve(self, caller: Principal, name: str) -> tuple[ModelName, frozenset[str]]:
        """The model, and the tags of the servers that may be asked."""
        model = ModelName(self._pool.resolve(name))
        caller.check_model(model)
        return model, caller.server_tags | self._pool.tags_of(name)


def _untold(model: str) -> InvalidRequest:
    return InvalidRequest(
        f"The model server of '{model}' does not tell its tokens.",
        reason=Reason.UNSUPPORTED_PARAMETER,
        param="model",
    )
