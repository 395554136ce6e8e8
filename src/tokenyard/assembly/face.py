"""The products behind the HTTP address: ledger, chat and batches, then the gateway before them."""

from socket import socket

from tokenyard.assembly.chat import open_streams
from tokenyard.assembly.door import open_door
from tokenyard.assembly.ground import FILES_FOLDER, Ground, Part
from tokenyard.assembly.money import open_ledger
from tokenyard.assembly.roster import open_roster
from tokenyard.chat.office import make_chat_office
from tokenyard.chat.stream_office import StreamOffice
from tokenyard.gateway.admission import Admission
from tokenyard.gateway.app import Gateway
from tokenyard.gateway.reception import Reception
from tokenyard.gateway.server import serve
from tokenyard.gateway.traced import Traced
from tokenyard.jobs.batches.batches import Batches
from tokenyard.jobs.batches.folder import FileFolder
from tokenyard.jobs.batches.office import BatchOffice, make_office
from tokenyard.jobs.executors.bounded import run_bounded
from tokenyard.jobs.office import JobOffice
from tokenyard.ledger.ledger import Ledger
from tokenyard.runtime.clock import Clock
from tokenyard.telemetry.tracing import NO_TRACING
from tokenyard.upstreams.pool import UpstreamPool

_DRAIN_POLL_SECONDS = 0.05


async def open_face(
    ground: Ground,
    listener: socket,
    *,
    reception: Reception,
    jobs: JobOffice,
    pool: UpstreamPool,
    webhook_secret: bytes = b"",
) -> str:
    """Serve everything on the listener until the ground is closed; returns the address.

    webhook_secret: what warnings of budgets are signed with.
    """
    settings = ground.settings
    ledger = await open_ledger(ground, webhook_secret)
    chat = make_chat_office(
        ground.store,
        settings.chat,
        bounded=run_bounded,
        pool=pool,
        ledger=ledger,
        tasks=ground.tasks,
        clock=ground.clock,
        randomness=ground.randomness,
        log=ground.log,
    )
    sweeping = ground.tasks.spawn("chat.sweep", chat.archive.keep_swept())
    ground.stack.push_async_callback(ground.tasks.end, sweeping)
    streams = await open_streams(ground, chat, ledger, pool)
    admission = await open_door(ground, pool)
    roster = await open_roster(ground, pool)
    office = await _open_batches(ground, admission, ledger, pool, jobs)
    gateway = Gateway(
        settings.gateway,
        reception=reception,
        admission=admission,
        pool=pool,
        roster=roster,
        ledger=ledger,
        chat=chat,
        streams=streams,
        replay_store=ground.store.replays,
        files=office.files,
        batches=office.batches,
        jobs=jobs,
        tasks=ground.tasks,
        clock=ground.clock,
        randomness=ground.randomness,
        metrics=ground.metrics,
        log=ground.log,
    )
    traces = ground.tracing is not NO_TRACING
    app = Traced(gateway.app, ground.tracing) if traces else gateway.app
    serving = await ground.stack.enter_async_context(
        serve(app, listener, settings.gateway, ground.tasks)
    )
    seconds = settings.gateway.drain_seconds
    ground.stack.push_async_callback(
        _drain,
        gateway,
        admission,
        streams,
        office.batches,
        clock=ground.clock,
        seconds=seconds,
    )
    if ground.part is Part.GATEWAY:
        # Whoever stands before several gateways then sends new callers to the others.
        ground.stack.callback(serving.close_door)
    return serving.url


async def _open_batches(
    ground: Ground, admission: Admission, ledger: Ledger, pool: UpstreamPool, jobs: JobOffice
) -> BatchOffice:
    office = make_office(
        ground.settings,
        files=ground.store.batches,
        batches=ground.store.batches,
        folder=FileFolder(ground.home / FILES_FOLDER),
        interactive=lambda: admission.active,
        pool=pool,
        ledger=ledger,
        tasks=ground.tasks,
        clock=ground.clock,
        randomness=ground.randomness,
        log=ground.log,
        metrics=ground.metrics,
    )
    match ground.part:
        case Part.WHOLE if ground.shares_store:
            # Who leads the scheduler does all that one of many has to do.
            office.share(lambda: jobs.scheduler.leads)
        case Part.WHOLE:
            await office.start()
        case Part.SUPERVISOR:
            await office.files.start()
            office.share(lambda: True)
        case Part.GATEWAY:
            pass
    return office


async def _drain(
    gateway: Gateway,
    admission: Admission,
    streams: StreamOffice,
    batches: Batches,
    *,
    clock: Clock,
    seconds: float,
) -> None:
    """Admit nobody, let what runs come to its end, and stop the rest when the time is over."""
    admission.close()
    batches.close()
    deadline = clock.monotonic() + seconds
    streams.takeover.closed = True
    await gateway.sockets.drain()
    await streams.responses.drain(seconds)
    await gateway.sockets.close()
    while admission.active and clock.monotonic() < deadline:
        await clock.sleep(_DRAIN_POLL_SECONDS)
    await batches.drain(deadline - clock.monotonic())
