"""Tables of the ledger: the journal, what is reserved now, balances, budgets and holders."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from tokenyard.storage.sql.metadata import metadata

# Lines are added and never changed. What an entry moves sums to zero.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("at", Double, nullable=False),
    # The month in which it counts: 12 * year + month - 1.
    Column("period", Integer, nullable=False),
    Column("organisation_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("key_id", String),
    Column("available_nanos", BigInteger, nullable=False),
    Column("reserved_nanos", BigInteger, nullable=False),
    Column("spent_nanos", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
    Column("note", String, nullable=False),
    CheckConstraint("available_nanos + reserved_nanos + spent_nanos = 0", name="ck_ledger_entries"),
    Index(None, "project_id", "at"),
)

# One row for each reservation that is open; its end deletes it.
ledger_open = Table(
    "ledger_open",
    metadata,
    Column("id", String, primary_key=True),
    Column("work", String, nullable=False, index=True),
    Column("holder", String, nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("organisation_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("key_id", String),
    Column("model", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("nanos", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
)

# Sums over the journal, kept in the transaction of each entry; `ledger check` proves them.
ledger_balances = Table(
    "ledger_balances",
    metadata,
    Column("scope", String, primary_key=True),
    Column("subject", String, primary_key=True),
    # 0 for what is reserved now, else the month in which it was spent.
    Column("period", Integer, primary_key=True, autoincrement=False),
    Column("currency", String, primary_key=True),
    Column("nanos", BigInteger, nullable=False),
)

# Processes that hold reservations, and until when they are believed to live.
ledger_holders = Table(
    "ledger_holders",
    metadata,
    Column("id", String, primary_key=True),
    Column("until", Double, nullable=False),
)

ledger_budgets = Table(
    "ledger_budgets",
    metadata,
    Column("id", String, primary_key=True),
    Column("organisation_id", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("soft_nanos", BigInteger),
    Column("hard_nanos", BigInteger),
    Column("webhook", String, nullable=False),
    UniqueConstraint("organisation_id", "scope", "subject"),
)

# That a warning was given: once for each budget, subject and month.
ledger_warnings = Table(
    "ledger_warnings",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Double, nullable=False),
)
