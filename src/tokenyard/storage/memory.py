"""The stores in memory: for tests, and for a gateway that may forget everything when it stops.

One class for each room's port, over one shared state. It lives as long as its process.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tokenyard.storage.memory_archive import MemoryArchiveStore
from tokenyard.storage.memory_batches import MemoryBatchStore
from tokenyard.storage.memory_chat import MemoryChatStore, MemoryState
from tokenyard.storage.memory_directory import (
    MemoryAuditStore,
    MemoryDirectoryStore,
    MemoryInvitationStore,
)
from tokenyard.storage.memory_identity import MemoryIdentityStore, MemoryPeople
from tokenyard.storage.memory_jobs import MemoryJobStore
from tokenyard.storage.memory_ledger import MemoryLedgerStore
from tokenyard.storage.memory_limits import MemoryLimitDefinitions
from tokenyard.storage.memory_prompts import MemoryPromptStore
from tokenyard.storage.memory_replays import MemoryReplayStore
from tokenyard.storage.memory_servers import MemoryServerStore
from tokenyard.storage.memory_streams import MemoryStreamStore
from tokenyard.storage.memory_threads import MemoryThreadStore


class MemoryStore:
    """The stores over one state; a fresh object is an empty store."""

    def __init__(self) -> None:
        self.state = MemoryState()
        self.chat = MemoryChatStore(self.state)
        self.archive = MemoryArchiveStore(self.state, self.chat)
        self.prompts = MemoryPromptStore()
        self.threads = MemoryThreadStore(self.state.conversations, self.state.items)
        self.ledger = MemoryLedgerStore(self.state.books)
        self.limits = MemoryLimitDefinitions()
        self.servers = MemoryServerStore()
        self.people = MemoryPeople()
        self.identity = MemoryIdentityStore(self.people)
        self.batches = MemoryBatchStore(self.state.books.add_usage)
        self.directory = MemoryDirectoryStore(self.people)
        self.invitations = MemoryInvitationStore(self.people)
        self.audit = MemoryAuditStore(self.people)
        self.jobs = MemoryJobStore()
        self.replays = MemoryReplayStore()
        self.streams = MemoryStreamStore(self.state.streams, self.state.responses.get)


@asynccontextmanager
async def open_memory_store() -> AsyncIterator[MemoryStore]:
    """An empty store that is forgotten at the end; opened like `storage.sql.open_sql_store`."""
    yield MemoryStore()
