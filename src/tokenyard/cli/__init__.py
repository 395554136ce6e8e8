"""The `tokenyard` command."""

from tokenyard.cli.commands import main

__all__ = ["main"]
