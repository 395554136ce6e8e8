"""The job scheduler and the executor that it places jobs on."""

import importlib.util
from typing import TYPE_CHECKING

from tokenyard.assembly.ground import JOBS_FOLDER, Ground, Part
from tokenyard.assembly.money import make_ledger
from tokenyard.jobs.billing import LedgerCashier
from tokenyard.jobs.executors.devices import find_devices
from tokenyard.jobs.executors.local import LocalExecutor
from tokenyard.jobs.office import JobOffice, make_job_office
from tokenyard.telemetry.logs import Event
from tokenyard.vocabulary.errors import StartError

if TYPE_CHECKING:
    from tokenyard.jobs.executors.ray import RayExecutor

_LOOPBACK_HOSTS = {"127.0.0.1", "::1", "localhost"}


def _make_executor(ground: Ground) -> "LocalExecutor | RayExecutor":
    settings = ground.settings.jobs
    if settings.executor == "local":
        devices = find_devices(settings.node)
        if devices.without is not None:
            ground.log.info(
                Event.NODE_WITHOUT_GPUS, reason=devices.without.value, detail=devices.detail
            )
        return LocalExecutor(
            ground.home / JOBS_FOLDER,
            settings,
            devices,
            tasks=ground.tasks,
            clock=ground.clock,
        )
    if importlib.util.find_spec("ray") is None:
        raise StartError(
            "jobs.executor is 'ray', and the package ray is not installed: "
            "pip install 'tokenyard[ray]'."
        )
    # It is large, and most installations have none.
    from tokenyard.jobs.executors.ray import RayExecutor  # noqa: PLC0415

    return RayExecutor(settings, tasks=ground.tasks, clock=ground.clock, log=ground.log)


async def open_jobs(ground: Ground) -> JobOffice:
    """Schedule jobs onto this machine, or a cluster, until the ground is closed.

    A gateway beside others only takes jobs in and tells of them when they run on this machine: then
    their processes are children of the supervisor.
    """
    settings = ground.settings
    executor = _make_executor(ground)
    office = make_job_office(
        settings.jobs,
        store=ground.store.jobs,
        executors=[executor],
        on_loopback=settings.gateway.host in _LOOPBACK_HOSTS,
        clock=ground.clock,
        randomness=ground.randomness,
        log=ground.log,
        cashier=LedgerCashier(make_ledger(ground).gpu),
    )
    if ground.part is Part.GATEWAY and settings.jobs.executor == "local":
        watching = ground.tasks.spawn("jobs.watch", office.scheduler.watch(ground.tasks))
        ground.stack.push_async_callback(ground.tasks.end, watching)
        return office
    await executor.open()
    ground.stack.push_async_callback(executor.close)
    executor.changed = office.scheduler.poke
    scheduling = ground.tasks.spawn("jobs.scheduler", office.scheduler.run(ground.tasks))
    ground.stack.push_async_callback(ground.tasks.end, scheduling)
    clerk = ground.tasks.spawn("jobs.clerk", office.clerk.run())
    ground.stack.push_async_callback(ground.tasks.end, clerk)
    return office
