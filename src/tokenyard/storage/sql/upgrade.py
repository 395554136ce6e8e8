"""Brings the tables up to the newest migration, or says why that cannot be.

All migrations run in one transaction behind the write lock: a process that dies half way leaves the
database as it was, and a second process that starts at the same time waits and finds nothing to do.
"""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tokenyard.storage.sql.database import Database
from tokenyard.vocabulary.errors import StartError

MIGRATIONS = Path(__file__).parent / "migrations"

# Alembic keeps its context in module globals; two stores may be opened in one process.
# tidy: allow mutable-global: it guards globals that are not ours
_one_at_a_time = threading.Lock()


def upgrade(database: Database) -> None:
    """Run every migration that is missing.

    Raises StartError when the database is newer than this program, damaged, or locked for longer
    than `storage.busy_seconds`.
    """
    engine = database.connect_migrator()
    try:
        with _one_at_a_time, engine.connect() as connection, connection.begin():
            config = configure(connection)
            command.upgrade(config, "head")
            database.check_references(connection)
    except CommandError as error:
        raise StartError(
            f"The database {database.name} was written by a newer version of Tokenyard ({error}). "
            "Install that version, or set TOKENYARD_HOME to another folder."
        ) from None
    except DBAPIError as error:
        raise database.explain_migration(error.orig or error) from error
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
