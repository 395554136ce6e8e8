"""Takes conversations in from files of other programs, and gives ours out in their form.

Decides limits. What is taken in gets new ids, so that a file can be taken in twice.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tokenyard.chat.conversations import Conversations
from tokenyard.chat.ports import ChatStore
from tokenyard.chat.records import (
    EVERY_CONVERSATION,
    Conversation,
    Item,
    ItemKind,
    TitleBy,
)
from tokenyard.chat.rules.context import spell_turn
from tokenyard.chat.rules.transfer import BadTransfer, Format, Portable, Received, Turn, read, spell
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, IdPrefix, ItemId
from tokenyard.vocabulary.messages import Role

_PAGE = 100


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What came of an import."""

    conversations: tuple[ConversationId, ...]
    messages: int
    # Messages of kinds that we cannot keep: images, tools, thoughts.
    skipped: int


class Transfer:
    """Imports and exports."""

    def __init__(
        self,
        store: ChatStore,
        conversations: Conversations,
        settings: ChatSettings,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._settings = settings
        self._clock = clock
        self._randomness = randomness

    async def give_out(
        self, caller: Principal, format: Format, only: ConversationId | None
    ) -> AsyncIterator[dict[str, Any]]:
        """The caller's conversations one by one, or only that one; raises NotFound first."""
        if only is not None:
            yield await self._spell(await self._conversations.get(caller, only), format)
            return
        after: ConversationId | None = None
        more = True
        while more:
            found, more = await self._conversations.page(
                caller, limit=_PAGE, after=after, only=EVERY_CONVERSATION
            )
            for conversation in found:
                yield await self._spell(conversation, format)
                after = conversation.id

    async def take_in(self, caller: Principal, entries: Sequence[Any]) -> TakenIn:
        """Store every entry of a file, or none; raises InvalidRequest naming the entry at fault."""
        most = self._settings.import_conversations_max
        if len(entries) > most:
            raise InvalidRequest(
                f"At most {most} conversations are taken in at once; split the file.", param="body"
            )
        now = self._clock.now()
        read_in = [self._read(entry, place, now) for place, entry in enumerate(entries)]
        made = [await self._store_one(caller, received.conversation) for received in read_in]
        return TakenIn(
            conversations=tuple(made),
            messages=sum(len(received.conversation.turns) for received in read_in),
            skipped=sum(received.skipped for received in read_in),
        )

    def _read(self, entry: Any, place: int, now: float) -> Received:
        try:
            received = read(entry, now)
        except BadTransfer as error:
            raise InvalidRequest(f"Conversation {place}: {error}", param=f"body.{place}") from None
        most = self._settings.conversation_items_max
        if len(received.conversation.turns) > most:
            raise InvalidRequest(
                f"Conversation {place} has more than {most} messages.", param=f"body.{place}"
            )
        return received

    async def _store_one(self, caller: Principal, portable: Portable) -> ConversationId:
        ids = {turn.id: ItemId(mint(IdPrefix.MESSAGE, self._randomness)) for turn in portable.turns}
        items = [
            Item(
                id=ids[turn.id],
                role=turn.role,
                text=turn.text,
                created_at=turn.at,
                kind=turn.kind,
                call=turn.call,
                parent=None if turn.parent is None else ids[turn.parent],
            )
            for turn in portable.turns
        ]
        made = Conversation(
            id=ConversationId(mint(IdPrefix.CONVERSATION, self._randomness)),
            project=caller.project,
            user=caller.user,
            created_at=portable.created_at,
            updated_at=portable.updated_at,
            title=portable.title,
            title_by=TitleBy.USER if portable.title else TitleBy.NOBODY,
            folder=portable.folder,
            pinned=portable.pinned,
            archived=portable.archived,
            leaf=None if portable.leaf is None else ids[portable.leaf],
        )
        await self._store.add_conversation(made, items)
        return made.id

    async def _spell(self, conversation: Conversation, format: Format) -> dict[str, Any]:
        most = self._settings.conversation_items_max
        items = await self._store.list_items(conversation.id, limit=most)
        kept = {item.id: item for item in items if _is_kept(item)}
        parents = {item.id: item.parent for item in items}

        def nearest(item: ItemId | None) -> ItemId | None:
            while item is not None and item not in kept:
                item = parents.get(item)
            return item

        turns = tuple(
            Turn(
                item.id,
                nearest(item.parent),
                _role(item),
                item.text if item.call is not None else spell_turn(item).content,
                item.created_at,
                item.kind,
                item.call,
            )
            for item in kept.values()
        )
        portable = Portable(
            title=conversation.title,
            created_at=conversation.created_at,
            updated_at=conversation.updated_at,
            turns=turns,
            leaf=nearest(conversation.leaf),
            folder=conversation.folder,
            pinned=conversation.pinned,
            archived=conversation.archived,
        )
        return spell(portable, conversation.id, format)


def _is_kept(item: Item) -> bool:
    """Summaries are ours alone, and what they stand for is there; half a call is none."""
    if item.kind is ItemKind.FUNCTION_CALL:
        return item.complete
    return item.kind is not ItemKind.SUMMARY


def _role(item: Item) -> Role:
    """Others know no developers."""
    return Role.SYSTEM if item.role is Role.DEVELOPER else item.role
