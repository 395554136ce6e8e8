"""What `tokenyard simulate` does: names and files become experiments, outcomes become text."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from tokenyard.jobs.rules.explain import explain
from tokenyard.jobs.rules.profile import PROFILES, Profile
from tokenyard.jobs.simulator.experiments import PEERS, busiest_window, kueue_baseline
from tokenyard.jobs.simulator.experiments import replay as make_replay
from tokenyard.jobs.simulator.pictures import chart as chart_of
from tokenyard.jobs.simulator.pictures import draw
from tokenyard.jobs.simulator.published import Cell, fill_cells, muri_cells, say_cells
from tokenyard.jobs.simulator.report import Summary, summarise, table
from tokenyard.jobs.simulator.run import Outcome, Rules, Simulation, with_estimates
from tokenyard.jobs.simulator.traces import read_arrivals
from tokenyard.jobs.simulator.workload import Arrival
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.ids import JobId

_DEFAULT = ("yard", "fifo_easy", "kueue_like", "volcano_like", "fgd_like")
_FIRST_SEED = 42


def profile_called(name: str) -> Profile:
    """A profile of ours or of a peer; raises InvalidRequest."""
    known = {**PROFILES, **PEERS}
    if name not in known:
        names = ", ".join(sorted(known))
        raise InvalidRequest(f"There is no policy {name!r}; there are {names}.", param="profile")
    return known[name]


def replay_trace(
    trace: Path,
    *,
    nodes: int,
    gpus: int,
    jobs: int | None,
    wrong_estimates: float | None,
    plot: Path | None,
    chart: bool,
    job: str | None,
    at: float | None,
    profiles: tuple[str, ...],
    as_json: bool,
) -> str:
    """One run for each policy, side by side; or why a job waits in the first of them."""
    arrivals = _read(trace, gpus, jobs, wrong_estimates)
    rules = Rules(keeps_curve=plot is not None or chart, until=at)

    def make(profile: Profile) -> Simulation:
        return make_replay(arrivals, profile, nodes, gpus=gpus, rules=rules)

    if job is not None:
        return _explain(make(profile_called((profiles or _DEFAULT)[0])), JobId(job))
    runs, text = _play(profiles or _DEFAULT, make, as_json=as_json)
    if plot is not None:
        plot.write_text(draw(runs, f"{trace.name} on {nodes} nodes of {gpus} GPUs"))
    if chart:
        text += "\n\n" + "\n".join(chart_of(name, outcome) for name, outcome in runs)
    return text


def play_baseline(profiles: tuple[str, ...], *, as_json: bool) -> str:
    """Kueue's scenario for each policy."""
    return _play(profiles or ("yard", "kueue_like"), kueue_baseline, as_json=as_json)[1]


def compare_published(folder: Path, seeds: int, which: str, *, as_json: bool) -> str:
    """All cells of the tables asked for."""
    cells: list[Cell] = []
    if which != "muri2022":
        cells += fill_cells(folder, range(_FIRST_SEED, _FIRST_SEED + seeds))
    if which != "alibaba2023":
        cells += muri_cells(folder)
    if as_json:
        return _json([asdict(cell) for cell in cells])
    return say_cells(cells)


def _read(trace: Path, gpus: int, jobs: int | None, wrong: float | None) -> list[Arrival]:
    arrivals = read_arrivals(trace, gpus)
    if not arrivals:
        raise InvalidRequest(f"{trace} holds no jobs.", param="trace")
    if jobs is not None:
        arrivals = busiest_window(arrivals, jobs)
    if wrong is not None:
        draw_one = SeededRandomness(_FIRST_SEED)
        arrivals = with_estimates(arrivals, lambda: wrong ** draw_one.uniform(-1.0, 1.0))
    return arrivals


def _play(
    names: Sequence[str], make: Callable[[Profile], Simulation], *, as_json: bool
) -> tuple[list[tuple[str, Outcome]], str]:
    clock = RealClock()
    runs: list[tuple[str, Outcome]] = []
    rows: list[dict[str, object]] = []
    summaries: list[Summary] = []
    for name in names:
        simulation = make(profile_called(name))
        began = clock.monotonic()
        outcome = simulation.run()
        seconds = clock.monotonic() - began
        summaries.append(summarise(name, outcome))
        runs.append((name, outcome))
        rows.append({**summaries[-1].as_json(), "wall_seconds": round(seconds, 2)})
    return runs, _json(rows) if as_json else table(summaries)


def _explain(simulation: Simulation, job: JobId) -> str:
    """Play up to a time and say why a job waits there."""
    if simulation.rules.until is None:
        raise InvalidRequest("Say with --at for which moment.", param="at")
    simulation.run()
    told = explain(simulation.board, job, simulation.now)
    if told is None:
        return f"{job} runs."
    start = "unknown" if told.predicted_start is None else f"{told.predicted_start:.0f} s"
    lines = [f"{told.reason}: {told.sentence}", f"{told.ahead_count} ahead of it in its queue."]
    lines += [f"Predicted start: {start}.", *(f"What if: {one.words}." for one in told.what_if)]
    return "\n".join(lines)


def _json(found: object) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
