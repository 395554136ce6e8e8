"""`tokenyard backup` and `tokenyard move-database`."""

from pathlib import Path

import click

from tokenyard.assembly.ground import DATABASE_NAME
from tokenyard.runtime.lifecycle import hold_home
from tokenyard.runtime.settings import Settings
from tokenyard.storage.sql.copies import back_up, move
from tokenyard.vocabulary.errors import StartError


def write_backup(settings: Settings, home: Path, target: Path) -> str:
    """Copy the database, also beside a running server; what to print."""
    url = settings.storage.database_url
    if url.startswith("postgresql:"):
        raise StartError(
            "This Tokenyard keeps its truth in Postgres: back it up with pg_dump, or with what "
            "your Postgres has for it. docs/howto/backup.md says what else to keep."
        )
    source = Path(url.removeprefix("sqlite:///")) if url else home / DATABASE_NAME
    return f"{target}: {back_up(source, target.absolute()):,} bytes"


def move_database(settings: Settings, home: Path, target: str) -> None:
    """Copy everything into another database, while nothing runs on this data folder."""
    source = settings.storage.database_url or str(home / DATABASE_NAME)
    with hold_home(home):
        move(source, target, settings.storage, lambda name, rows: click.echo(f"{name:20} {rows}"))
    click.echo("Done. Set storage.database_url to that address; the old database is as it was.")
