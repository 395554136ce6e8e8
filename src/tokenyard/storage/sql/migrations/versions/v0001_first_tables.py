"""The first tables: conversations, items and responses; usage; keys, sessions and sign-in links."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _add_chat()
    _add_ledger()
    _add_identity()


def _add_chat() -> None:
    op.create_table(
        "conversations",
        *_texts("id", "project_id", "user_id"),
        *_times("created_at", "updated_at"),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index(
        "ix_conversations_recent", "conversations", ["project_id", "user_id", "updated_at", "id"]
    )
    op.create_table(
        "items",
        sa.Column(
            "place",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        *_texts("id"),
        *_texts("conversation_id", "response_id", nullable=True),
        *_texts("role"),
        sa.Column("text", sa.Text(), nullable=False),
        *_times("created_at"),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("place", name="pk_items"),
        sa.UniqueConstraint("id", name="uq_items_id"),
        _in_conversation("fk_items_conversation_id"),
    )
    op.create_index("ix_items_conversation_id_place", "items", ["conversation_id", "place"])
    op.create_index("ix_items_response_id", "items", ["response_id"])
    op.create_table(
        "responses",
        *_texts("id", "project_id", "user_id"),
        *_texts("key_id", nullable=True),
        *_texts("model", "status"),
        *_times("created_at"),
        *_times("finished_at", nullable=True),
        sa.Column("sampling", sa.JSON(), nullable=False),
        *_texts("conversation_id", nullable=True),
        sa.Column("instructions", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        *_counts(*_TOKENS, "cost_nanos", nullable=True),
        *_texts("incomplete_reason", "error_reason", nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        *_texts("output_id", nullable=True),
        _in_conversation("fk_responses_conversation_id"),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
    )
    op.create_index("ix_responses_conversation_id", "responses", ["conversation_id"])
    in_progress = sa.text("status = 'in_progress'")
    op.create_index(
        "ix_responses_in_progress",
        "responses",
        ["status"],
        sqlite_where=in_progress,
        postgresql_where=in_progress,
    )


def _add_ledger() -> None:
    op.create_table(
        "usage_rows",
        *_texts("id"),
        *_times("at"),
        sa.Column("day", sa.Integer(), nullable=False),
        *_texts("user_id", "project_id"),
        *_texts("key_id", nullable=True),
        *_texts("model"),
        *_counts(*_TOKENS, "cost_nanos"),
        *_texts("currency", "finish"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_rows"),
    )
    op.create_index("ix_usage_rows_project_id_at", "usage_rows", ["project_id", "at"])
    op.create_index("ix_usage_rows_at", "usage_rows", ["at"])


def _add_identity() -> None:
    op.create_table(
        "api_keys",
        *_texts("id", "name", "secret_hash", "hint", "user_id", "project_id"),
        *_times("created_at"),
        *_times("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("secret_hash", name="uq_api_keys_secret_hash"),
    )
    op.create_index(
        "ix_api_keys_project_id_created_at_id", "api_keys", ["project_id", "created_at", "id"]
    )
    op.create_table(
        "web_sessions",
        *_texts("id", "token_hash", "user_id", "project_id"),
        *_times("created_at", "expires_at"),
        sa.PrimaryKeyConstraint("id", name="pk_web_sessions"),
        sa.UniqueConstraint("token_hash", name="uq_web_sessions_token_hash"),
    )
    op.create_index("ix_web_sessions_expires_at", "web_sessions", ["expires_at"])
    op.create_table(
        "sign_in_links",
        *_texts("token_hash"),
        *_times("expires_at"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_sign_in_links"),
    )
    op.create_index("ix_sign_in_links_expires_at", "sign_in_links", ["expires_at"])


_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


def _columns(kind: Callable[[], Any], names: tuple[str, ...], nullable: bool) -> list[Any]:
    return [sa.Column(name, kind(), nullable=nullable) for name in names]


def _texts(*names: str, nullable: bool = False) -> list[Any]:
    return _columns(sa.String, names, nullable)


def _times(*names: str, nullable: bool = False) -> list[Any]:
    return _columns(sa.Double, names, nullable)


def _counts(*names: str, nullable: bool = False) -> list[Any]:
    return _columns(sa.BigInteger, names, nullable)


def _in_conversation(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["conversation_id"], ["conversations.id"], name=name, ondelete="CASCADE"
    )
