"""`tokenyard conversations`: asks a running server over its API, with a key."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from tokenyard.cli.jobs import need_key, table, when
from tokenyard.gateway.server import run
from tokenyard.protocol.archive import SearchResults
from tokenyard.protocol.conversations import ConversationBody, ConversationList, ImportResult
from tokenyard.protocol.response_items import (
    FunctionCallBody,
    FunctionOutputBody,
    ItemBody,
    ReasoningBody,
)
from tokenyard.upstreams.conversations_client import ConversationsClient
from tokenyard.vocabulary.errors import InvalidRequest

_TITLE_CHARACTERS = 48


class Talks:
    """Where the server is, and how its answers are shown."""

    def __init__(self, url: str, key: str | None, *, as_json: bool) -> None:
        self._url = url
        self._key = need_key(key)
        self._as_json = as_json

    def list(self, **query: str | int | None) -> None:
        """Print a page of conversations."""
        self._ask(lambda client: self._tell(client.list(**query), say_list))

    def search(self, words: str, limit: int) -> None:
        """Print what was found."""
        self._ask(lambda client: self._tell(client.search(words, limit), say_found))

    def show(self, conversation: str) -> None:
        """Print one conversation with what was said in the branch in use."""

        async def ask(client: ConversationsClient) -> None:
            head = await client.show(conversation)
            items = [item async for item in client.items(conversation)]
            if self._as_json:
                click.echo(_spell({"conversation": head, "items": items}))
            else:
                click.echo(say_conversation(head, items))

        self._ask(ask)

    def delete(self, conversations: Sequence[str]) -> None:
        """Delete them one after the other."""

        async def ask(client: ConversationsClient) -> None:
            for conversation in conversations:
                await self._tell(client.delete(conversation), lambda told: f"Deleted {told.id}.")

        self._ask(ask)

    def take_in(self, path: str) -> None:
        """Import a file, or standard input for `-`."""
        file = _read(path)
        self._ask(lambda client: self._tell(client.take_in(file), say_taken))

    def give_out(self, form: str, conversation: str | None, output: str) -> None:
        """Write an export to a file, or to standard output for `-`."""

        async def ask(client: ConversationsClient) -> None:
            with click.open_file(output, "wb") as file:
                async for piece in client.give_out(form, conversation):
                    file.write(piece)

        self._ask(ask)

    def _ask(self, ask: Callable[[ConversationsClient], Awaitable[None]]) -> None:
        async def main() -> None:
            async with ConversationsClient(self._url, self._key) as client:
                await ask(client)

        run(main())

    async def _tell(self, asked: Awaitable[Any], say: Callable[[Any], str]) -> None:
        told = await asked
        click.echo(_spell(told) if self._as_json else say(told))


def _spell(told: object) -> str:
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from None


def say_list(told: ConversationList) -> str:
    """A row for each conversation."""
    if not told.data:
        return "No conversations."
    rows = [(one.id, when(one.updated_at), _marks(one), _title(one)) for one in told.data]
    return table(("id", "used (UTC)", "marks", "title"), rows)


def say_found(told: SearchResults) -> str:
    """A row for each title or message that was found."""
    if not told.data:
        return "Nothing found."
    rows = [
        (
            hit.conversation_id,
            when(hit.at),
            hit.role or "title",
            " ".join("".join(part.text for part in hit.snippet).split()),
        )
        for hit in told.data
    ]
    return table(("conversation", "at (UTC)", "where", "what"), rows)


def say_taken(told: ImportResult) -> str:
    """What came of an import."""
    count = len(told.conversation_ids)
    skipped = f" {told.skipped_messages} could not be kept." if told.skipped_messages else ""
    return f"Took in {count} conversations with {told.messages} messages.{skipped}"


def say_conversation(head: ConversationBody, items: Sequence[ItemBody]) -> str:
    """A conversation as a script."""
    lines = [
        f"id       {head.id}",
        f"title    {_title(head)}",
        f"made     {when(head.created_at)}",
        f"used     {when(head.updated_at)}",
    ]
    return "\n".join([*lines, *(f"\n{_say(item)}" for item in items)])


def _say(item: ItemBody) -> str:
    if isinstance(item, FunctionCallBody):
        return f"[calls {item.name}]\n{item.arguments}"
    if isinstance(item, FunctionOutputBody):
        return f"[answer to {item.call_id}]\n{item.output}"
    if isinstance(item, ReasoningBody):
        return "[thinks]\n" + "".join(part.text for part in item.content)
    said = "".join(getattr(part, "text", "") for part in item.content)
    cut = "" if item.status == "completed" else ", cut off"
    return f"[{item.role}{cut}]\n{said}"


def _title(one: ConversationBody) -> str:
    title = one.title or "-"
    return title if len(title) <= _TITLE_CHARACTERS else title[: _TITLE_CHARACTERS - 1] + "…"


def _marks(one: ConversationBody) -> str:
    marks = [("pinned", one.pinned), ("archived", one.archived), (one.folder, bool(one.folder))]
    if one.active_response_id is not None:
        marks.insert(0, ("answering", True))
    return ", ".join(name for name, there in marks if there) or "-"
