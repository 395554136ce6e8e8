"""The tables of answers: who writes which, their logs, and those kept for repeated requests.

Part of `schema.metadata`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
)
from sqlalchemy import text as sql_text

from tokenyard.storage.sql.schema import metadata

_OPEN = sql_text("NOT closed")

productions = Table(
    "productions",
    metadata,
    Column("response_id", ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    # The process that writes it; null when it was handed over or has ended.
    Column("producer", String),
    Column("epoch", BigInteger, nullable=False),
    # The answer's item, and the one that it is put below.
    Column("item_id", String, nullable=False),
    Column("parent_id", String),
    # What the model server is asked; empty after the end.
    Column("request", LargeBinary, nullable=False),
    # Events in the log; where that is in Redis only true after the end.
    Column("following", BigInteger, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("closed", Boolean, nullable=False),
    Index("ix_productions_open", "producer", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

producers = Table(
    "producers",
    metadata,
    Column("id", String, primary_key=True),
    Column("beats", BigInteger, nullable=False),
)

stream_chunks = Table(
    "stream_chunks",
    metadata,
    Column("response_id", ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    # The number of its first event, and of the one that follows on its last.
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("following", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("final", Boolean, nullable=False),
    # Tokens and events, packed.
    Column("body", LargeBinary, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("until", Double, nullable=False, index=True),
    # Status, headers and body, packed; null while the first request is worked on.
    Column("answer", LargeBinary),
)
