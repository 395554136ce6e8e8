"""The local executor with real processes: limits, logs, signals, and no orphans."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.job_records import make_spec
from tokenyard.jobs.executors.devices import Devices, find_devices
from tokenyard.jobs.executors.local import LocalExecutor
from tokenyard.jobs.ports import Launch, MemberId, MemberPhase, MemberReport
from tokenyard.protocol.jobs import CheckpointSpec, RoleSpec
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.job_settings import JobSettings, NodeSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.ids import JobId, NodeName

NODE = NodeName("local")
SETTINGS = JobSettings(log_bytes_max=20_000)
PYTHON = sys.executable


@pytest.fixture
async def tasks() -> AsyncIterator[TaskSupervisor]:
    failures: list[str] = []
    async with TaskSupervisor(lambda name, error: failures.append(f"{name}: {error!r}")) as made:
        yield made
    assert not failures


@pytest.fixture
async def executor(tmp_path: Path, tasks: TaskSupervisor) -> AsyncIterator[LocalExecutor]:
    made = open_executor(tmp_path, tasks)
    await made.open()
    yield made
    await made.close()


def open_executor(folder: Path, tasks: TaskSupervisor) -> LocalExecutor:
    devices = Devices(4, "fake", 4000, 4096)
    return LocalExecutor(folder / "jobs", SETTINGS, devices, tasks=tasks, clock=RealClock())


def launch(
    code: str, *, rank: int = 0, members: int = 1, epoch: int = 1, attempt: int = 1, **fields: Any
) -> Launch:
    spec = make_spec(**{"command": (PYTHON, "-c", code), **fields})
    return Launch(
        MemberId(JobId("job_a"), attempt, rank), NODE, (2, 3), spec, 0, members, rank, members,
        NODE, 5, epoch,
    )  # fmt: skip


async def end_of(executor: LocalExecutor, member: MemberId) -> MemberReport:
    async with asyncio.timeout(20):
        while True:
            report = (await executor.report())[member]
            if report.phase.is_over:
                return report
            await asyncio.sleep(0.02)


async def log_of(executor: LocalExecutor, member: MemberId, needle: str = "") -> str:
    async with asyncio.timeout(20):
        while True:
            piece = await executor.read_log(member, NODE, offset=0, limit=100_000)
            if needle in piece.text:
                return piece.text
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while is_alive(pid):
            await asyncio.sleep(0.02)


async def test_a_member_knows_its_place_and_nothing_of_our_secrets(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    code = "import os; print(sorted(os.environ.items())); print(open('a/b').read())"
    one = launch(code, rank=1, members=2, environment={"MINE": "y"}, files={"a/b": "héllo"})
    await executor.launch(one)
    end = await end_of(executor, one.id)
    assert (end.phase, end.status) == (MemberPhase.EXITED, 0)
    told = await log_of(executor, one.id)
    for name, value in {
        "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1",
        "CUDA_VISIBLE_DEVICES": "2,3", "TOKENYARD_ARRAY_INDEX": "5", "MINE": "y",
    }.items():  # fmt: skip
        assert f"('{name}', '{value}')" in told
    assert "MASTER_PORT" in told
    assert "SECRET_OF_OURS" not in told
    assert "héllo" in told


async def test_statuses_and_programs_that_are_not_there(executor: LocalExecutor) -> None:
    failing = launch("raise SystemExit(3)")
    missing = launch("", rank=1, command=("no-such-program-here",))
    await executor.launch(failing)
    await executor.launch(missing)
    assert (await end_of(executor, failing.id)).status == 3
    end = await end_of(executor, missing.id)
    assert end.phase is MemberPhase.LAUNCH_FAILED
    assert "no-such-program-here" in (end.detail or "")


async def test_a_member_is_started_once_whoever_asks(
    executor: LocalExecutor, tmp_path: Path, tasks: TaskSupervisor
) -> None:
    one = launch("open('count', 'a').write('x')")
    await asyncio.gather(*(executor.launch(one) for _ in range(4)))
    await end_of(executor, one.id)
    # A server that was started anew finds how it ended, and does not start it either.
    again = open_executor(tmp_path, tasks)
    await again.open()
    await again.launch(one)
    assert (await again.report())[one.id].status == 0
    await again.forget(one.id, NODE)
    await again.launch(one)
    assert (tmp_path / "jobs" / "job_a" / "work" / "count").read_text() == "x"


async def test_a_stop_comes_with_a_signal_and_a_grace(executor: LocalExecutor) -> None:
    saves = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGUSR1, save)
print("ready", flush=True)
time.sleep(60)
"""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += "print('ready', flush=True); time.sleep(60)"
    one = launch(saves, checkpoint=CheckpointSpec(signal="USR1"))
    two = launch(deaf, rank=1)
    for each in (one, two):
        await executor.launch(each)
        await log_of(executor, each.id, "ready")
        await executor.stop(each.id, NODE, grace_seconds=0.5, epoch=1)
    polite = await end_of(executor, one.id)
    assert (polite.status, polite.stopped) == (0, True)
    assert "saved" in await log_of(executor, one.id)
    forced = await end_of(executor, two.id)
    assert (forced.status, forced.stopped) == (-9, True)


@pytest.mark.parametrize(
    "told", ['{"step": -1}', '{"step": "9"}', '{"step": true}', "[9]", "{", '{"step": 1e3}']
)
async def test_what_is_no_step_is_not_taken_for_one(executor: LocalExecutor, told: str) -> None:
    code = f"import os; open(os.environ['TOKENYARD_CHECKPOINT_FILE'], 'w').write({told!r})"
    one = launch(code)
    await executor.launch(one)
    assert (await end_of(executor, one.id)).step is None


async def test_who_takes_too_much_memory_is_ended_for_it(executor: LocalExecutor) -> None:
    code = "import time\nheld = bytearray(300 << 20)\ntime.sleep(30)"
    one = launch(code, roles=(RoleSpec(memory_mib=128),))
    await executor.launch(one)
    end = await end_of(executor, one.id)
    assert end.phase is MemberPhase.OUT_OF_MEMORY
    assert "may hold 128" in (end.detail or "")


async def test_cpu_time_and_open_files_are_bounded(executor: LocalExecutor) -> None:
    spins = launch("while True: pass", time_limit_seconds=1.0)
    counts = launch("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])", rank=1)
    await executor.launch(spins)
    await executor.launch(counts)
    assert (await end_of(executor, spins.id)).status == -signal.SIGXCPU
    await end_of(executor, counts.id)
    assert int(await log_of(executor, counts.id)) <= SETTINGS.open_files_max


async def test_logs_are_cut_and_offsets_stay_true(executor: LocalExecutor) -> None:
    one = launch("for n in range(9000): print(f'{n:08}', flush=n % 100 == 0)")
    await executor.launch(one)
    await end_of(executor, one.id)
    offset, text = 0, ""
    while True:
        piece = await executor.read_log(one.id, NODE, offset=offset, limit=4096)
        if not piece.text:
            break
        text, offset = text + piece.text, piece.next_offset
    assert offset == 9 * 9000
    assert text.endswith("00008999\n")
    assert len(text) <= 2 * SETTINGS.log_bytes_max
    folder = executor._folder_of(one.id)
    assert (folder / "log").stat().st_size <= SETTINGS.log_bytes_max


async def test_what_a_member_leaves_behind_goes_with_it(executor: LocalExecutor) -> None:
    code = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                        start_new_session=True)
print(left.pid, flush=True)
"""
    one = launch(code)
    await executor.launch(one)
    await end_of(executor, one.id)
    await gone(int(await log_of(executor, one.id, "\n")))


async def test_a_keeper_that_is_killed_takes_its_member_along(executor: LocalExecutor) -> None:
    one = launch("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    await executor.launch(one)
    pid = int(await log_of(executor, one.id, "\n"))
    process = executor._members[one.id].process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert (await end_of(executor, one.id)).phase is MemberPhase.LOST
    await gone(pid)


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from integration_jobs import launch, open_executor, log_of
from tokenyard.runtime.tasks import TaskSupervisor

async def main():
    async with TaskSupervisor(print) as tasks:
        executor = open_executor(Path(sys.argv[1]), tasks)
        one = launch("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
        await executor.launch(one)
        print(int(await log_of(executor, one.id, "\\n")), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_killed_server_leaves_no_orphan_and_its_members_are_lost(
    tmp_path: Path, tasks: TaskSupervisor
) -> None:
    (tmp_path / "integration_jobs.py").write_text(Path(__file__).read_text())
    server = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
        [PYTHON, "-c", SUPERVISOR, str(tmp_path), str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert server.stdout is not None
        pid = int(await asyncio.to_thread(server.stdout.readline))
        assert is_alive(pid)
        server.kill()
        await gone(pid)
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
    after = open_executor(tmp_path, tasks)
    async with asyncio.timeout(5):
        while True:
            await after.open()
            [report] = (await after.report()).values()
            if report.detail == "the server died":
                break
            await asyncio.sleep(0.05)
    assert report.phase is MemberPhase.LOST


async def test_a_server_that_stops_lets_members_save(tmp_path: Path, tasks: TaskSupervisor) -> None:
    executor = open_executor(tmp_path, tasks)
    one = launch("import time; print('ready', flush=True); time.sleep(60)")
    await executor.launch(one)
    await log_of(executor, one.id, "ready")
    await executor.close()
    assert (await end_of(executor, one.id)).phase is MemberPhase.LOST


async def test_a_late_order_of_a_replaced_leader_is_refused(executor: LocalExecutor) -> None:
    one, late = launch("pass", epoch=5), launch("pass", rank=1, epoch=4)
    await executor.launch(one)
    await executor.launch(late)
    assert late.id not in await executor.report()
    # Who was told to stop before it was started is never started.
    never = MemberId(JobId("job_a"), 1, 7)
    await executor.stop(never, NODE, grace_seconds=0, epoch=5)
    await executor.launch(launch("pass", rank=7, epoch=5))
    assert (await executor.report())[never].phase is MemberPhase.EXITED
    await end_of(executor, one.id)


def test_declared_devices_are_taken_at_their_word() -> None:
    found = find_devices(NodeSettings(gpus=8, gpu_model="x", cpus=2.5, memory_mib=100))
    assert found == Devices(8, "x", 2500, 100)
    assert find_devices(NodeSettings(gpus=0)).memory_mib > 0
