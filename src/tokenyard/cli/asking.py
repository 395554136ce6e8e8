"""The options that every command of a running server's client has, in one place."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import click

from tokenyard.cli.told import told_in_words

DEFAULT_URL = "http://127.0.0.1:8400"


class Opens(Protocol):
    """Makes what a group of commands works with: where the server is, and who asks."""

    def __call__(self, url: str, key: str | None, *, as_json: bool) -> Any:
        """Ready to be asked."""
        ...


Command = Callable[..., Any]


def asks_server(opens: Opens) -> Callable[[Command], Command]:
    """Give a command those options, and what is opened with them as its first argument."""

    def with_options(command: Command) -> Command:
        @click.option("--url", help=f"The server.  [TOKENYARD_URL, or {DEFAULT_URL}]")
        @click.option("--key", help="An API key.  [TOKENYARD_API_KEY]")
        @click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
        @told_in_words
        @wraps(command)
        def run(*args: Any, url: str | None, key: str | None, as_json: bool, **options: Any) -> Any:
            opened = opens(
                url or os.environ.get("TOKENYARD_URL") or DEFAULT_URL,
                key or os.environ.get("TOKENYARD_API_KEY"),
                as_json=as_json,
            )
            return command(opened, *args, **options)

        return run

    return with_options
