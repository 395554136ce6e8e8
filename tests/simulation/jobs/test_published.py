"""Published tables, reproduced through plan(); the longer versions are in benchmarks/scheduler."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tokenyard.cli.commands import main
from tokenyard.jobs.rules.profile import QUOTA_PROTECTING, YARD, Profile
from tokenyard.jobs.simulator.experiments import fill, kueue_baseline
from tokenyard.jobs.simulator.published import muri_cells, say_cells
from tokenyard.jobs.simulator.traces import read
from tokenyard.jobs.simulator.workload import read_openb_nodes, read_openb_pods
from tokenyard.runtime.randomness import SeededRandomness

TRACES = Path(__file__).parents[2] / "traces"
ALIBABA = TRACES / "alibaba2023"


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


@pytest.mark.parametrize("trace", ["trace3", "trace3_pr"])
def test_completion_times_of_the_muri_traces(trace: str) -> None:
    """Within 9 %: their model takes 4 to 46 s from every running job at every event; ours not.

    Trace 1 takes ten times as long and is in benchmarks/scheduler.
    """
    cells = list(muri_cells(TRACES, [trace]))
    assert [cell.policy for cell in cells] == ["srtf", "srsf"]
    for cell in cells:
        assert abs(cell.off) <= 9.0, cell
    assert "!" not in say_cells(cells)


def test_our_placement_gives_out_as_much_as_fgd_with_the_same_knowledge() -> None:
    found = {}
    for policy in ("yard", "yard_cold"):
        nodes = read(ALIBABA / "openb_node_list_gpu_node.csv.gz", read_openb_nodes)
        pods = read(ALIBABA / "openb_pod_list_default.csv.gz", read_openb_pods)
        found[policy] = fill(nodes, pods, policy, SeededRandomness(42), 42).allocated_percent
    assert found["yard"] >= published_fill("default", "06-FGD") - 0.1
    # Learning from nothing costs something, and still gives out more than best fit.
    assert found["yard_cold"] > published_fill("default", "05-BestFit") + 0.5


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


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["simulate", *words])
    return result.exit_code, result.output


def test_the_command_line(tmp_path: Path) -> None:
    trace, picture = tmp_path / "jobs.csv", tmp_path / "use.svg"
    trace.write_text("submit_s,duration_s,num_gpus,vc\n0,100,8,a\n10,50,4,b\n10,20,16,a\n")
    asked = ["replay", str(trace), "--nodes", "2"]
    code, told = run(*asked, "--profile", "fifo_easy", "--plot", str(picture), "--chart")
    assert code == 0, told
    assert "fifo_easy" in told
    assert "120.0" in told
    assert "█" in told
    assert picture.read_text().startswith("<svg")
    code, told = run(*asked, "--json")
    rows = {row["name"]: row for row in json.loads(told)}
    assert {"yard", "fifo_easy", "kueue_like", "volcano_like", "fgd_like"} == rows.keys()
    assert all(row["finished"] == 3 for row in rows.values())
    told = run(*asked, "--at", "10", "--explain", "job_000002")[1]
    assert "insufficient_resources: Too little is free" in told
    assert "Predicted start: 100 s." in told
    trace.write_text("submit_s,duration_s,num_gpus,vc\n0,ten,8,a\n")
    code, told = run(*asked)
    assert code != 0
    assert "Line 2: duration_s is 'ten'" in told
    trace.write_text("when\n0\n")
    assert "no column duration_s" in run(*asked)[1]
    trace.write_text("submit_s,duration_s,num_gpus\n0,100,8\n")
    assert "There is no policy 'best'" in run(*asked, "--profile", "best")[1]
