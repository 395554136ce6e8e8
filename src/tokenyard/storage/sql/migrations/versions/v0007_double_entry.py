"""The journal of the ledger; each usage row that is there gets its settlement and its balances."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_PAYER = ("organisation_id", "project_id", "user_id", "key_id")
_SCOPES = (
    ("organisation", "organisation_id"),
    ("project", "project_id"),
    ("user", "user_id"),
    ("key", "key_id"),
)


def upgrade() -> None:
    _widen_usage()
    _add_journal()
    _add_open()
    _add_balances()
    _add_budgets()
    _enter_what_was_billed()


def _widen_usage() -> None:
    for column in (
        sa.Column("minute", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("organisation_id", sa.String(), nullable=False, server_default="org_default"),
        sa.Column("tier", sa.String(), nullable=False, server_default="default"),
        sa.Column("upstream", sa.String(), nullable=False, server_default=""),
        sa.Column("job_id", sa.String()),
        sa.Column("gpu_millis", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("saved_nanos", sa.BigInteger(), nullable=False, server_default="0"),
    ):
        op.add_column("usage_rows", column)
    op.create_index("ix_usage_rows_organisation_id_at", "usage_rows", ["organisation_id", "at"])
    # A cast rounds in one database and cuts in the other; half a second decides nothing here.
    op.execute("UPDATE usage_rows SET minute = CAST(at - 0.5 AS BIGINT) / 60")


def _add_journal() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String()),
        sa.Column("available_nanos", sa.BigInteger(), nullable=False),
        sa.Column("reserved_nanos", sa.BigInteger(), nullable=False),
        sa.Column("spent_nanos", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_entries"),
        sa.CheckConstraint(
            "available_nanos + reserved_nanos + spent_nanos = 0", name="ck_ledger_entries"
        ),
    )
    op.create_index("ix_ledger_entries_project_id_at", "ledger_entries", ["project_id", "at"])


def _add_open() -> None:
    op.create_table(
        "ledger_open",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("work", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String()),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("nanos", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_open"),
    )
    op.create_index("ix_ledger_open_work", "ledger_open", ["work"])
    op.create_index("ix_ledger_open_holder", "ledger_open", ["holder"])
    op.create_table(
        "ledger_holders",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_holders"),
    )


def _add_balances() -> None:
    op.create_table(
        "ledger_balances",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("period", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "scope", "subject", "period", "currency", name="pk_ledger_balances"
        ),
    )


def _add_budgets() -> None:
    op.create_table(
        "ledger_budgets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organisation_id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("soft_nanos", sa.BigInteger()),
        sa.Column("hard_nanos", sa.BigInteger()),
        sa.Column("webhook", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_budgets"),
        sa.UniqueConstraint(
            "organisation_id",
            "scope",
            "subject",
            name="uq_ledger_budgets_organisation_id_scope_subject",
        ),
    )
    op.create_table(
        "ledger_warnings",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_warnings"),
    )


def _enter_what_was_billed() -> None:
    connection = op.get_bind()
    days = connection.execute(sa.text("SELECT DISTINCT day FROM usage_rows ORDER BY day")).scalars()
    payer = ", ".join(_PAYER)
    for day in list(days):
        values = {"day": day, "period": _period_of(day)}
        connection.execute(
            sa.text(
                f"INSERT INTO ledger_entries (id, kind, at, period, {payer}, available_nanos,"
                " reserved_nanos, spent_nanos, currency, note)"
                f" SELECT id || '/settle', 'settle', at, CAST(:period AS INTEGER), {payer},"
                " -cost_nanos, 0, cost_nanos, currency, 'migrated'"
                " FROM usage_rows WHERE day = :day"
            ),
            values,
        )
    for scope, column in _SCOPES:
        connection.execute(
            sa.text(
                "INSERT INTO ledger_balances (scope, subject, period, currency, nanos)"
                f" SELECT '{scope}', {column}, period, currency, SUM(spent_nanos)"
                f" FROM ledger_entries WHERE {column} IS NOT NULL"
                f" GROUP BY {column}, period, currency"
            )
        )


def _period_of(day: int) -> int:
    date = datetime.fromtimestamp(day * 86_400, UTC)
    return 12 * date.year + date.month - 1
