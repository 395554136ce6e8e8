"""The commands of `tokenyard conversations`, and their options."""

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from tokenyard.cli.job_commands import DEFAULT_URL
from tokenyard.cli.told import told_in_words

if TYPE_CHECKING:
    from tokenyard.cli.conversations import Talks


def _asks_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a client, and what is made of them as its first argument."""

    @click.option("--url", help=f"The server.  [TOKENYARD_URL, or {DEFAULT_URL}]")
    @click.option("--key", help="An API key.  [TOKENYARD_API_KEY]")
    @click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
    @told_in_words
    @wraps(command)
    def run(*args: Any, url: str | None, key: str | None, as_json: bool, **options: Any) -> Any:
        from tokenyard.cli.conversations import Talks

        talks = Talks(
            url or os.environ.get("TOKENYARD_URL") or DEFAULT_URL,
            key or os.environ.get("TOKENYARD_API_KEY"),
            as_json=as_json,
        )
        return command(talks, *args, **options)

    return run


@click.group()
def conversations() -> None:
    """List, read, search, move and delete your conversations, on a running server."""


@conversations.command("list")
@click.option("--folder", help="Only those in this folder.")
@click.option("--archived", is_flag=True, help="Only those that are archived.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--after", help="Go on after this conversation.")
@_asks_server
def list_conversations(talks: "Talks", archived: bool, **query: Any) -> None:
    """List conversations, the most recently used first."""
    talks.list(archived="true" if archived else None, **query)


@conversations.command("show")
@click.argument("conversation")
@_asks_server
def show(talks: "Talks", conversation: str) -> None:
    """Print what was said in a conversation's branch in use."""
    talks.show(conversation)


@conversations.command("search")
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@_asks_server
def search(talks: "Talks", words: tuple[str, ...], limit: int) -> None:
    """Search titles and messages that have all WORDS."""
    talks.search(" ".join(words), limit)


@conversations.command("export")
@click.argument("conversation", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["openai", "openwebui"]),
    default="openai",
    show_default=True,
    help="Whose form the file has.",
)
@click.option("--output", "-o", default="-", help="A file.  [default: standard output]")
@_asks_server
def export(talks: "Talks", form: str, conversation: str | None, output: str) -> None:
    """Write one conversation, or all of yours, as a file for another program."""
    talks.give_out(form, conversation, output)


@conversations.command("import")
@click.argument("file")
@_asks_server
def import_(talks: "Talks", file: str) -> None:
    """Take in the FILE of another program; `-` is standard input."""
    talks.take_in(file)


@conversations.command("delete")
@click.argument("conversation", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask first.")
@_asks_server
def delete(talks: "Talks", conversation: tuple[str, ...], yes: bool) -> None:
    """Delete conversations with all that is in them."""
    if not yes:
        click.confirm(f"Delete {len(conversation)} for ever?", abort=True)
    talks.delete(conversation)
