"""Keeps `chat.archive.ArchiveStore` in memory, over what the chat store holds."""

from tokenyard.chat.archive import Found, Share
from tokenyard.chat.records import ItemKind, ResponseStatus
from tokenyard.chat.rules.searching import SearchQuery, matches
from tokenyard.storage.memory_chat import MemoryChatStore, MemoryState
from tokenyard.vocabulary.ids import ConversationId, ProjectId, ShareId, UserId


class MemoryArchiveStore:
    """Search, shares and deletion."""

    def __init__(self, state: MemoryState, chat: MemoryChatStore) -> None:
        self._state = state
        self._chat = chat

    async def search(
        self, project: ProjectId, user: UserId, query: SearchQuery, *, limit: int
    ) -> list[Found]:
        """Titles first, then messages; the newest first."""
        titles, messages = [], []
        for held in self._state.conversations.values():
            if held.project != project or held.user != user:
                continue
            if matches(query, held.title):
                titles.append(Found(held.id, held.title, held.title, held.updated_at))
            messages += [
                Found(held.id, held.title, item.text, item.created_at, item.id, item.role)
                for item in self._state.items.get(held.id, [])
                if item.kind is ItemKind.MESSAGE and matches(query, item.text)
            ]
        titles.sort(key=lambda found: found.at, reverse=True)
        messages.sort(key=lambda found: found.at, reverse=True)
        return [*titles, *messages][:limit]

    async def add_share(self, share: Share, *, shares_max: int) -> bool:
        """Store a new link; False when the project has as many as it may."""
        shares = self._state.shares
        if sum(held.project == share.project for held in shares.values()) >= shares_max:
            return False
        shares[share.secret_hash] = share
        return True

    async def find_share(self, secret_hash: str) -> tuple[Share, str] | None:
        """The link with that hash and the title of what it shows."""
        share = self._state.shares.get(secret_hash)
        return (
            None if share is None else (share, self._state.conversations[share.conversation].title)
        )

    async def list_shares(self, conversation: ConversationId) -> list[Share]:
        """The links of a conversation, oldest first."""
        held = [one for one in self._state.shares.values() if one.conversation == conversation]
        return sorted(held, key=lambda share: (share.created_at, share.id))

    async def delete_share(self, share: ShareId, project: ProjectId) -> bool:
        """Revoke it; False when there is none."""
        for held in list(self._state.shares.values()):
            if held.id == share and held.project == project:
                del self._state.shares[held.secret_hash]
                return True
        return False

    async def delete_idle_conversations(self, before: float, *, limit: int) -> int:
        """Delete those that were last used before then, the oldest first; returns how many."""
        old = [held for held in self._state.conversations.values() if held.updated_at < before]
        old.sort(key=lambda held: (held.updated_at, held.id))
        for held in old[:limit]:
            await self._chat.delete_conversation(held.id, held.project)
        return len(old[:limit])

    async def delete_old_responses(self, before: float, *, stored: bool, limit: int) -> int:
        """Delete responses outside conversations that ended before then; returns how many."""
        old = [
            held
            for held in self._state.responses.values()
            if held.conversation is None
            and held.stored is stored
            and held.status is not ResponseStatus.IN_PROGRESS
            and (held.finished_at or 0.0) < before
        ]
        for held in old[:limit]:
            await self._chat.delete_response(held.id, held.project)
        return len(old[:limit])

    async def scrub(self, *, words: bool) -> None:
        """There is no journal."""
