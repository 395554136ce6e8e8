"""What runs on each node of a Ray cluster: the local executor, asked from afar.

Decides only when it is alone: where no server has asked for long, members are ended, since nobody
would hear of them, and then itself. It does not know Ray; `ray` puts one of it on every node.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tokenyard.jobs.executors.devices import Devices
from tokenyard.jobs.executors.local import LocalExecutor
from tokenyard.jobs.ports import Launch, LogText, MemberId, MemberReport
from tokenyard.jobs.records import NodeRecord
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.ids import JobId, NodeName

_ALONE_LOOK_SECONDS = 1.0


class Warden:
    """The members of one node. All methods may be called any number of times."""

    def __init__(
        self, node: NodeName, folder: str, devices: Devices, settings: JobSettings
    ) -> None:
        self._node = node
        self._clock = RealClock()
        self._tasks = TaskSupervisor(_tell_failure)
        self._orphan_seconds = settings.ray.orphan_seconds
        own = msgspec.structs.replace(settings.node, name=node)
        self._executor = LocalExecutor(
            Path(folder) / node,
            msgspec.structs.replace(settings, node=own),
            devices,
            tasks=self._tasks,
            clock=self._clock,
        )
        self._asked_at = self._clock.monotonic()
        self._opened = False

    async def look(self) -> tuple[NodeRecord, Mapping[MemberId, MemberReport]]:
        """The node and its members."""
        await self._ready()
        (node,) = await self._executor.nodes()
        return node, await self._executor.report()

    async def meeting_port(self, job: JobId, attempt: int) -> int:
        """A free port of this node where the members of that attempt meet."""
        await self._ready()
        return self._executor.meeting_port(job, attempt)

    async def launch(self, launch: Launch) -> None:
        """As `jobs.ports.Executor`."""
        await self._ready()
        await self._executor.launch(launch)

    async def stop(self, member: MemberId, grace_seconds: float, epoch: int) -> None:
        """As `jobs.ports.Executor`."""
        await self._ready()
        await self._executor.stop(member, self._node, grace_seconds=grace_seconds, epoch=epoch)

    async def forget(self, member: MemberId) -> None:
        """As `jobs.ports.Executor`."""
        await self._executor.forget(member, self._node)

    async def discard(self, jobs: Sequence[JobId]) -> None:
        """As `jobs.ports.Executor`."""
        await self._executor.discard(jobs)

    async def read_log(self, member: MemberId, offset: int, limit: int) -> LogText:
        """As `jobs.ports.Executor`."""
        return await self._executor.read_log(member, self._node, offset=offset, limit=limit)

    async def _ready(self) -> None:
        self._asked_at = self._clock.monotonic()
        if not self._opened:
            self._opened = True
            await self._executor.open()
            self._tasks.spawn("warden.alone", self._watch())

    async def _watch(self) -> None:
        """End members that no server asks for any more."""
        while True:
            await self._clock.sleep(_ALONE_LOOK_SECONDS)
            alone = self._clock.monotonic() - self._asked_at
            if alone < self._orphan_seconds:
                continue
            if self._executor.idle:
                # Ray keeps a detached actor for ever otherwise.
                os._exit(0)
            await self._executor.close()


def _tell_failure(name: str, error: BaseException) -> None:
    # Ray keeps what its workers write to standard error.
    sys.stderr.write(f"{name}: {error!r}\n")
