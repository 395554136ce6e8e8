"""Tables of what operators and admins define while everything runs: limits, servers, routes."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from tokenyard.storage.sql.metadata import metadata

limits = Table(
    "limits",
    metadata,
    Column("id", String, primary_key=True),
    # Empty for limits of the operator.
    Column("organisation_id", String, nullable=False),
    Column("level", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("measure", String, nullable=False),
    Column("window", String, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("burst", BigInteger, nullable=False),
    Column("closed", Boolean, nullable=False),
    UniqueConstraint("organisation_id", "level", "subject", "measure", "window"),
)

upstream_servers = Table(
    "upstream_servers",
    metadata,
    Column("name", String, primary_key=True),
    # JSON; never its key.
    Column("body", Text, nullable=False),
    # Encrypted with a key that is not in the database.
    Column("sealed_key", LargeBinary),
)

model_routes = Table(
    "model_routes",
    metadata,
    Column("name", String, primary_key=True),
    # JSON: to which models it leads, and what to do when they fail.
    Column("body", Text, nullable=False),
)
