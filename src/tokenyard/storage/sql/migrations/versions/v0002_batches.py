"""Files, batches and the results of their lines."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _add_files()
    _add_batches()
    _add_results()


def _add_files() -> None:
    op.create_table(
        "files",
        *_texts("id", "project_id", "user_id", "filename", "purpose"),
        *_counts("bytes"),
        *_times("created_at"),
        *_times("expires_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_index(
        "ix_files_project_id_created_at_id", "files", ["project_id", "created_at", "id"]
    )
    op.create_index("ix_files_expires_at", "files", ["expires_at"])


def _add_batches() -> None:
    op.create_table(
        "batches",
        *_texts("id", "project_id", "user_id"),
        *_texts("key_id", nullable=True),
        *_texts("endpoint", "input_file_id", "status"),
        *_times("created_at", "expires_at"),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("output_seconds", sa.Integer(), nullable=True),
        *_texts("model", nullable=True),
        *_columns(sa.Integer, ("total", "completed", "failed"), nullable=False),
        *_counts(*_TOKENS),
        sa.Column("stamps", sa.JSON(), nullable=False),
        sa.Column("faults", sa.JSON(), nullable=False),
        *_texts("stopped", "output_file_id", "error_file_id", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index(
        "ix_batches_project_id_created_at_id", "batches", ["project_id", "created_at", "id"]
    )
    open_batch = sa.text("status IN ('validating', 'in_progress', 'finalizing', 'cancelling')")
    op.create_index(
        "ix_batches_open",
        "batches",
        ["status"],
        sqlite_where=open_batch,
        postgresql_where=open_batch,
    )


def _add_results() -> None:
    op.create_table(
        "batch_results",
        *_texts("batch_id"),
        *_columns(sa.Integer, ("number",), nullable=False),
        *_texts("custom_id", "request_id"),
        *_columns(sa.Integer, ("status",), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        *_counts(*_TOKENS, nullable=True),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_results"),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name="fk_batch_results_batch_id",
            ondelete="CASCADE",
        ),
    )


_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


def _columns(kind: Callable[[], Any], names: tuple[str, ...], nullable: bool) -> list[Any]:
    return [sa.Column(name, kind(), nullable=nullable) for name in names]


def _texts(*names: str, nullable: bool = False) -> list[Any]:
    return _columns(sa.String, names, nullable)


def _times(*names: str, nullable: bool = False) -> list[Any]:
    return _columns(sa.Double, names, nullable)


def _counts(*names: str, nullable: bool = False) -> list[Any]:
    return _columns(sa.BigInteger, names, nullable)
