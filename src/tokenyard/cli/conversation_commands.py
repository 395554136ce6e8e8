"""The commands of `tokenyard conversations`, and their options."""

from typing import TYPE_CHECKING, Any

import click

from tokenyard.cli.asking import asks_server

if TYPE_CHECKING:
    from tokenyard.cli.conversations import Talks


def _talks(url: str, key: str | None, *, as_json: bool) -> "Talks":
    from tokenyard.cli.conversations import Talks

    return Talks(url, key, as_json=as_json)


_asks_server = asks_server(_talks)


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
