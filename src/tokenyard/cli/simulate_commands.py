"""The commands of `tokenyard simulate`, and their options."""

from pathlib import Path
from typing import Any

import click

from tokenyard.cli.told import told_in_words

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
_PROFILES = click.option(
    "--profile",
    "profiles",
    multiple=True,
    help="A policy, as often as you like.  [default: yard and those it is compared with]",
)


@click.group()
def simulate() -> None:
    """Play traces through the scheduler's own decisions, in virtual time. Needs no server."""


@simulate.command("replay")
@click.argument("trace", type=_FILE)
@click.option("--nodes", type=click.IntRange(1, 100_000), default=48, show_default=True)
@click.option("--gpus", type=click.IntRange(1, 64), default=8, show_default=True,
              help="GPUs of each node.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Only so many, where they come fastest.")
@click.option("--wrong-estimates", type=click.FloatRange(1.0), metavar="FACTOR",
              help="Tell the scheduler lengths that are wrong by up to this factor.")  # fmt: skip
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG there.")
@click.option("--chart", is_flag=True, help="Show the use over time in the terminal.")
@click.option("--explain", "job", help="Say why this job waits, at the time --at.")
@click.option("--at", type=float, help="Stop there (seconds of the trace).")
@_PROFILES
@_JSON
@told_in_words
def replay(**options: Any) -> None:
    """Replay a TRACE: a CSV file with submit_s, duration_s and num_gpus; vc names the queue."""
    from tokenyard.cli.simulating import replay_trace

    click.echo(replay_trace(**options))


@simulate.command("baseline")
@_PROFILES
@_JSON
@told_in_words
def baseline(profiles: tuple[str, ...], as_json: bool) -> None:
    """Play Kueue's published performance baseline: 15,000 jobs in 30 queues."""
    from tokenyard.cli.simulating import play_baseline

    click.echo(play_baseline(profiles, as_json=as_json))


@simulate.command("published")
@click.argument("folder", type=_FOLDER)
@click.option("--seeds", type=click.IntRange(1, 10), default=10, show_default=True)
@click.option("--table", type=click.Choice(["alibaba2023", "muri2022", "all"]), default="all",
              show_default=True)  # fmt: skip
@_JSON
@told_in_words
def published(folder: Path, seeds: int, table: str, as_json: bool) -> None:
    """Compare with the published tables that lie in FOLDER beside their traces."""
    from tokenyard.cli.simulating import compare_published

    click.echo(compare_published(folder, seeds, table, as_json=as_json))
