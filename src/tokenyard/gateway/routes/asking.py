"""A request for a response as the chat understands it: stored prompt, model and items looked up."""

from dataclasses import replace

from msgspec import UNSET

from tokenyard.chat.prompts import Filled, Prompts
from tokenyard.chat.records import Ask, ResponseOptions
from tokenyard.gateway.routes.drafts import DraftReader
from tokenyard.protocol.models import Model, SamplingDefaults
from tokenyard.protocol.responses import CreateResponseRequest
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, ItemId, ModelName, PromptId, ResponseId


class AskReader:
    """Reads requests, for those who answer them and those who only measure them."""

    def __init__(self, pool: UpstreamPool, prompts: Prompts, drafts: DraftReader) -> None:
        self._pool = pool
        self._prompts = prompts
        self._drafts = drafts

    async def read(self, caller: Principal, asked: CreateResponseRequest) -> tuple[Ask, Model]:
        """What is asked, and of which model; raises InvalidRequest and NotFound."""
        asked.refuse_unsupported()
        filled = await self._fill(caller, asked)
        if asked.model is None:
            raise InvalidRequest("Which model is to answer?", param="model")
        name = ModelName(self._pool.resolve(asked.model))
        model = self._pool.find(name)
        ask = _read_ask(asked, name, model.defaults(), filled)
        turns = await self._drafts.read(caller, asked.items())
        tags = sorted(caller.server_tags | self._pool.tags_of(asked.model))
        options = replace(ask.options, server_tags=tuple(tags))
        return replace(ask, turns=tuple(turns), options=options), model

    async def _fill(self, caller: Principal, asked: CreateResponseRequest) -> Filled | None:
        """The stored prompt; where the request is silent, what it says of the answer counts."""
        if asked.prompt is None:
            return None
        filled = await self._prompts.fill(
            caller,
            PromptId(asked.prompt.id),
            asked.prompt.version,
            asked.prompt.variables or {},
        )
        content = filled.content
        asked.model = asked.model or content.model
        asked.instructions = asked.instructions or content.instructions or None
        asked.max_output_tokens = asked.max_output_tokens or content.max_output_tokens
        if asked.temperature is None:
            asked.temperature = content.temperature
        if asked.top_p is None:
            asked.top_p = content.top_p
        return filled


def _read_ask(
    asked: CreateResponseRequest,
    model: ModelName,
    defaults: SamplingDefaults,
    filled: Filled | None,
) -> Ask:
    conversation, previous = asked.conversation_id(), asked.previous_response_id
    under = asked.parent_item_id
    return Ask(
        model=model,
        turns=(),
        sampling=asked.sampling(defaults),
        conversation=None if conversation is None else ConversationId(conversation),
        branches=under is not UNSET,
        under=ItemId(under) if isinstance(under, str) else None,
        instructions=asked.instructions,
        preamble=() if filled is None else filled.content.messages,
        metadata=asked.metadata or {},
        stored=asked.store is not False,
        options=ResponseOptions(
            previous=None if previous is None else ResponseId(previous),
            background=bool(asked.background),
            truncate=asked.truncation == "auto",
            text_format=asked.format(),
            tools=asked.described_tools(),
            tool_choice=asked.tool_choice or "auto",
            parallel_calls=asked.parallel_tool_calls is not False,
            effort=None if asked.reasoning is None else asked.reasoning.effort,
            prompt=None if filled is None else filled.reference,
        ),
        offer=asked.offer(),
    )
