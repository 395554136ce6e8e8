"""What is found, shown to others, and forgotten of conversations.

Decides what a share shows and how long things are kept. Deleting really deletes: rows, their words
in the search index, and the copies in the database's journal.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tokenyard.chat.conversations import Conversations
from tokenyard.chat.ports import ThreadStore
from tokenyard.chat.records import Item, ItemKind
from tokenyard.chat.rules.searching import SearchQuery, SnippetPart, cut_snippet, read_query
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, base62, mint
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import InvalidRequest, LimitReached, NotFound, TokenyardError
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import (
    ConversationId,
    IdPrefix,
    ItemId,
    ProjectId,
    ShareId,
    UserId,
)
from tokenyard.vocabulary.messages import Role
from tokenyard.vocabulary.reasons import Reason

_SECRET_BYTES = 24
_SECRET_CHARACTERS = 32
_DAY_SECONDS = 86_400.0
_DELETED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A title or a message that matches; a title has no item."""

    conversation: ConversationId
    title: str
    text: str
    at: float
    item: ItemId | None = None
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """What a search shows of it."""

    found: Found
    snippet: tuple[SnippetPart, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """A link that shows one branch of a conversation as it was; only its hash is kept."""

    id: ShareId
    secret_hash: str
    conversation: ConversationId
    project: ProjectId
    user: UserId
    leaf: ItemId | None
    created_at: float


@dataclass(frozen=True, slots=True)
class SharedView:
    """What whoever has the link may see."""

    title: str
    created_at: float
    items: tuple[Item, ...]


class ArchiveStore(Protocol):
    """Search, shares and deletion over the same data as `ChatStore`."""

    async def search(
        self, project: ProjectId, user: UserId, query: SearchQuery, *, limit: int
    ) -> list[Found]:
        """Titles first, then messages; the newest first."""
        ...

    async def add_share(self, share: Share, *, shares_max: int) -> bool:
        """Store a new link; False when the project has as many as it may."""
        ...

    async def find_share(self, secret_hash: str) -> tuple[Share, str] | None:
        """The link with that hash and the title of what it shows."""
        ...

    async def list_shares(self, conversation: ConversationId) -> list[Share]:
        """The links of a conversation, oldest first."""
        ...

    async def delete_share(self, share: ShareId, project: ProjectId) -> bool:
        """Revoke it; False when there is none."""
        ...

    async def delete_idle_conversations(self, before: float, *, limit: int) -> int:
        """Delete those that were last used before then, the oldest first; returns how many."""
        ...

    async def delete_old_responses(self, before: float, *, stored: bool, limit: int) -> int:
        """Delete responses outside conversations that ended before then; returns how many."""
        ...

    async def scrub(self, *, words: bool) -> None:
        """Let nothing that was deleted stay in the database's journal, nor its words in an index.

        words: whether messages were deleted since the last call; to look for theirs takes long.
        """
        ...


class Archive:
    """Search, shares and retention of all projects."""

    def __init__(
        self,
        store: ArchiveStore,
        threads: ThreadStore,
        conversations: Conversations,
        settings: ChatSettings,
        *,
        clock: Clock,
        randomness: Randomness,
        log: Log,
    ) -> None:
        self._store = store
        self._threads = threads
        self._conversations = conversations
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self._scrubbed = 0

    async def search(self, caller: Principal, text: str, *, limit: int) -> list[Hit]:
        """The caller's titles and messages that match; raises InvalidRequest for no words."""
        query = read_query(text)
        if query is None:
            raise InvalidRequest("There is no word to search for.", param="q")
        found = await self._store.search(caller.project, caller.user, query, limit=limit)
        return [Hit(one, tuple(cut_snippet(query, one.text))) for one in found]

    async def share(self, caller: Principal, id: ConversationId) -> tuple[Share, str]:
        """A new link to the branch in use and its secret, which is not told again.

        Raises NotFound and LimitReached.
        """
        conversation = await self._conversations.get(caller, id)
        secret = base62(self._randomness.bytes(_SECRET_BYTES), _SECRET_CHARACTERS)
        share = Share(
            id=ShareId(mint(IdPrefix.SHARE, self._randomness)),
            secret_hash=_hash(secret),
            conversation=id,
            project=caller.project,
            user=caller.user,
            leaf=conversation.leaf,
            created_at=self._clock.now(),
        )
        most = self._settings.shares_max
        if not await self._store.add_share(share, shares_max=most):
            raise LimitReached(
                f"A project has at most {most} shared links. Revoke some first.",
                reason=Reason.SHARES_LIMIT,
            )
        return share, secret

    async def shares(self, caller: Principal, id: ConversationId) -> Sequence[Share]:
        """The links of a conversation; raises NotFound."""
        await self._conversations.get(caller, id)
        return await self._store.list_shares(id)

    async def revoke(self, caller: Principal, share: ShareId) -> None:
        """End a link; raises NotFound."""
        if not await self._store.delete_share(share, caller.project):
            raise NotFound(f"There is no shared link '{share}'.", param="share_id")

    async def view(self, secret: str) -> SharedView:
        """What a link shows: what was said, without instructions; raises NotFound."""
        held = await self._store.find_share(_hash(secret)) if len(secret) <= 64 else None
        if held is None:
            raise NotFound("This link does not exist, or was revoked.", param="secret")
        share, title = held
        path: list[Item] = []
        if share.leaf is not None:
            most = self._settings.conversation_items_max
            path = await self._threads.list_path(share.leaf, limit=most)
        said = (
            item
            for item in reversed(path)
            if item.kind is ItemKind.MESSAGE and item.role in (Role.USER, Role.ASSISTANT)
        )
        return SharedView(title, share.created_at, tuple(said))

    async def keep_swept(self) -> None:
        """Delete what is no longer to be kept, for ever."""
        while True:
            try:
                await self.sweep()
            except TokenyardError as error:
                self._log.error(Event.STORAGE_FAILED, error)
            await self._clock.sleep(self._settings.sweep_seconds)

    async def sweep(self) -> int:
        """Delete what is no longer to be kept; returns how many conversations and responses."""
        now, settings = self._clock.now(), self._settings
        count = await self._all(
            lambda: self._store.delete_old_responses(
                now - settings.unstored_kept_seconds, stored=False, limit=_DELETED_AT_ONCE
            )
        )
        if settings.responses_kept_days:
            before = now - settings.responses_kept_days * _DAY_SECONDS
            count += await self._all(
                lambda: self._store.delete_old_responses(
                    before, stored=True, limit=_DELETED_AT_ONCE
                )
            )
        if settings.conversations_kept_days:
            idle = now - settings.conversations_kept_days * _DAY_SECONDS
            count += await self._all(
                lambda: self._store.delete_idle_conversations(idle, limit=_DELETED_AT_ONCE)
            )
        if count:
            self._log.info(Event.CHATS_SWEPT, deleted=count)
        deletions = self._conversations.deletions
        await self._store.scrub(words=bool(count) or deletions != self._scrubbed)
        self._scrubbed = deletions
        return count

    async def _all(self, portion: Callable[[], Awaitable[int]]) -> int:
        """Portion by portion, so that answers' writes come in between."""
        count = 0
        while deleted := await portion():
            count += deleted
        return count


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
