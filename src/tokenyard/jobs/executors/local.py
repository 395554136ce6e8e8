"""Runs members as processes of this machine, each with a keeper beside it.

    jobs/<job>/work                    the working folder, kept through all attempts
    jobs/<job>/<attempt>.<rank>.<turn> spec, log, its last checkpoint, and how the member ended
    jobs/open/…                        a name for each member whose end is not yet stored

A member's folder is made once and for ever, so a second order to start it finds it and does
nothing, even of a server that was started anew. Members die with their server; then they are lost.
Does not decide who runs.
"""

import asyncio
import json
import math
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenyard.jobs.executors import keeper
from tokenyard.jobs.executors.checkpoints import FILE_VARIABLE, STEP_VARIABLE, read_step
from tokenyard.jobs.executors.devices import Devices, Gauge
from tokenyard.jobs.executors.processes import LocalProcess, ProcessSpec, start_process
from tokenyard.jobs.ports import Launch, LogText, MemberId, MemberPhase, MemberReport
from tokenyard.jobs.records import NodeRecord
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.ids import JobId, NodeName

LOCAL = "local"
CHECKPOINT_FILE = "checkpoint.json"
# Of our own environment members see only these; the rest may hold secrets.
_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_QUIT_SECONDS_MAX = 10.0


@dataclass(slots=True)
class _Member:
    process: LocalProcess | None
    report: MemberReport
    told: float | None = None
    # The checkpoint file when it was last read: time and size.
    stamp: tuple[int, int] = (0, 0)


class LocalExecutor:
    """Keeps `jobs.ports.Executor` with processes."""

    def __init__(
        self,
        folder: Path,
        settings: JobSettings,
        devices: Devices,
        *,
        tasks: TaskSupervisor,
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._devices = devices
        self._tasks = tasks
        self._clock = clock
        # Called when a member has ended, so that nobody has to wait for the next look.
        self.changed = changed
        self._node = NodeName(settings.node.name)
        self._gauge = Gauge(devices.gpus, declared=settings.node.gpus >= 0)
        self._members: dict[MemberId, _Member] = {}
        self._ports: dict[tuple[JobId, int], int] = {}
        self._epoch = 0

    @property
    def name(self) -> str:
        """Its name in records of nodes."""
        return LOCAL

    @property
    def idle(self) -> bool:
        """Whether nothing of it runs."""
        return all(held.report.phase.is_over for held in self._members.values())

    async def open(self) -> None:
        """Find what a server before this one has left, and end what still runs of it."""
        found = await asyncio.to_thread(_find_open, self._folder, self._node)
        self._members = {report.id: _Member(None, report) for report in found}

    async def close(self) -> None:
        """Let members save their work for a moment, then end them; they count as lost."""
        running = [held for held in self._members.values() if held.process is not None]
        for held in running:
            if held.process is not None:
                held.process.tell(f"quit {_QUIT_SECONDS_MAX}")
        waits = [held.process.wait() for held in running if held.process is not None]
        await asyncio.gather(*waits, return_exceptions=True)

    async def nodes(self) -> Sequence[NodeRecord]:
        """Nodes that are alive, with the time at which each was last heard of."""
        devices = self._devices
        return [
            NodeRecord(
                self._node,
                LOCAL,
                devices.gpus,
                devices.cpu_milli,
                devices.memory_mib,
                devices.gpu_model,
                {"node": self._node},
                seen_at=self._clock.now(),
                gpu_load=await asyncio.to_thread(self._gauge.load, self._clock.monotonic()),
            )
        ]

    async def report(self) -> Mapping[MemberId, MemberReport]:
        """All members that it has started and not forgotten."""
        running = [held for held in self._members.values() if not held.report.phase.is_over]
        if running:
            await asyncio.to_thread(self._read_steps, running)
        return {member: held.report for member, held in self._members.items()}

    def _read_steps(self, running: Sequence[_Member]) -> None:
        for held in running:
            path = self._folder_of(held.report.id) / CHECKPOINT_FILE
            with suppress(OSError):
                seen = path.stat()
                stamp = (seen.st_mtime_ns, seen.st_size)
                if stamp != held.stamp:
                    held.stamp = stamp
                    held.report = replace(held.report, step=read_step(path))

    async def launch(self, launch: Launch) -> None:
        """Start a member, unless it was ever started; refused silently for an old epoch."""
        if launch.epoch < self._epoch:
            return
        self._epoch = launch.epoch
        folder = self._folder_of(launch.id)
        if launch.id in self._members or not await asyncio.to_thread(
            _claim, self._folder, folder, launch.id
        ):
            return
        report = MemberReport(launch.id, self._node, MemberPhase.STARTING)
        self._members[launch.id] = _Member(None, report)
        try:
            process = await self._start(launch, folder)
        except OSError as error:
            self._members[launch.id].report = MemberReport(
                launch.id, self._node, MemberPhase.LAUNCH_FAILED, None, str(error)
            )
            return
        report = MemberReport(launch.id, self._node, MemberPhase.RUNNING)
        self._members[launch.id] = _Member(process, report)
        self._tasks.spawn(f"member {launch.id.job}.{launch.id.rank}", self._watch(launch.id))

    async def stop(
        self, member: MemberId, node: NodeName, *, grace_seconds: float, epoch: int
    ) -> None:
        """Send the job's checkpoint signal, and end the member by force after the grace."""
        if epoch < self._epoch:
            return
        self._epoch = epoch
        held = self._members.get(member)
        if held is None:
            await asyncio.to_thread(_claim, self._folder, self._folder_of(member), member)
            report = MemberReport(member, self._node, MemberPhase.EXITED, None, stopped=True)
            self._members[member] = _Member(None, report)
        elif held.process is not None and not held.report.phase.is_over:
            # Told again only when it is to go sooner.
            ends_at = self._clock.monotonic() + grace_seconds
            if held.told is None or ends_at < held.told - 0.5:
                held.told = ends_at
                held.process.tell(f"stop {grace_seconds}")

    async def forget(self, member: MemberId, node: NodeName) -> None:
        """Its end is stored; drop what is kept for `report`. Its log stays."""
        if self._members.pop(member, None) is not None:
            await asyncio.to_thread(_drop, self._folder, member)
            self._ports.pop((member.job, member.attempt), None)

    async def discard(self, jobs: Sequence[JobId]) -> None:
        """Remove the folders and logs of those jobs, wherever they ran."""
        for job in jobs:
            await asyncio.to_thread(shutil.rmtree, self._folder / job, ignore_errors=True)

    async def read_log(
        self, member: MemberId, node: NodeName, *, offset: int, limit: int
    ) -> LogText:
        """What it has written from that byte on; empty when there is nothing."""
        path = self._folder_of(member) / "log"
        return await asyncio.to_thread(_read_log, path, offset, limit)

    def _folder_of(self, member: MemberId) -> Path:
        name = f"{member.attempt}.{member.rank}.{member.turn}"
        return self._folder / member.job / name

    async def _start(self, launch: Launch, folder: Path) -> LocalProcess:
        work = self._folder / launch.id.job / "work"
        await asyncio.to_thread(_write_files, work, launch.spec.files)
        role = launch.spec.roles[launch.role]
        limit = launch.spec.time_limit_seconds
        told = {
            "command": _command(launch),
            "folder": str(work),
            "environment": self._environment(launch, work),
            "log": str(folder / "log"),
            "log_bytes_max": self._settings.log_bytes_max,
            "started": str(folder / "started.json"),
            "ended": str(folder / "ended.json"),
            "memory_bytes": role.memory_mib << 20,
            "cpu_seconds": math.ceil(limit * max(role.cpus, 1.0)) if limit else 0,
            "open_files": self._settings.open_files_max,
            "signal": launch.spec.checkpoint.signal,
        }
        spec = folder / "spec.json"
        await asyncio.to_thread(_write_private, spec, json.dumps(told))
        # Isolated and without site packages: it needs neither, and starts in a few milliseconds.
        command = (sys.executable, "-I", "-S", str(Path(keeper.__file__)), str(spec))
        return await start_process(ProcessSpec(command, folder / "keeper.log"))

    def _environment(self, launch: Launch, work: Path) -> dict[str, str]:
        """What torch.distributed reads, and where the member is in its job."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        member = launch.id
        return {
            **passed,
            "PYTHONPATH": str(work),
            "PYTHONUNBUFFERED": "1",
            "MASTER_ADDR": launch.master_address,
            "MASTER_PORT": str(launch.master_port or self.meeting_port(member.job, member.attempt)),
            "RANK": str(member.rank),
            "WORLD_SIZE": str(launch.members),
            "LOCAL_RANK": str(launch.local_rank),
            "LOCAL_WORLD_SIZE": str(launch.local_members),
            "CUDA_VISIBLE_DEVICES": ",".join(str(gpu) for gpu in launch.gpus),
            "TOKENYARD_JOB_ID": member.job,
            "TOKENYARD_ATTEMPT": str(member.attempt),
            FILE_VARIABLE: str(self._folder_of(member) / CHECKPOINT_FILE),
            STEP_VARIABLE: "" if launch.resumed_step is None else str(launch.resumed_step),
            "TOKENYARD_ROLE": launch.spec.roles[launch.role].name,
            "TOKENYARD_ARRAY_INDEX": "" if launch.array_index is None else str(launch.array_index),
            **launch.spec.environment,
        }

    def meeting_port(self, job: JobId, attempt: int) -> int:
        """A free port of this machine where the members of this attempt meet."""
        key = (job, attempt)
        if key not in self._ports:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._ports[key] = int(free.getsockname()[1])
        return self._ports[key]

    async def _watch(self, member: MemberId) -> None:
        held = self._members[member]
        assert held.process is not None
        await held.process.wait()
        # The keeper's own group; a keeper that was killed has left its member to us.
        await held.process.stop(0.1)
        folder = self._folder_of(member)
        await asyncio.to_thread(_end_group, folder, member)
        held.report = await asyncio.to_thread(_read_end, folder, member, self._node)
        self.changed()


def _command(launch: Launch) -> list[str]:
    spec = launch.spec
    if spec.python is None:
        return list(spec.command)
    module, _, function = spec.python.partition(":")
    if not function:
        return [sys.executable, "-m", module, *spec.command]
    code = f"import importlib; importlib.import_module({module!r}).{function}()"
    return [sys.executable, "-c", code, *spec.command]


def _name(member: MemberId) -> str:
    return f"{member.job}.{member.attempt}.{member.rank}.{member.turn}"


def _claim(root: Path, folder: Path, member: MemberId) -> bool:
    """Make the member's folder; False when it was made before."""
    register = root / "open"
    register.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    (register / _name(member)).touch()
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _drop(root: Path, member: MemberId) -> None:
    (root / "open" / _name(member)).unlink(missing_ok=True)


def _find_open(root: Path, node: NodeName) -> list[MemberReport]:
    register = root / "open"
    if not register.is_dir():
        return []
    found = []
    for entry in sorted(register.iterdir()):
        job, attempt, rank, turn = entry.name.rsplit(".", 3)
        member = MemberId(JobId(job), int(attempt), int(rank), int(turn))
        folder = root / job / f"{attempt}.{rank}.{turn}"
        _end_group(folder, member)
        found.append(_read_end(folder, member, node))
    return found


def _read_end(folder: Path, member: MemberId, node: NodeName) -> MemberReport:
    """How it ended; lost where nobody has written that down."""
    step = read_step(folder / CHECKPOINT_FILE)
    try:
        told: dict[str, Any] = json.loads((folder / "ended.json").read_text())
    except (OSError, ValueError):
        detail = "its keeper died"
        return MemberReport(member, node, MemberPhase.LOST, None, detail, step=step)
    phase = MemberPhase(told["phase"])
    return MemberReport(member, node, phase, told["status"], told["detail"], told["stopped"], step)


def _end_group(folder: Path, member: MemberId) -> None:
    """Kill what is left of a member, if the number of its group is still its own."""
    try:
        group = int(json.loads((folder / "started.json").read_text())["group"])
        environment = Path(f"/proc/{group}/environ").read_bytes()
    except (OSError, ValueError, KeyError):
        return
    if f"TOKENYARD_JOB_ID={member.job}".encode() in environment:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _write_files(work: Path, files: Mapping[str, str]) -> None:
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = work.resolve()
    for name, content in files.items():
        path = (work / name).resolve()
        if root not in path.parents:
            raise OSError(f"{name} lies outside of the working folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _read_log(path: Path, offset: int, limit: int) -> LogText:
    previous = current = 0
    with suppress(OSError, ValueError, KeyError):
        base = json.loads(path.with_name("log.base").read_text())
        previous, current = int(base["previous"]), int(base["current"])
    if offset < 0:
        with suppress(OSError):
            offset = max(current + path.stat().st_size + offset, previous)
        offset = max(offset, 0)
    if offset >= current:
        return _read_piece(path, current, offset, limit)
    # What is older than the file before is gone.
    start = max(offset, previous)
    piece = _read_piece(path.with_name("log.1"), previous, start, min(limit, current - start))
    return piece if piece.text else _read_piece(path, current, current, limit)


def _read_piece(path: Path, base: int, offset: int, limit: int) -> LogText:
    try:
        with path.open("rb") as file:
            file.seek(offset - base)
            data = file.read(limit)
    except OSError:
        return LogText("", offset, offset)
    # A character that is cut at the end comes with the next piece.
    cut = len(data)
    while cut and cut > len(data) - 3 and data[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    if cut and data[cut - 1] >= 0xC0 and len(data) == limit:
        data = data[: cut - 1]
    return LogText(data.decode(errors="replace"), offset, offset + len(data))
