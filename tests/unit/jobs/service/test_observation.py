"""Everything that the scheduler is to tell of itself is in its history and in its metrics."""

import re
import sys
from types import SimpleNamespace

import pytest
from prometheus_client import generate_latest

from support.job_worlds import World, make_nodes
from tokenyard.jobs.executors.devices import Gauge
from tokenyard.jobs.executors.fake import Outcome
from tokenyard.jobs.observation import Observer
from tokenyard.jobs.rules.states import State
from tokenyard.protocol.jobs import RetrySpec
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.telemetry.metrics import JobMetrics

SETTINGS = JobSettings(sample_seconds=1.0)
# What is asked for, as names in the history: our own store, kept and read over the API.
HISTORY = [
    r"queue/default/waiting", r"queue/default/running", r"queue/default/held",
    r"queue/default/oldest_wait_seconds",
    r"wait/default/normal/p50", r"wait/default/normal/p95", r"wait/default/normal/max",
    r"wait/default/high/max",
    r"node/n0/gpus", r"node/n0/gpus_used", r"job/job_0001/gpus",
    r"cluster/gpus", r"cluster/gpus_free", r"cluster/gpus_held", r"cluster/gpus_fragmented",
    r"cluster/preemptions", r"cluster/lost_gpu_seconds", r"cluster/cycle_seconds",
    r"failures/other/user_error", r"succeeded/other",
    r"admissions/in_order", r"admissions/seats_were_held", r"admissions/backfilled",
    r"reason/insufficient_resources",
]  # fmt: skip
METRICS = [
    "queue_depth", "oldest_wait_seconds", "wait_seconds_bucket", "node_gpus_used",
    "node_gpus_busy", "cluster", "failures_total", "succeeded_total", "preemptions_total",
    "lost_gpu_seconds_total", "admissions_total", "waiting", "cycle_seconds_bucket",
]  # fmt: skip


async def busy_world() -> World:
    """Starts of each kind, a preemption, a failure, and jobs that wait for several reasons."""
    ends = {"bad": Outcome(1.0, status=3), "short": Outcome(2.0)}
    world = World(
        lambda one: ends.get(one.spec.name, Outcome(900.0)),
        nodes=make_nodes(2, 4),
        settings=SETTINGS,
    )
    await world.submit(gpus=3, estimate_seconds=900.0)
    await world.submit(name="bad", gpus=1, retries=RetrySpec(user_error=0))
    await world.submit(gpus=4, estimate_seconds=900.0)
    await world.pass_time(62)
    # It displaces the first, which then waits with a reservation while a short one passes it.
    await world.submit(gpus=3, priority=100, preemptible=False, estimate_seconds=900.0)
    await world.pass_time(3)
    records, _ = await world.store.changed_jobs(0)
    assert sum(record.preemptions for record in records) == 1
    await world.submit(name="short", gpus=1, priority=-100, estimate_seconds=2.0)
    await world.pass_time(5)
    return world


async def test_the_history_holds_what_is_asked_for() -> None:
    world = await busy_world()
    await world.submit(not_before=1e11, state=State.HELD)
    await world.pass_time(2)
    samples = await world.store.samples(since=0, until=1e12, limit=10_000)
    names = {name for sample in samples for name in sample.values}
    missing = [one for one in HISTORY if not any(re.fullmatch(one, name) for name in names)]
    assert not missing, sorted(names)
    last = samples[-1].values
    assert last["cluster/preemptions"] == 1
    assert last["queue/default/oldest_wait_seconds"] > 0


async def test_counts_go_on_with_the_next_leader() -> None:
    world = await busy_world()
    counted = (await world.store.samples(since=0, until=1e12, limit=1))[-1].values
    await world.clock.advance(60)
    world.new_leader()
    await world.pass_time(2)
    after = (await world.store.samples(since=0, until=1e12, limit=1))[-1].values
    for name in ("cluster/preemptions", "failures/other/user_error", "admissions/in_order"):
        assert after[name] >= counted[name] > 0


async def test_prometheus_gets_the_same() -> None:
    metrics = JobMetrics()
    world = await busy_world()
    observer = Observer(world.store, SETTINGS, metrics)
    world.scheduler._observer = observer
    await world.submit(gpus=1)
    await world.pass_time(3)
    metrics.set_values({"node/n0/gpus_busy": 1.5})
    text = generate_latest(metrics.registry).decode()
    assert not [name for name in METRICS if f"tokenyard_jobs_{name}" not in text]


def test_how_busy_gpus_are_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def rates(index: int) -> SimpleNamespace:
        asked.append(index)
        return SimpleNamespace(gpu=40 + index)

    fake = SimpleNamespace(
        nvmlInit=lambda: None, nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetUtilizationRates=rates,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    gauge = Gauge(2, declared=False)
    assert [gauge.load(0.0), gauge.load(5.0)] == [(40.0, 41.0)] * 2
    assert asked == [0, 1]
    gauge.load(11.0)
    assert len(asked) == 4
    assert Gauge(2, declared=True).load(0.0) == ()
