"""A gateway over fakes: memory stores, a scripted model server, simulated time, seeded chance."""

import io
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.asgi import AsgiClient
from tokenyard.chat.office import ChatOffice, make_chat_office
from tokenyard.chat.responses import Responses
from tokenyard.chat.stream_office import StreamOffice, make_stream_office
from tokenyard.chat.takeover import Takeover
from tokenyard.gateway.admission import Admission
from tokenyard.gateway.app import Gateway
from tokenyard.gateway.identity import Identity
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.gateway.limits import LimitBook, MemoryLimits
from tokenyard.gateway.reception import IdentityStores, Reception, make_reception
from tokenyard.jobs.batches.folder import FileFolder
from tokenyard.jobs.batches.office import BatchOffice, make_office
from tokenyard.jobs.executors.bounded import run_bounded
from tokenyard.jobs.executors.fake import FAKE, FakeExecutor, Outcome
from tokenyard.jobs.office import JobOffice, make_job_office
from tokenyard.jobs.ports import Launch
from tokenyard.jobs.records import NodeRecord
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.chat_settings import ChatSettings, TitleSource
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.runtime.settings import Settings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.storage.memory import MemoryStore, open_memory_store
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.openid_client import OpenIdClient
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.upstreams.roster import ServerRoster
from tokenyard.upstreams.scripted import ScriptedUpstream
from tokenyard.upstreams.sealing import Sealer
from tokenyard.vocabulary.identity import (
    DEFAULT_ORGANISATION,
    DEFAULT_PROJECT,
    EVERYTHING,
    Project,
)
from tokenyard.vocabulary.ids import NodeName, ProjectId

MODEL = "scripted"
JOB_NODE = NodeRecord(NodeName("n0"), FAKE, 4, 64_000, 64_000)


@dataclass(slots=True)
class FakeYard:
    """All parts of a gateway that answers from a script."""

    client: AsgiClient
    # The same application without credentials.
    stranger: AsgiClient
    gateway: Gateway
    upstream: ScriptedUpstream
    pool: UpstreamPool
    store: MemoryStore
    ledger: Ledger
    identity: Identity
    reception: Reception
    admission: Admission
    chat: ChatOffice
    responses: Responses
    takeover: Takeover
    office: BatchOffice
    # Its scheduler cycles only when a test says so.
    jobs: JobOffice
    folder: Path
    metrics: GatewayMetrics
    clock: SimulatedClock
    log: io.StringIO
    key: str

    async def other_key(self, project: str = "proj_other") -> str:
        """A key of another project of the same organisation, which is made if it is not there."""
        there = Project(ProjectId(project), DEFAULT_ORGANISATION, project, 0.0)
        self.store.people.projects.setdefault(there.id, there)
        owner = command_line(there.id)
        secret, _ = await self.identity.keys.create(owner, KeyTerms("other", scopes=(EVERYTHING,)))
        return secret


async def at_once(work: Callable[..., Any], /, *arguments: Any) -> Any:
    """What blocks runs here: simulated time would not wait for another thread."""
    return work(*arguments)


def run_ten_seconds(launch: Launch) -> Outcome:
    return Outcome(10.0)


@asynccontextmanager
async def open_fake_yard(
    settings: Settings | None = None, clock: SimulatedClock | None = None
) -> AsyncIterator[FakeYard]:
    """A gateway that is ready to answer, with one key; titles are given where a test says so."""
    settings = settings or Settings(chat=ChatSettings(titles=TitleSource.NOBODY))
    clock = clock or SimulatedClock()
    randomness, written = SeededRandomness(1), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        async with _open_in(Path(folder), settings, clock, randomness, written) as yard:
            yield yard


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything stands on."""

    settings: Settings
    store: MemoryStore
    pool: UpstreamPool
    tasks: TaskSupervisor
    clock: SimulatedClock
    randomness: SeededRandomness
    metrics: GatewayMetrics
    log: Log

    async def start_ledger(self) -> Ledger:
        ledger = Ledger(
            self.store.ledger,
            self.settings.ledger,
            clock=self.clock,
            randomness=self.randomness,
            log=self.log,
            metrics=self.metrics,
        )
        await ledger.start()
        return ledger

    def make_chat(self, ledger: Ledger) -> ChatOffice:
        return make_chat_office(
            self.store,
            self.settings.chat,
            bounded=run_bounded,
            pool=self.pool,
            ledger=ledger,
            tasks=self.tasks,
            clock=self.clock,
            randomness=self.randomness,
            log=self.log,
        )

    def make_streams(self, chat: ChatOffice, ledger: Ledger) -> StreamOffice:
        return make_stream_office(
            self.settings.chat,
            store=self.store.chat,
            threads=self.store.threads,
            windows=chat.windows,
            productions=self.store.streams,
            logs=self.store.streams,
            pool=self.pool,
            ledger=ledger,
            tasks=self.tasks,
            clock=self.clock,
            randomness=self.randomness,
            metrics=self.metrics,
            log=self.log,
        )

    async def start_office(self, folder: Path, ledger: Ledger, admission: Admission) -> BatchOffice:
        office = make_office(
            self.settings,
            files=self.store.batches,
            batches=self.store.batches,
            folder=FileFolder(folder / "files", beside=at_once),
            interactive=lambda: admission.active,
            pool=self.pool,
            ledger=ledger,
            tasks=self.tasks,
            clock=self.clock,
            randomness=self.randomness,
            log=self.log,
            metrics=self.metrics,
        )
        await office.start()
        return office

    def make_reception(self, client: OpenIdClient) -> Reception:
        providers = self.settings.identity.providers
        store = self.store
        return make_reception(
            IdentityStores(store.identity, store.directory, store.invitations, store.audit),
            self.settings.identity,
            {one.name: "secret" for one in providers if one.client_secret_variable},
            client,
            clock=self.clock,
            randomness=self.randomness,
        )

    def make_roster(self) -> ServerRoster:
        return ServerRoster(
            self.store.servers,
            self.settings.upstreams.routing,
            pool=self.pool,
            sealer=Sealer(b"k" * 32, self.randomness),
            connect=lambda server, key: ScriptedUpstream(server.models[0]),
            clock=self.clock,
            log=self.log,
        )

    def make_admission(self) -> Admission:
        limits = self.settings.limits
        return Admission(
            limits,
            book=LimitBook(limits, self.store.limits, clock=self.clock, log=self.log),
            counts=MemoryLimits(),
            clock=self.clock,
            randomness=self.randomness,
            metrics=self.metrics,
            loads=self.pool.loads,
        )

    def make_job_office(self) -> JobOffice:
        return make_job_office(
            self.settings.jobs,
            store=self.store.jobs,
            executors=[FakeExecutor([JOB_NODE], run_ten_seconds, self.clock)],
            on_loopback=True,
            clock=self.clock,
            randomness=self.randomness,
            log=self.log,
        )


async def _attach(pool: UpstreamPool, clock: SimulatedClock) -> ScriptedUpstream:
    pool.expect("one", frozenset({MODEL}))
    await pool.attach("one", upstream := ScriptedUpstream(MODEL))
    await clock.settle()
    return upstream


@asynccontextmanager
async def _open_in(
    folder: Path,
    settings: Settings,
    clock: SimulatedClock,
    randomness: SeededRandomness,
    written: io.StringIO,
) -> AsyncIterator[FakeYard]:
    log, metrics = Log(written, clock, level="debug"), GatewayMetrics()
    async with (
        open_memory_store() as store,
        TaskSupervisor(log.task_failed) as tasks,
        OpenIdClient(5.0) as openid,
    ):
        pool = UpstreamPool(settings.upstreams, clock=clock, tasks=tasks, metrics=metrics)
        upstream = await _attach(pool, clock)
        ground = _Ground(settings, store, pool, tasks, clock, randomness, metrics, log)
        chat = ground.make_chat(ledger := await ground.start_ledger())
        streams = ground.make_streams(chat, ledger)
        reception = ground.make_reception(openid)
        admission = ground.make_admission()
        office = await ground.start_office(folder, ledger, admission)
        jobs = ground.make_job_office()
        gateway = Gateway(
            settings.gateway,
            reception=reception,
            admission=admission,
            pool=pool,
            roster=ground.make_roster(),
            ledger=ledger,
            chat=chat,
            streams=streams,
            replay_store=store.replays,
            files=office.files,
            batches=office.batches,
            jobs=jobs,
            tasks=tasks,
            clock=clock,
            randomness=randomness,
            metrics=metrics,
            log=log,
        )
        key, _ = await reception.identity.keys.create(
            command_line(DEFAULT_PROJECT), KeyTerms("test", scopes=(EVERYTHING,))
        )
        yield FakeYard(
            client=AsgiClient(gateway.app, {"authorization": f"Bearer {key}"}),
            stranger=AsgiClient(gateway.app),
            gateway=gateway,
            upstream=upstream,
            pool=pool,
            store=store,
            ledger=ledger,
            identity=reception.identity,
            reception=reception,
            admission=admission,
            chat=chat,
            responses=streams.responses,
            takeover=streams.takeover,
            office=office,
            jobs=jobs,
            folder=folder,
            metrics=metrics,
            clock=clock,
            log=written,
            key=key,
        )
        await office.batches.drain(0.0)
        assert admission.active == 0, "a lease was not given back"
        assert ledger.open_reservations == 0, "a reservation was not given back"
        await pool.close()
