"""Logs of answers, and who writes which."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "productions",
        sa.Column("response_id", sa.String(), nullable=False),
        sa.Column("producer", sa.String()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String()),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("following", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("response_id", name="pk_productions"),
        sa.ForeignKeyConstraint(
            ["response_id"],
            ["responses.id"],
            name="fk_productions_response_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_productions_open",
        "productions",
        ["producer"],
        sqlite_where=sa.text("NOT closed"),
        postgresql_where=sa.text("NOT closed"),
    )
    op.create_table(
        "producers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_producers"),
    )
    op.create_table(
        "stream_chunks",
        sa.Column("response_id", sa.String(), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("following", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("response_id", "first", name="pk_stream_chunks"),
        sa.ForeignKeyConstraint(
            ["response_id"],
            ["responses.id"],
            name="fk_stream_chunks_response_id",
            ondelete="CASCADE",
        ),
    )
