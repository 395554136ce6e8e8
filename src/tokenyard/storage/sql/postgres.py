"""The Postgres server: how it is reached, and what its connections promise.

Every transaction that writes takes one lock of the database first. So transactions of all processes
run one after the other, as in a SQLite file, and a store that is right in one is right in both; a
process loses little by it, since it gathers its writes (`writer`). The lock ends with its
transaction, also when the process dies or is cut off. Decides nothing about tables.
"""

import math
import re
from typing import Any

from psycopg import Connection as DriverConnection
from psycopg.abc import Buffer
from psycopg.types.string import StrDumper
from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.sql.failures import is_lost
from tokenyard.storage.sql.signatures import Signature
from tokenyard.vocabulary.errors import StartError

# One number of our own among the locks of the database: "tokenyard" in bits.
_WRITE_LOCK = 0x746F6B656E79
# Gives the transaction a name that no other one has.
_TAKE_LOCK = text(
    f"SELECT gen_random_uuid()::text FROM (SELECT pg_advisory_xact_lock({_WRITE_LOCK})) AS held"
)
_FIND_REVISION = text("SELECT version_num FROM alembic_version")
# Refused for good, whenever it is tried: a wrong password, or no such role or database.
_NEVER = re.compile(r"password|authentication|does not exist|no pg_hba.conf entry", re.IGNORECASE)


class _TextWithoutNul(StrDumper):
    """Postgres cannot keep U+0000 in a text; it gets U+FFFD, as a browser shows it."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class PostgresDatabase:
    """A database on a server that many processes of ours may use."""

    def __init__(self, url: URL, settings: StorageSettings) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self._settings = settings
        self._cause: BaseException | None = None

    @property
    def name(self) -> str:
        """Its address without the password."""
        return self._url.set(drivername="postgresql").render_as_string(hide_password=True)

    def make_ready(self) -> bool:
        """False while the server cannot be reached, or still starts."""
        engine = self._make_engine("read only", poolclass=NullPool)
        try:
            with engine.connect():
                return True
        except OperationalError as error:
            self._cause = error.orig
            if not is_lost(error) or _NEVER.search(str(error.orig)):
                raise self.refuse() from None
            return False
        finally:
            engine.dispose()

    def refuse(self) -> StartError:
        """Nobody there, or nobody who lets us in."""
        return StartError(
            f"The database {self.name} cannot be reached: {_first_line(self._cause)}. "
            "Start Postgres, or mend storage.database_url."
        )

    def find_revision(self) -> str | None:
        """The newest migration that the database has seen."""
        engine = self._make_engine("read only", poolclass=NullPool)
        try:
            with engine.connect() as connection:
                row = connection.execute(_FIND_REVISION).first()
        except ProgrammingError:
            # There is no such table yet.
            return None
        except DBAPIError as error:
            raise self.explain_migration(error.orig or error) from None
        finally:
            engine.dispose()
        return None if row is None else str(row[0])

    def connect_writer(self) -> Engine:
        """Waits in line with the writers of all processes when a transaction begins."""
        engine = self._make_engine("read write", poolclass=QueuePool, pool_size=1, max_overflow=0)
        signature = Signature()

        def begin(connection: Connection) -> None:
            signature.name(connection, connection.execute(_TAKE_LOCK).scalar_one())

        event.listen(engine, "begin", begin)
        return engine

    def connect_migrator(self) -> Engine:
        """The same for migrations; a process that still runs writes before or after them."""
        engine = self._make_engine("read write", poolclass=NullPool)
        event.listen(engine, "begin", lambda connection: connection.execute(_TAKE_LOCK))
        return engine

    def connect_readers(self) -> Engine:
        """Connections that cannot write."""
        size = self._settings.readers
        return self._make_engine("read only", poolclass=QueuePool, pool_size=size, max_overflow=0)

    def check_references(self, connection: Connection) -> None:
        """Postgres never lets go of its foreign keys."""

    def explain_migration(self, error: BaseException) -> StartError:
        """What the server said."""
        return StartError(
            f"The database {self.name} cannot be brought up to date: {_first_line(error)}."
        )

    def _make_engine(self, access: str, **pool: Any) -> Engine:
        settings = self._settings
        busy_ms = math.ceil(settings.busy_seconds * 1000)
        stalled_ms = math.ceil(settings.stalled_seconds * 1000)
        session = {
            "lock_timeout": busy_ms,
            "statement_timeout": stalled_ms,
            # A process that was frozen inside a transaction must not hold up all the others; half
            # of what they wait, so that it is the frozen one which is ended.
            "idle_in_transaction_session_timeout": busy_ms // 2,
            "synchronous_commit": "on" if settings.durability == "full" else "off",
        }
        # A reader's transaction sees one moment; a writer's statements each see what was committed
        # before the lock was theirs.
        level = "repeatable read" if access == "read only" else "read committed"
        words = [f"SET {name} = '{value}'" for name, value in session.items()]
        words.append(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
        words.append(f"SET SESSION CHARACTERISTICS AS TRANSACTION {access.upper()}")
        setup = "; ".join(words)

        def prepare(connection: DriverConnection[Any], _record: object) -> None:
            connection.adapters.register_dumper(str, _TextWithoutNul)
            connection.autocommit = True
            connection.execute(setup)
            connection.autocommit = False

        engine = create_engine(
            self._url,
            # Parameters are prompts and answers; they belong in no error and no log.
            hide_parameters=True,
            connect_args={
                "connect_timeout": settings.connect_seconds,
                "tcp_user_timeout": stalled_ms,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "application_name": "tokenyard",
            },
            **pool,
        )
        event.listen(engine, "connect", prepare)
        return engine


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else "no reason was given"
