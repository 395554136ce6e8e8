"""Summaries of older turns: an item of the tree that stands for what is above it.

Nothing is deleted: the summary is a child of the leaf and names the last item that it covers, so
that deleting it brings everything back. Does not decide when; a caller asks for it.
"""

from collections.abc import Sequence
from dataclasses import replace

from tokenyard.chat.asides import Asides
from tokenyard.chat.conversations import Conversations
from tokenyard.chat.records import Draft, Item, ItemKind
from tokenyard.chat.rules.context import show_items, spell_turn
from tokenyard.chat.rules.summaries import count_covered, cut_portions
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import InvalidRequest, UpstreamFailed
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, ModelName
from tokenyard.vocabulary.messages import Message, Role

# No tokenizer needs more tokens than bytes; two characters a token are usual at the worst.
_CHARACTERS_PER_TOKEN = 2

_ASK = (
    "Summarise the conversation below for yourself, so that you can go on with it later. Keep "
    "names, numbers, decisions, open questions and wishes of the user. Write plain sentences."
)
_GO_ON = "This is the summary of what came before:\n\n{summary}\n\nThe conversation goes on:\n\n"


class Compaction:
    """Writes summaries."""

    def __init__(
        self,
        conversations: Conversations,
        asides: Asides,
        pool: UpstreamPool,
        settings: ChatSettings,
    ) -> None:
        self._conversations = conversations
        self._asides = asides
        self._pool = pool
        self._settings = settings

    async def compact(
        self, caller: Principal, id: ConversationId, model: ModelName, *, keep: int
    ) -> Item:
        """Summarise all but the last `keep` questions; returns the new item.

        Raises NotFound, InvalidRequest when there is nothing to summarise, and what the ledger and
        the model server refuse.
        """
        conversation = await self._conversations.get(caller, id)
        shown = show_items(await self._conversations.path(conversation))
        covered = shown[: count_covered([item.role for item in shown], keep)]
        if not covered or covered[-1].kind is ItemKind.SUMMARY:
            raise InvalidRequest("There are no older turns to summarise.", param="keep_questions")
        text, cost_nanos = await self._summarise(caller, model, covered)
        (written,) = self._conversations.write_items([Draft(Role.SYSTEM, text, ItemKind.SUMMARY)])
        summary = replace(written, through=covered[-1].id, cost_nanos=cost_nanos)
        return await self._conversations.append(caller, id, summary)

    async def _summarise(
        self, caller: Principal, model: ModelName, covered: Sequence[Item]
    ) -> tuple[str, int]:
        """The summary of all of it, portion by portion where it is long, and what that cost."""
        tokens_max = self._settings.summary_tokens_max
        room = self._pool.find(model).window() // 2 - tokens_max
        if room <= 0:
            raise InvalidRequest("The window of this model is too small for that.", param="model")
        summary, cost_nanos = "", 0
        turns = [spell_turn(item) for item in covered]
        for portion in cut_portions(turns, room * _CHARACTERS_PER_TOKEN):
            before = _GO_ON.format(summary=summary) if summary else ""
            ask = [Message(Role.SYSTEM, _ASK), Message(Role.USER, before + portion)]
            aside = await self._asides.ask(caller, model, ask, tokens_max=tokens_max)
            summary, cost_nanos = aside.text, cost_nanos + aside.cost_nanos
        if not summary:
            raise UpstreamFailed("The model wrote no summary.")
        return summary, cost_nanos
