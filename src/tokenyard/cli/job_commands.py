"""The commands of `tokenyard jobs`, `queues` and `cluster`, and their options."""

from typing import TYPE_CHECKING, Any

import click

from tokenyard.cli.asking import asks_server
from tokenyard.cli.told import told_in_words

if TYPE_CHECKING:
    from tokenyard.cli.jobs import Desk


def _desk(url: str, key: str | None, *, as_json: bool) -> "Desk":
    from tokenyard.cli.jobs import Desk

    return Desk(url, key, as_json=as_json)


_asks_server = asks_server(_desk)
_WATCH = click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")


@click.group()
def jobs() -> None:
    """Submit jobs and see what becomes of them, on a running server."""


@jobs.command("submit")
@click.argument("file")
@_asks_server
def submit(desk: "Desk", file: str) -> None:
    """Submit the job that a FILE describes.

    The file is YAML, TOML or JSON; `-` is standard input.
    """
    from tokenyard.cli.jobs import read_spec

    spec = read_spec(file)
    desk.show(
        lambda client: client.submit(spec),
        lambda page: "\n".join(job.id for job in page.data),
        watch=False,
    )


@jobs.command("schema")
@told_in_words
def schema() -> None:
    """Print the JSON schema of a job file, for editors."""
    from tokenyard.cli.jobs import schema_text

    click.echo(schema_text())


@jobs.command("list")
@click.option("--state", help="Only these states, divided by commas.")
@click.option("--queue", help="Only this queue.")
@click.option("--type", "kind", help="Only this type.")
@click.option("--name", help="Only this name.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--after", help="Go on after this job.")
@_WATCH
@_asks_server
def list_jobs(desk: "Desk", kind: str | None, watch: bool, **query: Any) -> None:
    """List jobs, the newest first."""
    from tokenyard.cli.jobs import say_jobs
    from tokenyard.runtime.clock import RealClock

    desk.show(
        lambda client: client.list(type=kind, **query),
        lambda page: say_jobs(page.data, RealClock()),
        watch=watch,
    )


@jobs.command("show")
@click.argument("job")
@_WATCH
@_asks_server
def show(desk: "Desk", job: str, watch: bool) -> None:
    """Show one job."""
    from tokenyard.cli.jobs import say_job

    desk.show(lambda client: client.show(job), say_job, watch=watch)


@jobs.command("logs")
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(1), help="Which one.  [default: the last]")
@click.option("--rank", type=click.IntRange(0), default=0, show_default=True, help="The member.")
@_asks_server
def logs(desk: "Desk", job: str, follow: bool, attempt: int | None, rank: int) -> None:
    """Print what a member of a job has written."""
    desk.follow(job, attempt=attempt, rank=rank, follow=follow)


@jobs.command("explain")
@click.argument("job")
@_asks_server
def explain(desk: "Desk", job: str) -> None:
    """Say why a job waits, when it should start, and what would help."""
    from tokenyard.cli.job_tables import say_explanation

    desk.show(lambda client: client.explain(job), say_explanation, watch=False)


@jobs.command("timeline")
@click.argument("job")
@_asks_server
def timeline(desk: "Desk", job: str) -> None:
    """Say what happened to a job."""
    from tokenyard.cli.job_tables import say_timeline

    desk.show(lambda client: client.timeline(job), say_timeline, watch=False)


@jobs.command("cancel")
@click.argument("job")
@_asks_server
def cancel(desk: "Desk", job: str) -> None:
    """Stop a job, or take it out of its queue."""
    from tokenyard.cli.job_tables import say_cancelled

    desk.show(lambda client: client.cancel(job), say_cancelled, watch=False)


@jobs.command("retry")
@click.argument("job")
@_asks_server
def retry(desk: "Desk", job: str) -> None:
    """Try a failed or dead job again, with all its retries."""
    desk.show(lambda client: client.retry(job), lambda told: told.state, watch=False)


@jobs.command("priority")
@click.argument("job")
@click.argument("name")
@_asks_server
def priority(desk: "Desk", job: str, name: str) -> None:
    """Give a job another priority class."""
    desk.show(
        lambda client: client.set_priority(job, name),
        lambda told: f"{told.priority_class} ({told.priority})",
        watch=False,
    )


@jobs.command("top")
@_WATCH
@_asks_server
def top(desk: "Desk", watch: bool) -> None:
    """Jobs that use the cluster, the largest first."""
    from tokenyard.cli.jobs import say_jobs
    from tokenyard.runtime.clock import RealClock

    desk.show(
        lambda client: client.list(state="starting,running,stopping", limit=100),
        lambda page: say_jobs(sorted(page.data, key=lambda job: -job.gpus), RealClock()),
        watch=watch,
    )


@click.command()
@_WATCH
@_asks_server
def queues(desk: "Desk", watch: bool) -> None:
    """List queues, who waits in them, and how long."""
    from tokenyard.cli.job_tables import say_queues

    desk.show(lambda client: client.queues(), say_queues, watch=watch)


@click.group(invoke_without_command=True)
@click.pass_context
@_WATCH
@_asks_server
def cluster(desk: "Desk", context: click.Context, watch: bool) -> None:
    """Show the nodes and what is free on them."""
    from tokenyard.cli.job_tables import say_cluster

    if context.invoked_subcommand is None:
        desk.show(lambda client: client.cluster(), say_cluster, watch=watch)


@cluster.command("node")
@click.argument("node")
@click.argument("state", type=click.Choice(["open", "cordoned", "draining"]))
@_asks_server
def set_node(desk: "Desk", node: str, state: str) -> None:
    """Let a NODE take members, take none, or be emptied too."""
    desk.show(
        lambda client: client.set_node(node, state),
        lambda told: f"{told.name} is {told.state}",
        watch=False,
    )
