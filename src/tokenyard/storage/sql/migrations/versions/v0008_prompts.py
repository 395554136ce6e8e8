"""Stored prompts."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "prompts",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("id", "project_id", "name")),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("created_at", "updated_at")),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prompts"),
    )
    op.create_index(
        "ix_prompts_project_id_created_at_id", "prompts", ["project_id", "created_at", "id"]
    )
    op.create_table(
        "prompt_versions",
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.Double()),
        sa.PrimaryKeyConstraint("prompt_id", "number", name="pk_prompt_versions"),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name="fk_prompt_versions_prompt_id", ondelete="CASCADE"
        ),
    )
