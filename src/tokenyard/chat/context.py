"""What comes before a question: the path of items that the model is to see with it.

Decides whose history a request may go on from. Does not know the model, nor its window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenyard.chat.conversations import Conversations
from tokenyard.chat.ports import ChatStore, ThreadStore
from tokenyard.chat.records import Ask, Draft, Item, Response, ResponseStatus
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.vocabulary.errors import Conflict, InvalidRequest, NotFound
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ItemId, ResponseId
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class History:
    """The items above a question, the first one first."""

    path: tuple[Item, ...] = ()

    @property
    def tip(self) -> ItemId | None:
        """The item that the question is put below."""
        return self.path[-1].id if self.path else None


class Histories:
    """Finds the history that a request goes on from."""

    def __init__(
        self,
        store: ChatStore,
        threads: ThreadStore,
        conversations: Conversations,
        settings: ChatSettings,
    ) -> None:
        self._store = store
        self._threads = threads
        self._conversations = conversations
        self._items_max = settings.conversation_items_max

    async def find(self, caller: Principal, ask: Ask) -> History:
        """What comes before; raises NotFound, Conflict, and InvalidRequest when it is too much."""
        if ask.conversation is not None and ask.options.previous is not None:
            raise InvalidRequest(
                "'conversation' and 'previous_response_id' exclude each other.",
                param="previous_response_id",
            )
        if ask.conversation is not None:
            tip = await self._branch(caller, ask, ask.turns)
        else:
            tip = await self._end_of(caller, ask.options.previous)
        if tip is None:
            return History()
        path = await self._threads.list_path(tip, limit=self._items_max)
        if len(path) + len(ask.turns) >= self._items_max:
            raise InvalidRequest(
                f"A chain of answers holds at most {self._items_max} items; start another one.",
                param="previous_response_id",
            )
        return History(tuple(reversed(path)))

    async def _branch(self, caller: Principal, ask: Ask, turns: Sequence[Draft]) -> ItemId | None:
        assert ask.conversation is not None
        conversation = await self._conversations.get(caller, ask.conversation)
        await self._conversations.check_room(ask.conversation, len(turns) + 1)
        if not ask.branches:
            return conversation.leaf
        if ask.under is not None:
            await self._conversations.item(caller, ask.conversation, ask.under)
        return ask.under

    async def _end_of(self, caller: Principal, previous: ResponseId | None) -> ItemId | None:
        if previous is None:
            return None
        response = await self._store.find_response(previous, caller.project)
        if response is None or not response.stored:
            raise NotFound(f"There is no response '{previous}'.", param="previous_response_id")
        if response.status is ResponseStatus.IN_PROGRESS:
            raise Conflict(
                f"The response '{previous}' is still being written.",
                reason=Reason.RESPONSE_IN_PROGRESS,
                param="previous_response_id",
            )
        return await self._last_item(response)

    async def _last_item(self, response: Response) -> ItemId | None:
        if response.output:
            return response.output[-1].id
        items = await self._store.list_response_items(response.id)
        return items[-1].id if items else None
