"""The parts of the chat that keep things: conversations, windows, prompts; built in one place."""

from dataclasses import dataclass
from typing import Protocol

from tokenyard.chat.archive import Archive, ArchiveStore
from tokenyard.chat.asides import Asides
from tokenyard.chat.compaction import Compaction
from tokenyard.chat.context import Histories
from tokenyard.chat.conversations import Conversations
from tokenyard.chat.counting import TokenCounts
from tokenyard.chat.documents import Bounded, Documents
from tokenyard.chat.ports import ChatStore, ThreadStore
from tokenyard.chat.prompts import Prompts, PromptStore
from tokenyard.chat.titles import Titles
from tokenyard.chat.transfer import Transfer
from tokenyard.chat.windows import Windows
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.chat_settings import ChatSettings, TitleSource
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.upstreams.pool import UpstreamPool


class Stores(Protocol):
    """The stores that the chat stands on."""

    @property
    def chat(self) -> ChatStore: ...

    @property
    def threads(self) -> ThreadStore: ...

    @property
    def archive(self) -> ArchiveStore: ...

    @property
    def prompts(self) -> PromptStore: ...


@dataclass(frozen=True, slots=True)
class ChatOffice:
    """What the gateway asks, beside the responses that are being written."""

    conversations: Conversations
    windows: Windows
    archive: Archive
    transfer: Transfer
    documents: Documents
    prompts: Prompts
    compaction: Compaction
    titles: Titles | None


def make_chat_office(
    stores: Stores,
    settings: ChatSettings,
    *,
    bounded: Bounded,
    pool: UpstreamPool,
    ledger: Ledger,
    tasks: TaskSupervisor,
    clock: Clock,
    randomness: Randomness,
    log: Log,
) -> ChatOffice:
    """All of them over one set of stores."""
    conversations = Conversations(stores.chat, stores.threads, settings, clock, randomness)
    histories = Histories(stores.chat, stores.threads, conversations, settings)
    counts = TokenCounts(pool, cached_max=settings.token_counts_max)
    asides = Asides(pool, ledger, settings, randomness)
    return ChatOffice(
        conversations=conversations,
        windows=Windows(histories, conversations, counts, pool, settings),
        archive=Archive(
            stores.archive,
            stores.threads,
            conversations,
            settings,
            clock=clock,
            randomness=randomness,
            log=log,
        ),
        transfer=Transfer(stores.chat, conversations, settings, clock, randomness),
        documents=Documents(bounded, settings),
        prompts=Prompts(stores.prompts, settings, clock, randomness),
        compaction=Compaction(conversations, asides, pool, settings),
        titles=(
            None
            if settings.titles == TitleSource.NOBODY
            else Titles(conversations, asides, settings, tasks, log)
        ),
    )
