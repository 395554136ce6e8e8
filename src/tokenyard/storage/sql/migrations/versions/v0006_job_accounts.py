"""When a job ended, and which attempts are still to be entered in the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ENDED = "state IN ('succeeded', 'failed', 'cancelled', 'dead')"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("ended_at", sa.Double()))
    # The exact time is in the record; for the end of its keeping this is near enough.
    op.execute(sa.text(f"UPDATE jobs SET ended_at = submitted_at WHERE {_ENDED}"))
    op.create_index("ix_jobs_ended_at", "jobs", ["ended_at"])
    # What ended before was never for sale.
    op.add_column(
        "job_attempts",
        sa.Column("unbilled", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "ix_job_attempts_unbilled",
        "job_attempts",
        ["job_id"],
        sqlite_where=sa.text("unbilled"),
        postgresql_where=sa.text("unbilled"),
    )
