"""How a command tells an error of ours."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

_FAILED = 1


def told_in_words(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an error of ours into its sentence on standard error and a status of 1."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        from tokenyard.vocabulary.errors import TokenyardError

        try:
            return command(*args, **options)
        except TokenyardError as error:
            click.echo(f"tokenyard: {error.message}", err=True)
            sys.exit(_FAILED)

    return run
