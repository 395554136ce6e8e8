"""Generations that the chat asks for by itself, such as summaries and titles.

They wait behind every answer, and are reserved and billed like all others. Decides nothing about
what is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tokenyard.ledger.ledger import Ledger
from tokenyard.protocol.chat_completions import ChatCompletion
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.vocabulary.errors import UpstreamFailed
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import IdPrefix, ModelName
from tokenyard.vocabulary.messages import Message


@dataclass(frozen=True, slots=True)
class Aside:
    """What came of it, and what it cost."""

    text: str
    usage: Usage
    cost_nanos: int


class Asides:
    """Asks a model and pays."""

    def __init__(
        self, pool: UpstreamPool, ledger: Ledger, settings: ChatSettings, randomness: Randomness
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._settings = settings
        self._randomness = randomness

    async def ask(
        self, caller: Principal, model: ModelName, turns: Sequence[Message], *, tokens_max: int
    ) -> Aside:
        """The whole answer; raises what admission of its cost and the model server refuse."""
        window = self._pool.find(model).window()
        reservation = await self._ledger.reserve(
            caller, model, prompt_tokens=window, completion_tokens_max=tokens_max
        )
        name = mint(IdPrefix.CHAT_COMPLETION, self._randomness)
        try:
            with self._pool.lend(model, tags=caller.server_tags) as upstream:
                told = await upstream.complete(self._call(model, turns, tokens_max, name))
            answer = _read(told)
            usage = answer.usage.usage()
            row = await self._ledger.settle(
                reservation, id=name, usage=usage, finish=FinishReason.STOP
            )
        finally:
            self._ledger.release(reservation)
        return Aside((answer.choices[0].message.content or "").strip(), usage, row.cost.nanos)

    def _call(
        self, model: ModelName, turns: Sequence[Message], tokens_max: int, id: str
    ) -> GenerationCall:
        body: dict[str, object] = {
            "model": model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            "temperature": 0,
            "max_completion_tokens": tokens_max,
        }
        if self._settings.asides_priority:
            body["priority"] = self._settings.asides_priority
        return GenerationCall(GenerationPath.CHAT, msgspec.json.encode(body), id)


def _read(told: bytes) -> ChatCompletion:
    try:
        answer = msgspec.json.decode(told, type=ChatCompletion)
    except msgspec.MsgspecError as error:
        raise UpstreamFailed("The model server sent something that is no answer.") from error
    if not answer.choices:
        raise UpstreamFailed("The model server sent an answer without a choice.")
    return answer
