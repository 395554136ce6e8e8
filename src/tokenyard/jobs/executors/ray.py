"""Runs members on a Ray cluster: Ray starts one warden on every node, and that is all it does.

Queues, gangs, release and heart-beats are our scheduler's. Every warden is asked what its members
do about twice a second; a node that does not answer falls silent here, long before Ray takes it for
dead, and the scheduler then releases the whole gang. Wardens outlive the server: the next one finds
them by name, with their members. Orders are sent without waiting; the scheduler repeats them until
the report agrees. Does not decide who runs.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tokenyard import __version__
from tokenyard.jobs.executors.devices import Devices
from tokenyard.jobs.executors.warden import Warden
from tokenyard.jobs.ports import Launch, LogText, MemberId, MemberReport
from tokenyard.jobs.records import NodeRecord
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import NotFound, StartError, Unavailable
from tokenyard.vocabulary.ids import JobId, NodeName
from tokenyard.vocabulary.reasons import Reason

RAY = "ray"
_NAMESPACE = "tokenyard"
_NODE_ID_CHARACTERS = 12
_MODEL = "accelerator_type:"
_MIB = 1 << 20
# As Ray takes levels of logs.
_ERROR = 40

T = TypeVar("T")


@dataclass(slots=True)
class _Post:
    """One node: its warden and what that last said."""

    name: NodeName
    address: str
    warden: Any
    labels: Mapping[str, str]
    watching: "asyncio.Task[None] | None" = None
    record: NodeRecord | None = None
    reports: dict[MemberId, MemberReport] = field(default_factory=dict)


class RayExecutor:
    """Keeps `jobs.ports.Executor` over a Ray cluster."""

    def __init__(
        self,
        settings: JobSettings,
        *,
        tasks: TaskSupervisor,
        clock: Clock,
        log: Log,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._clock = clock
        self._log = log
        # Called when a member has ended, so that nobody has to wait for the next look.
        self.changed = changed
        self._posts: dict[NodeName, _Post] = {}
        self._pending: set[tuple[str, MemberId]] = set()
        self._ports: dict[tuple[JobId, int], int] = {}
        self._surveying: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Its name in records of nodes."""
        return RAY

    async def open(self) -> None:
        """Join the cluster and hear from all its nodes; raises StartError when there is none.

        Members of an earlier server are known when this returns, or their node is not heard of.
        """
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        address = self._settings.ray.address
        try:
            await asyncio.to_thread(_join, address)
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise StartError(
                f"No Ray cluster is found at {address!r} (jobs.ray.address): {error}"
            ) from None
        await self._survey()
        self._surveying = self._tasks.spawn("ray.survey", self._keep_surveying())
        ends_at = self._clock.monotonic() + self._settings.ray.call_seconds
        while any(post.record is None for post in self._posts.values()):
            if self._clock.monotonic() >= ends_at:
                break
            await self._clock.sleep(self._settings.ray.look_seconds / 5)

    async def close(self) -> None:
        """Leave the cluster; members go on, for the next server or until they count as orphans."""
        watching = [post.watching for post in self._posts.values()]
        for task in (self._surveying, *watching):
            if task is not None:
                await self._tasks.end(task)
        await asyncio.to_thread(ray.shutdown)

    async def nodes(self) -> Sequence[NodeRecord]:
        """Nodes that have answered, with the time at which each last did."""
        return [post.record for post in self._posts.values() if post.record is not None]

    async def report(self) -> Mapping[MemberId, MemberReport]:
        """All members that it has started and not forgotten."""
        return {m: report for post in self._posts.values() for m, report in post.reports.items()}

    async def launch(self, launch: Launch) -> None:
        """Start a member, unless it was ever started; refused silently for an old epoch."""
        post, master = self._posts.get(launch.node), self._posts.get(launch.master)
        if post is not None and master is not None:
            self._order("launch", launch.id, lambda: self._launch(post, master, launch))

    async def stop(
        self, member: MemberId, node: NodeName, *, grace_seconds: float, epoch: int
    ) -> None:
        """Send the job's checkpoint signal, and end the member by force after the grace."""
        post = self._posts.get(node)
        if post is not None:
            call = post.warden.stop.remote
            self._order("stop", member, lambda: self._ask(call(member, grace_seconds, epoch)))

    async def forget(self, member: MemberId, node: NodeName) -> None:
        """Its end is stored; drop what is kept for `report`. Its log stays."""
        self._ports.pop((member.job, member.attempt), None)
        post = self._posts.get(node)
        if post is not None:
            call = post.warden.forget.remote
            self._order("forget", member, lambda: self._ask(call(member)))

    async def discard(self, jobs: Sequence[JobId]) -> None:
        """Remove the folders and logs of those jobs; a node that does not answer keeps its own."""
        for post in list(self._posts.values()):
            with suppress(RayError, TimeoutError):
                await self._ask(post.warden.discard.remote(list(jobs)))

    async def read_log(
        self, member: MemberId, node: NodeName, *, offset: int, limit: int
    ) -> LogText:
        """What it has written from that byte on; NotFound when its node is not there any more."""
        post = self._posts.get(node)
        if post is None:
            raise NotFound(f"The node {node} that holds this log is gone.")
        try:
            found: LogText = await self._ask(post.warden.read_log.remote(member, offset, limit))
        except (RayError, TimeoutError):
            raise Unavailable(
                f"The node {node} does not answer.", reason=Reason.NODE_LOST
            ) from None
        return found

    def _order(self, kind: str, member: MemberId, order: Callable[[], Awaitable[object]]) -> None:
        """Send an order, unless the same is on its way; who is not heard is told again later."""
        key = (kind, member)
        if key in self._pending:
            return

        async def send() -> None:
            try:
                await order()
            except (RayError, TimeoutError) as error:
                self._log.warning(Event.NODE_SILENT, order=kind, job=member.job, error=str(error))
            finally:
                self._pending.discard(key)

        self._pending.add(key)
        self._tasks.spawn(f"ray.{kind} {member.job}", send())

    async def _launch(self, post: _Post, master: _Post, launch: Launch) -> None:
        key = (launch.id.job, launch.id.attempt)
        if key not in self._ports:
            self._ports[key] = await self._ask(master.warden.meeting_port.remote(*key))
        told = replace(launch, master_address=master.address, master_port=self._ports[key])
        await self._ask(post.warden.launch.remote(told))
        await self._look(post)

    async def _ask(self, answer: Awaitable[T]) -> T:
        async with asyncio.timeout(self._settings.ray.call_seconds):
            return await answer

    async def _keep_surveying(self) -> None:
        while True:
            await self._clock.sleep(self._settings.ray.look_seconds)
            try:
                await self._survey()
            except RayError as error:
                self._log.warning(Event.NODE_SILENT, order="survey", error=str(error))

    async def _survey(self) -> None:
        """Put a warden on every node that is there, and give up those that are not."""
        found = {_name(node): node for node in await asyncio.to_thread(ray.nodes) if node["Alive"]}
        for name in self._posts.keys() - found.keys():
            await self._give_up(name)
        for name, node in found.items():
            post = self._posts.get(name)
            if post is not None and post.watching is not None and post.watching.done():
                # The warden died alone; another one tells what it has left.
                await self._give_up(name)
                post = None
            if post is None:
                warden = await asyncio.to_thread(_hire, name, node, self._settings)
                post = _Post(name, node["NodeManagerAddress"], warden, _labels(name, node))
                post.watching = self._tasks.spawn(f"ray.watch {name}", self._watch(post))
                self._posts[name] = post

    async def _give_up(self, name: NodeName) -> None:
        post = self._posts.pop(name)
        if post.watching is not None:
            await self._tasks.end(post.watching)
        self.changed()

    async def _watch(self, post: _Post) -> None:
        """Ask the node again and again, until its warden is known to be dead."""
        while True:
            try:
                await self._look(post)
            except TimeoutError:
                continue
            except RayError:
                return
            await self._clock.sleep(self._settings.ray.look_seconds)

    async def _look(self, post: _Post) -> None:
        record, reports = await self._ask(post.warden.look.remote())
        heard_at = self._clock.now()
        post.record = replace(record, executor=RAY, labels=post.labels, seen_at=heard_at)
        known, post.reports = post.reports, dict(reports)
        if any(known.get(member) != report for member, report in reports.items()):
            self.changed()


def _join(address: str) -> None:
    ray.init(address, namespace=_NAMESPACE, log_to_driver=False, logging_level=_ERROR)


def _name(node: Mapping[str, Any]) -> NodeName:
    """Ray's names of nodes are addresses, which several nodes of one machine share."""
    return NodeName(f"ray-{node['NodeID'][:_NODE_ID_CHARACTERS]}")


def _labels(name: NodeName, node: Mapping[str, Any]) -> dict[str, str]:
    labels = {str(key): str(value) for key, value in (node.get("Labels") or {}).items()}
    return {**labels, "node": name, "address": node["NodeManagerAddress"]}


def _hire(name: NodeName, node: Mapping[str, Any], settings: JobSettings) -> Any:
    """The warden of that node, started if there is none. It takes nothing of what Ray counts."""
    resources = node["Resources"]
    models = [key[len(_MODEL) :] for key in resources if key.startswith(_MODEL)]
    devices = Devices(
        int(resources.get("GPU", 0)),
        models[0] if models else settings.node.gpu_model,
        round(resources.get("CPU", 0) * 1000),
        int(resources.get("memory", 0)) // _MIB,
    )
    place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    hired = ray.remote(Warden).options(
        # A warden of another version is left alone; it ends when nobody asks for it.
        name=f"warden-{__version__}-{node['NodeID']}",
        namespace=_NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        scheduling_strategy=place,
    )
    return hired.remote(name, settings.ray.folder, devices, settings)
