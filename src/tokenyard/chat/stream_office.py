"""The parts of the chat that write and read answers, put together over their stores."""

from dataclasses import dataclass

from tokenyard.chat.log_ports import LogStore, ProductionStore
from tokenyard.chat.log_writer import LogWriter
from tokenyard.chat.ports import ChatStore, ThreadStore
from tokenyard.chat.reading import Readings
from tokenyard.chat.responses import Responses
from tokenyard.chat.rules.continuing import Patience
from tokenyard.chat.streams import StreamRegistry
from tokenyard.chat.takeover import Takeover
from tokenyard.chat.windows import Windows
from tokenyard.chat.writer import Desk
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.ids import IdPrefix, ProducerId


@dataclass(frozen=True, slots=True)
class StreamOffice:
    """Its parts, as others need them."""

    responses: Responses
    readings: Readings
    takeover: Takeover


def make_stream_office(
    settings: ChatSettings,
    *,
    store: ChatStore,
    threads: ThreadStore,
    windows: Windows,
    productions: ProductionStore,
    logs: LogStore,
    pool: UpstreamPool,
    ledger: Ledger,
    tasks: TaskSupervisor,
    clock: Clock,
    randomness: Randomness,
    metrics: GatewayMetrics,
    log: Log,
) -> StreamOffice:
    """Those of one process, which takes nothing over before it is told to."""
    streams = StreamRegistry(logs, settings, tasks=tasks, clock=clock, log=log)
    desk = Desk(
        store=store,
        productions=productions,
        pool=pool,
        ledger=ledger,
        tasks=tasks,
        clock=clock,
        metrics=metrics,
        log=log,
        patience=Patience(settings.continue_attempts_max, settings.continue_seconds),
    )
    responses = Responses(
        desk,
        producer=ProducerId(mint(IdPrefix.PRODUCER, randomness)),
        threads=threads,
        windows=windows,
        streams=streams,
        logs=logs,
        log_writer=LogWriter(
            logs,
            tasks=tasks,
            clock=clock,
            metrics=metrics,
            log=log,
            events_max=settings.stream_events_max,
        ),
        randomness=randomness,
    )
    return StreamOffice(
        responses,
        Readings(store, productions, logs, streams, currency=ledger.currency),
        Takeover(productions, responses, settings, clock=clock, log=log),
    )
