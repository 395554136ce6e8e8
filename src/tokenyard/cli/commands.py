"""Every command and its options. What a command needs is imported when it runs, not before."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokenyard import __version__
from tokenyard.cli.conversation_commands import conversations
from tokenyard.cli.found import settings_beside
from tokenyard.cli.identity_commands import audit, keys, people, projects, sign_in_link
from tokenyard.cli.job_commands import cluster, jobs, queues
from tokenyard.cli.simulate_commands import simulate
from tokenyard.cli.told import told_in_words

if TYPE_CHECKING:
    pass

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    context_settings=_HELP,
    commands=(
        conversations,
        jobs,
        queues,
        cluster,
        simulate,
        keys,
        people,
        projects,
        audit,
        sign_in_link,
    ),
)
@click.version_option(__version__, prog_name="tokenyard")
def main() -> None:
    """Your own AI platform: playground, streaming chat and batch jobs.

    All state lies in one folder: TOKENYARD_HOME, or ~/.tokenyard. Settings come from its
    settings.toml and from variables such as TOKENYARD_GATEWAY__PORT.
    """


@main.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 is any.  [default: 8400]")
@click.option(
    "--engine",
    type=click.Choice(["own", "llamacpp", "vllm"]),
    help="Model server to start: ours, llama.cpp, or vLLM by its command.  [default: own]",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 64),
    help="Gateways; more than one stand behind nginx, on Postgres and Valkey.  [default: 1]",
)
@click.option("--engines", type=click.IntRange(0, 64), help="Model servers to start.  [default: 1]")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path),
    help="Write address, sign-in link, key and process id there as JSON once all is ready.",
)
@told_in_words
def up(ready_file: Path | None, **options: Any) -> None:
    """Start everything on this machine and stay until Ctrl-C."""
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    settings = settings_beside(home, beside=False, **options)
    # Not above: what is wrong with a setting is told before anything large is loaded.
    from tokenyard.cli.serving import serve_all

    sys.exit(serve_all(settings, home, ready_file, os.environ))


@main.command(hidden=True)
@click.argument("name")
@click.option("--host", required=True)
@click.option("--port", required=True, type=int)
@told_in_words
def gateway(name: str, host: str, port: int) -> None:
    """Run one gateway of several, as `up --replicas` does."""
    from tokenyard.cli.serving import serve_gateway
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    settings = settings_beside(home, beside=False)
    sys.exit(serve_gateway(settings, home, name, host=host, port=port, environment=os.environ))


@main.command(hidden=True)
@click.option("--address-file", type=click.Path(path_type=Path))
@click.option("--exit-with-parent", is_flag=True)
@told_in_words
def engine(address_file: Path | None, exit_with_parent: bool) -> None:
    """Run the model server alone, of the kind that the settings choose."""
    from tokenyard.cli.model_server import serve_engine
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    settings = settings_beside(home)
    sys.exit(serve_engine(settings, home, address_file, exit_with_parent=exit_with_parent))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@told_in_words
def backup(file: Path) -> None:
    """Copy the SQLite database into a new FILE, also while the server runs."""
    from tokenyard.cli.databases import write_backup
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    click.echo(write_backup(settings_beside(home), home, file))


@main.command("move-database")
@click.option("--to", "target", required=True, help="postgresql://… or sqlite:///…; it is empty.")
@told_in_words
def move_to(target: str) -> None:
    """Copy everything into another database, while the server does not run."""
    from tokenyard.cli.databases import move_database
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    move_database(settings_beside(home), home, target)


@main.command()
@click.option("--gateway", "gateways", multiple=True, required=True, help="host:port of each.")
@click.option("--listen", default="80", show_default=True, help="Port, or address:port.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where nginx keeps its own files, and that it stays in the foreground.",
)
def nginx(gateways: tuple[str, ...], listen: str, folder: Path | None) -> None:
    """Print a configuration for nginx before several gateways."""
    from tokenyard.fleet.services.nginx import NginxPlan, render

    click.echo(render(NginxPlan(listen, gateways, folder)), nl=False)


@main.group()
def ledger() -> None:
    """The books: what was reserved, spent and given back."""


@ledger.command("check")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@told_in_words
def check_ledger(as_json: bool) -> None:
    """Prove that every balance is the sum of its entries; fails when one is not."""
    from tokenyard.cli.ledger import check_books
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    told, right = check_books(settings_beside(home), home, as_json=as_json)
    click.echo(told)
    sys.exit(0 if right else 1)


@main.group()
def models() -> None:
    """The models that our model server can run."""


@models.command("list")
@told_in_words
def list_models() -> None:
    """List the known models and whether they are here."""
    from tokenyard.cli.checkpoints import list_models as lines
    from tokenyard.runtime.settings import home_folder

    click.echo(lines(home_folder(os.environ)))


@models.command("pull")
@click.argument("name", required=False)
@told_in_words
def pull_model(name: str | None) -> None:
    """Fetch a model; without a name the one that the settings choose."""
    from tokenyard.cli.checkpoints import pull
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    pull(name or settings_beside(home).engine.model, home)


@models.command("path")
@click.argument("name", required=False)
@told_in_words
def show_model_path(name: str | None) -> None:
    """Print where a model's file lies; fails when it is not here."""
    from tokenyard.cli.checkpoints import path_of
    from tokenyard.runtime.settings import home_folder

    home = home_folder(os.environ)
    click.echo(path_of(name or settings_beside(home).engine.model, home))


@models.command("fit")
@click.argument("name", required=False)
@click.option("--shape", help="Numbers of a shape, as key=number,…; in place of a name.")
@click.option("--memory", required=True, help="Memory of the device, such as 141GB or 80GiB.")
@click.option(
    "--context", type=click.IntRange(1), default=8192, show_default=True, help="Tokens a sequence."
)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "bf16", "fp16", "fp8", "int8"]),
    default="bf16",
    show_default=True,
    help="How weights are stored.",
)
@click.option(
    "--kv-dtype",
    type=click.Choice(["fp32", "bf16", "fp16", "fp8", "int8"]),
    default="bf16",
    show_default=True,
    help="How the KV cache is stored.",
)
@click.option(
    "--overhead", default="4GiB", show_default=True, help="Memory for all but weights and cache."
)
@click.option("--bandwidth", help="Memory bandwidth a second, such as 4.3TB.  [default: an H200's]")
@click.option(
    "--peak", type=click.FloatRange(0, min_open=True), help="TFLOP/s.  [default: an H200's]"
)
@told_in_words
def fit_model(name: str | None, **options: Any) -> None:
    """Tell how many sequences fit into a device, and how fast it can be at best.

    NAME is a shape such as Qwen3-8B, a model that is here, or the path of a .gguf file.
    """
    from tokenyard.cli.fitting import Question, describe_fit
    from tokenyard.runtime.settings import home_folder

    click.echo(describe_fit(Question(name=name, **options), home_folder(os.environ)))
