"""The job scheduler and the executor that it places jobs on."""

from tokenyard.assembly.ground import JOBS_FOLDER, Ground
from tokenyard.jobs.executors.devices import find_devices
from tokenyard.jobs.executors.local import LocalExecutor
from tokenyard.jobs.office import JobOffice, make_job_office

_LOOPBACK_HOSTS = {"127.0.0.1", "::1", "localhost"}


async def open_jobs(ground: Ground) -> JobOffice:
    """Schedule jobs onto this machine until the ground is closed."""
    settings = ground.settings
    executor = LocalExecutor(
        ground.home / JOBS_FOLDER,
        settings.jobs,
        find_devices(settings.jobs.node),
        tasks=ground.tasks,
        clock=ground.clock,
    )
    await executor.open()
    ground.stack.push_async_callback(executor.close)
    office = make_job_office(
        settings.jobs,
        store=ground.store.jobs,
        executors=[executor],
        on_loopback=settings.gateway.host in _LOOPBACK_HOSTS,
        clock=ground.clock,
        randomness=ground.randomness,
        log=ground.log,
    )
    executor.changed = office.scheduler.poke
    scheduling = ground.tasks.spawn("jobs.scheduler", office.scheduler.run(ground.tasks))
    ground.stack.push_async_callback(ground.tasks.end, scheduling)
    return office
