"""Brings the tables up to the newest migration, or says why that cannot be.

All migrations run in one transaction behind the write lock: a process that dies half way leaves the
database as it was, and a second process that starts at the same time waits and finds nothing to do.
"""

import sqlite3
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.sql.database import broken, connect_migrator, is_locked
from tokenyard.vocabulary.errors import StartError

MIGRATIONS = Path(__file__).parent / "migrations"

# Alembic keeps its context in module globals; two stores may be opened in one process.
# tidy: allow mutable-global: it guards globals that are not ours
_one_at_a_time = threading.Lock()


def upgrade(path: Path, settings: StorageSettings) -> None:
    """Run every migration that is missing.

    Raises StartError when the database is newer than this program, damaged, or locked for longer
    than `storage.busy_seconds`.
    """
    engine = connect_migrator(path, settings)
    try:
        with _one_at_a_time, engine.connect() as connection, connection.begin():
            config = configure(connection)
            command.upgrade(config, "head")
            _check_references(connection, path)
    except CommandError as error:
        raise StartError(
            f"The database {path} was written by a newer version of Tokenyard ({error}). "
            "Install that version, or set TOKENYARD_HOME to another folder."
        ) from None
    except DBAPIError as error:
        cause = error.orig or error
        if is_locked(cause):
            raise StartError(
                f"The database {path} is locked by another program. Stop it and start again."
            ) from None
        if isinstance(cause, sqlite3.OperationalError):
            raise StartError(
                f"The database {path} cannot be brought up to date: {cause}."
            ) from error
        raise broken(path, cause) from None
    finally:
        engine.dispose()


def configure(connection: Connection) -> Config:
    """Alembic's configuration, without a file: where the migrations lie, and the connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str | None:
    """The name of the last migration that this program knows."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return ScriptDirectory.from_config(config).get_current_head()


def _check_references(connection: Connection, path: Path) -> None:
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if dangling is not None:
        raise StartError(
            f"The database {path} cannot be brought up to date: a row of {dangling[0]} "
            "refers to one that is missing."
        )
