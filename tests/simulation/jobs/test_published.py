"""Published tables, reproduced through plan(); the longer versions are in benchmarks/scheduler."""

import csv
from pathlib import Path

import pytest

from tokenyard.jobs.rules.profile import QUOTA_PROTECTING, SRSF, SRTF, YARD, Profile
from tokenyard.jobs.simulator.__main__ import main, read
from tokenyard.jobs.simulator.experiments import fill, kueue_baseline, muri
from tokenyard.jobs.simulator.report import summarise
from tokenyard.jobs.simulator.workload import read_muri, read_openb_nodes, read_openb_pods
from tokenyard.runtime.randomness import SeededRandomness

TRACES = Path(__file__).parents[2] / "traces"
ALIBABA, MURI = TRACES / "alibaba2023", TRACES / "muri2022"


def published_fill(workload: str, policy: str) -> float:
    with (ALIBABA / "fgd_expected.csv").open() as file:
        for row in csv.DictReader(file):
            wanted = (f"openb_pod_list_{workload}", policy, "gpu_alloc_pct", "130")
            if (row["workload"], row["policy"], row["metric"], row["arrived_gpu_pct"]) == wanted:
                return float(row["mean"])
    raise AssertionError("not published")


@pytest.mark.parametrize(
    ("policy", "published_as", "points"),
    [("fgd", "06-FGD", 0.5), ("best_fit", "05-BestFit", 0.5), ("random", "01-Random", 1.5)],
)
def test_gpu_allocation_of_the_alibaba_trace(policy: str, published_as: str, points: float) -> None:
    """The first of the ten seeds; the mean of all ten is in benchmarks/scheduler/results."""
    nodes = read(ALIBABA / "openb_node_list_gpu_node.csv.gz", read_openb_nodes)
    pods = read(ALIBABA / "openb_pod_list_default.csv.gz", read_openb_pods)
    assert sum(node.gpu_milli for node in nodes) == 6_212_000
    found = fill(nodes, pods, policy, SeededRandomness(42), 42)
    assert abs(found.allocated_percent - published_fill("default", published_as)) <= points
    assert found.allocated_percent + found.fragmented_percent <= 100


@pytest.mark.parametrize(("profile", "published_as"), [(SRTF, "SRTF"), (SRSF, "SRSF")])
def test_completion_times_of_the_muri_traces(profile: Profile, published_as: str) -> None:
    """Within 9 %: their model takes 4 to 46 s from every running job at every event; ours not.

    Trace 1 takes ten times as long and is in benchmarks/scheduler.
    """
    trace = "trace3"
    with (MURI / "published.csv").open() as file:
        rows = {(row["trace"], row["policy"]): row for row in csv.DictReader(file)}
    published = float(rows[trace, published_as]["avg_jct_s"])
    arrivals = read(MURI / f"{trace}.csv.gz", read_muri)
    summary = summarise(profile.name, muri(arrivals, profile).run())
    assert summary.finished == len(arrivals)
    assert summary.gpu_seconds_lost == 0
    assert summary.completion_seconds_mean == pytest.approx(published, rel=0.09)


@pytest.mark.parametrize("profile", [QUOTA_PROTECTING, YARD], ids=lambda p: p.name)
def test_kueue_s_baseline_at_95_percent_use(profile: Profile) -> None:
    outcome = kueue_baseline(profile).run()
    assert all(record.finished_at >= 0 for record in outcome.records.values())
    units = {"small": 1, "medium": 5, "large": 20}
    work = sum(
        record.run_seconds * units[job.split("-")[4]] for job, record in outcome.records.items()
    )
    assert len(outcome.records) == 15_000
    assert work / (600 * (outcome.ended_at - outcome.started_at)) >= 0.95


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "jobs.csv"
    trace.write_text("submit_s,duration_s,num_gpus,vc\n0,100,8,a\n10,50,4,b\n10,20,16,a\n")
    plot = ["--plot", str(tmp_path), "--nodes", "2"]
    assert main(["replay", str(trace), "--profile", "fifo_easy", *plot]) == 0
    told = capsys.readouterr().out
    assert "fifo_easy" in told
    assert "120.0" in told
    assert (tmp_path / "fifo_easy.svg").read_text().startswith("<svg")
    assert (
        main(["replay", str(trace), "--nodes", "2", "--at", "10", "--explain", "job_000002"]) == 0
    )
    told = capsys.readouterr().out
    assert "insufficient_resources: Too little is free" in told
    assert "Predicted start: 100 s." in told
    trace.write_text("submit_s,duration_s,num_gpus,vc\n0,ten,8,a\n")
    assert main(["replay", str(trace)]) == 2
    assert "Line 2: duration_s is 'ten'" in capsys.readouterr().err
    trace.write_text("when\n0\n")
    assert main(["replay", str(trace)]) == 2
    assert "no column duration_s" in capsys.readouterr().err
