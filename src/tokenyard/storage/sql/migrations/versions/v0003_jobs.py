"""Jobs, their attempts and events, nodes, the leader's lease, and the history of the cluster."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_OPEN = "state NOT IN ('succeeded', 'failed', 'cancelled', 'dead')"


def upgrade() -> None:
    _add_jobs()
    _add_attempts()
    _add_events()
    op.create_table(
        "job_nodes",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("wanted", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_job_nodes"),
    )
    op.create_table(
        "job_lease",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("applied_epoch", sa.BigInteger(), nullable=False),
        sa.Column("applied_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_lease"),
    )
    op.create_table(
        "job_samples",
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("at", name="pk_job_samples"),
    )


def _add_jobs() -> None:
    texts = ("id", "project_id", "queue", "type", "name", "state")
    op.create_table(
        "jobs",
        *(sa.Column(name, sa.String(), nullable=False) for name in texts),
        sa.Column("submitted_at", sa.Double(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("revision", name="uq_jobs_revision"),
    )
    op.create_index(
        "ix_jobs_project_id_submitted_at_id", "jobs", ["project_id", "submitted_at", "id"]
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["project_id"],
        sqlite_where=sa.text(_OPEN),
        postgresql_where=sa.text(_OPEN),
    )


def _add_attempts() -> None:
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_attempts"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_job_attempts_job_id", ondelete="CASCADE"
        ),
    )


def _add_events() -> None:
    op.create_table(
        "job_events",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_job_events"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_job_events_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_job_events_job_id_number", "job_events", ["job_id", "number"])
