"""Titles of conversations: written by the model after the first answer, never over a person's.

Decides when a title is due. A title that fails is left out: the next answer is another chance.
"""

from collections.abc import Awaitable
from dataclasses import replace

from tokenyard.chat.asides import Asides
from tokenyard.chat.conversations import Conversations, details_of
from tokenyard.chat.records import Conversation, ItemKind, TitleBy
from tokenyard.chat.rules.summaries import tidy_title
from tokenyard.runtime.chat_settings import ChatSettings, TitleSource
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ConversationId, ModelName
from tokenyard.vocabulary.messages import Message, Role

_ASK = "Write a title of at most six words for this conversation. Answer with the title only."
_TITLE_TOKENS = 24
_TITLE_CHARACTERS = 60
_SHOWN_CHARACTERS = 2_000


class Titles:
    """Gives titles to conversations that have none."""

    def __init__(
        self,
        conversations: Conversations,
        asides: Asides,
        settings: ChatSettings,
        tasks: TaskSupervisor,
        log: Log,
    ) -> None:
        self._conversations = conversations
        self._asides = asides
        self._settings = settings
        self._tasks = tasks
        self._log = log

    def follow(
        self,
        caller: Principal,
        id: ConversationId,
        model: ModelName,
        answered: Awaitable[object],
    ) -> None:
        """Once the answer has ended, give the conversation a title if it has none."""
        self._tasks.spawn(f"title of {id}", self._follow(caller, id, model, answered))

    async def _follow(
        self,
        caller: Principal,
        id: ConversationId,
        model: ModelName,
        answered: Awaitable[object],
    ) -> None:
        await answered
        try:
            conversation = await self._conversations.get(caller, id)
            if conversation.title_by is TitleBy.NOBODY:
                await self._entitle(caller, conversation, model)
        except TokenyardError as error:
            # Deleted meanwhile, no money, no server: an answer is not lost for want of a title.
            self._log.info(Event.TITLE_FAILED, conversation=id, reason=error.reason)

    async def _entitle(
        self, caller: Principal, conversation: Conversation, model: ModelName
    ) -> None:
        path = await self._conversations.path(conversation)
        said = [item for item in path if item.kind is ItemKind.MESSAGE]
        asked = next((item.text for item in said if item.role is Role.USER), "")
        title, by = tidy_title(asked, _TITLE_CHARACTERS), TitleBy.MODEL
        if self._settings.titles == TitleSource.MODEL:
            script = "\n\n".join(f"{item.role}: {item.text}" for item in said[:3])
            turns = [Message(Role.SYSTEM, _ASK), Message(Role.USER, script[:_SHOWN_CHARACTERS])]
            aside = await self._asides.ask(caller, model, turns, tokens_max=_TITLE_TOKENS)
            title = tidy_title(aside.text, _TITLE_CHARACTERS) or title
        if not title:
            return
        # What a person wrote meanwhile is newer.
        now = await self._conversations.get(caller, conversation.id)
        if now.title_by is TitleBy.NOBODY:
            details = replace(details_of(now), title=title, title_by=by)
            await self._conversations.set_details(caller, now.id, details)
